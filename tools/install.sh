#!/bin/sh
# Set up .venv with the exact packages of requirements.lock, and the project itself.
#
#   sh tools/install.sh [PYTHON]      from the root of the repository; `make` does it for you
#
# PYTHON is any Python of version 3.11 or newer; without it the first one found is taken.
# UV_TORCH_BACKEND=cpu takes PyTorch without CUDA from PyTorch's own index (see README.md).
# .venv/.installed appears last: without it an installation counts for nothing.
set -eu

venv=.venv
stamp=$venv/.installed
started=$venv/.installing

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "$@"
    exit 1
}
is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    if [ -n "${1:-}" ]; then
        command -v "$1" >/dev/null 2>&1 || fail "There is no Python at $1."
        is_new_enough "$1" ||
            fail "$1 is $("$1" --version 2>&1); Python 3.11 or newer is needed, for example: make PYTHON=python3.12"
        printf '%s' "$1"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null 2>&1 && is_new_enough "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done
    fail "No Python 3.11 or newer was found. Install one, or name it: make PYTHON=/where/it/is/python3.12"
}

[ -f requirements.lock ] || fail "Run this from the root of the repository: requirements.lock is not here."

here=$(pwd -P)
inside=$venv/bin/python

# A .venv that works is kept, so that an update is quick. One whose installation was cut off may lack
# files that no tool misses; one that was moved or copied has scripts that point to the old place; one may
# have lost its Python. These are made anew.
is_usable() {
    [ ! -f "$started" ] && { [ ! -f "$stamp" ] || [ "$(cat "$stamp")" = "$here" ]; } &&
        is_new_enough "$inside" && "$inside" -m pip --version >/dev/null 2>&1
}
if ! is_usable; then
    python=$(find_python "${1:-}")
    say "Making $venv with $("$python" --version 2>&1)"
    "$python" -m venv --clear "$venv" ||
        fail "Python could not make $venv. On Debian and Ubuntu: apt install python3-venv"
fi
rm -f "$stamp"
printf '%s\n' "$here" >"$started"

"$inside" -m uv --version >/dev/null 2>&1 ||
    "$inside" -m pip install --quiet --disable-pip-version-check uv ||
    fail "uv could not be installed; is the network there?"

install() { "$inside" -m uv pip install --python "$venv" "$@"; }

# The lock is also what limits the tools that build a package from source.
if [ -n "${UV_TORCH_BACKEND:-}" ]; then
    # The files of PyTorch's own index have other hashes: the versions are held, the hashes are not.
    sed -n 's/^\([A-Za-z0-9].*\) \\$/\1/p' requirements.lock >"$venv/versions.txt"
    install --constraints "$venv/versions.txt" --build-constraints requirements.lock \
        --all-extras -r pyproject.toml
else
    install --require-hashes --build-constraints requirements.lock -r requirements.lock
fi
# setuptools is in the lock, so building the project needs nothing else, and no network.
install --quiet --no-deps --no-build-isolation -e .
mv "$started" "$stamp"
