"""Fetching the hazelnut set: on request only, every file checked, nothing half-written kept.

The files come from the makers' public repository, or from a mirror (a folder or a URL) that the
variable ``ATTNLIB_DATA_MIRROR`` names. Each is written under a temporary name, compared with the
SHA-256 hash that ships with this package, and only then given its own name. What is there already,
with the right hash, is kept: an interrupted download goes on where it stopped.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pooch
import requests
from tqdm.auto import tqdm

from attnlib.images import show_path

ROOT_VARIABLE = "ATTNLIB_DATA"
MIRROR_VARIABLE = "ATTNLIB_DATA_MIRROR"
HAZELNUT_URL = (
    "https://raw.githubusercontent.com/openvinotoolkit/training_extensions/"
    "6754fdaa7d5dd4056c1bc8aaf3a8aa3afe13bd3d/tests/assets/anomaly/hazelnut"
)
_TIMEOUT = 30.0  # seconds without an answer


class DownloadError(RuntimeError):
    """A file that could not be fetched, or is not what it should be."""


def data_root() -> Path:
    """Return the folder where downloads land, without making it.

    That is the folder named by the variable ``ATTNLIB_DATA``; else ``data/`` of the checkout this
    module runs from (``pyproject.toml`` lies beside the package); else ``data/`` in the current
    folder.
    """
    named = os.environ.get(ROOT_VARIABLE, "")
    if named:
        return Path(named).expanduser()
    checkout = Path(__file__).resolve().parent.parent
    base = checkout if (checkout / "pyproject.toml").is_file() else Path()
    return base / "data"


def hazelnut_registry() -> dict[str, str]:
    """Return the 68 files of the hazelnut set and their SHA-256 hashes.

    Examples
    --------
    >>> registry = hazelnut_registry()
    >>> len(registry), len(registry["test/colour/00.jpg"])
    (68, 64)
    """
    text = (resources.files("attnlib") / "registry" / "hazelnut.txt").read_text("utf-8")
    return dict(line.split() for line in text.splitlines() if line)


def is_available(root: Path | None = None) -> bool:
    """Tell whether the hazelnut set can be used without the public network.

    True where all its files are present with their right hashes, or a mirror is set (and, where
    that is a folder, exists).

    Parameters
    ----------
    root : Path, optional
        As in :func:`fetch_hazelnut`.
    """
    mirror = os.environ.get(MIRROR_VARIABLE, "")
    if mirror and (_is_url(mirror) or _as_folder(mirror).is_dir()):
        return True
    folder = (data_root() if root is None else Path(root)) / "hazelnut"
    return all(_is_good(folder / name, sha256) for name, sha256 in hazelnut_registry().items())


def fetch_hazelnut(
    root: Path | None = None,
    *,
    mirror: str | Path | None = None,
    progress: bool | None = None,
) -> Path:
    """Fetch what is missing of the hazelnut set (68 files, 6 MB) and return its folder.

    Parameters
    ----------
    root : Path, optional
        Folder for downloads; the files land in ``root/hazelnut``. Default: :func:`data_root`.
    mirror : str or Path, optional
        A folder or a URL to take the files from, which has them directly in it or in ``hazelnut/``.
        Default: the variable ``ATTNLIB_DATA_MIRROR``, else the makers' repository.
    progress : bool, optional
        Show one progress bar on standard error; by default where that is a terminal.

    Returns
    -------
    Path
        ``root/hazelnut``, in the layout of MVTec AD.

    Raises
    ------
    DownloadError
        If a file cannot be fetched, arrives cut short, or does not have its hash. Files fetched
        before stay, and the next call goes on from there.
    """
    folder = (data_root() if root is None else Path(root)) / "hazelnut"
    source = str(mirror or os.environ.get(MIRROR_VARIABLE, "") or HAZELNUT_URL)
    _fetch(hazelnut_registry(), folder, source, "hazelnut", progress)
    return folder


def _fetch(
    registry: dict[str, str], folder: Path, source: str, name: str, progress: bool | None
) -> None:
    """Fetch the files of a registry that a folder lacks, from a folder or a URL."""
    missing = [file for file, sha256 in registry.items() if not _is_good(folder / file, sha256)]
    if not missing:
        return
    fetcher = _Fetcher(source, name, registry)
    cache = pooch.create(path=folder, base_url="https://unused.invalid", registry=registry)
    bar = tqdm(
        desc=f"{name} from {'the mirror' if source != HAZELNUT_URL else 'GitHub'}",
        total=len(registry),
        initial=len(registry) - len(missing),
        unit="file",
        disable=None if progress is None else not progress,
    )
    with _quiet_pooch(), bar:
        for file in missing:
            try:
                (folder / file).unlink(missing_ok=True)  # a damaged file must not stay as if good
                cache.fetch(file, downloader=fetcher)
                (folder / file).chmod(0o644)  # temporary files are for their maker's eyes only
            except OSError as error:
                raise DownloadError(
                    f"{show_path(folder / file)} cannot be written ({error}): check disk space and "
                    f"permissions, or set {ROOT_VARIABLE} to another folder"
                ) from error
            bar.update()


class _Fetcher:
    """Pooch's downloader: gets one file, by copy or by HTTP, and says clearly what went wrong."""

    def __init__(self, source: str, name: str, registry: dict[str, str]) -> None:
        self._registry = registry
        self._is_url = _is_url(source)
        self._source = source.rstrip("/") if self._is_url else source
        # A mirror may hold several data sets, each in a folder of its name, or just this one.
        self._prefixes = ["", f"{name}/"]
        if not self._is_url:
            mirror = _as_folder(source)
            if not mirror.is_dir():
                raise DownloadError(
                    f"the mirror {show_path(mirror)} is no folder: correct {MIRROR_VARIABLE}, or "
                    "unset it to download from the makers' repository"
                )
            self._folder = mirror / name if (mirror / name).is_dir() else mirror

    def __call__(self, url: str, output_file: str, cache: Any, check_only: bool = False) -> None:
        """Write the file named at the end of `url` to `output_file` and check its hash."""
        name = url.removeprefix("https://unused.invalid").lstrip("/")
        if self._is_url:
            self._download(name, output_file)
        else:
            self._copy(name, output_file)
        found, expected = pooch.file_hash(output_file), self._registry[name]
        if found != expected:
            size = Path(output_file).stat().st_size
            raise DownloadError(
                f"{name} from {self._source} is not the right file: expected SHA-256 {expected}, "
                f"got {found} ({size:,} bytes); it was not kept. Try again or use another mirror"
            )

    def _copy(self, name: str, output_file: str) -> None:
        origin = self._folder / name
        if not origin.is_file():
            raise DownloadError(
                f"the mirror {show_path(self._folder)} has no file {name}: correct "
                f"{MIRROR_VARIABLE}, or unset it to download from the makers' repository"
            )
        try:
            data = origin.open("rb")
        except OSError as error:
            raise DownloadError(f"{show_path(origin)} cannot be read: {error}") from error
        with data, Path(output_file).open("wb") as target:
            shutil.copyfileobj(data, target)

    def _download(self, name: str, output_file: str) -> None:
        for prefix in tuple(self._prefixes):
            address = f"{self._source}/{prefix}{name}"
            try:
                pooch.HTTPDownloader(timeout=_TIMEOUT, chunk_size=1 << 16)(
                    address, output_file, None
                )
            except requests.HTTPError as error:
                answer = error.response
                status = 0 if answer is None else answer.status_code
                if status == 404 and prefix != self._prefixes[-1]:
                    continue
                raise DownloadError(
                    f"{address}: the server answered {status}; check {MIRROR_VARIABLE} or try "
                    "again later"
                ) from error
            except requests.exceptions.ChunkedEncodingError as error:
                raise DownloadError(
                    f"{address}: the file arrived cut short and was not kept; try again"
                ) from error
            except requests.ConnectionError as error:
                raise DownloadError(
                    f"no connection to {urlparse(address).netloc}: check the network, or set "
                    f"{MIRROR_VARIABLE} to a folder or URL that has the files"
                ) from error
            except requests.RequestException as error:
                raise DownloadError(f"{address}: the download failed ({error})") from error
            self._prefixes = [prefix]
            return


# ------------------------------------------------------------------------------------------ helpers


def _is_url(source: str) -> bool:
    return re.match(r"https?://", source, re.IGNORECASE) is not None


def _as_folder(source: str) -> Path:
    if source.lower().startswith("file://"):
        return Path(url2pathname(urlparse(source).path))
    return Path(source).expanduser()


def _is_good(path: Path, sha256: str) -> bool:
    return path.is_file() and pooch.file_hash(str(path)) == sha256


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    """One progress bar instead of a line a file; pooch's logger is left as it was."""
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
