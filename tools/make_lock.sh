#!/bin/sh
# Renew requirements.lock: the newest versions that fit pyproject.toml, for Linux, macOS and Windows and
# for every Python from 3.11 on, each with its hashes. The file names no host, so any index or mirror
# serves. tools/lock-constraints.txt holds the few versions that must fit together.
#
#   make lock      or, with uv on the path:      sh tools/make_lock.sh
set -eu
cd "$(dirname "$0")/.."

unset UV_TORCH_BACKEND  # the lock is made from the plain index
trap 'rm -f requirements.lock.part' EXIT

if [ -x .venv/bin/python ]; then uv() { .venv/bin/python -m uv "$@"; }; fi

uv pip compile --quiet --upgrade \
    --universal --python-version 3.11 --all-extras --constraints tools/lock-constraints.txt \
    --generate-hashes --no-header --no-annotate --no-emit-index-url \
    pyproject.toml --output-file requirements.lock.part
if grep -n '://' requirements.lock.part; then
    echo 'The lock names a host; requirements.lock was left as it was.' >&2
    exit 1
fi
mv requirements.lock.part requirements.lock
