"""The model cache: folders that are complete or not there at all.

Belongs here: building one entry aside, moving it into place, and what a full disk looks like. Not here: what is in
an entry (see `wheel`, `convert` and `tiny`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from steelyard.errors import ServiceError
from steelyard.progress import Progress

_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})


def default_cache() -> Path:
    """Return the folder that models are cached in: STEELYARD_CACHE, or the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("STEELYARD_CACHE") or platformdirs.user_cache_dir("steelyard"))


def build_entry(cache: Path, name: str, build: Callable[[Path], None], *, progress: Progress) -> Path:
    """Return the folder `cache/name`, made by `build(folder)` unless it is there already.

    Entries are made in a folder aside and renamed when complete, so a reader never sees half an entry. Processes that
    want the same entry wait for the first one; what killed attempts left behind is removed.

    Raises `ServiceError` when the disk is full or the cache cannot be written.
    """
    entry = cache / name
    if entry.is_dir():
        return entry
    with explained_os_errors(cache), _locked(cache, name, progress):
        for leftover in cache.glob(f".{name}.*"):
            shutil.rmtree(leftover)
        if not entry.is_dir():
            _build(entry, build)
    return entry


def require_space(folder: Path, needed_bytes: int, *, purpose: str) -> None:
    """Raise `ServiceError` unless the disk under `folder` has `needed_bytes` free."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise ServiceError(
            f"disk of {folder}: {purpose} needs {_megabytes(needed_bytes)}, {_megabytes(free_bytes)} are free",
            remedy="free some space, or choose a cache folder on another disk",
        )


@contextmanager
def explained_os_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk and a folder that cannot be written into `ServiceError`s."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_DISK:
            raise ServiceError(
                f"disk of {folder} is full: nothing was kept of the model being fetched",
                remedy="free some space, or choose a cache folder on another disk, then run again",
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise ServiceError(
                f"model cache {folder} cannot be written: {error.strerror} ({error.filename})",
                remedy="make the folder writable, or choose another cache folder",
            ) from error
        raise


def _build(entry: Path, build: Callable[[Path], None]) -> None:
    attempt = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}")
    attempt.mkdir()
    try:
        build(attempt)
        _flush(attempt)
        attempt.replace(entry)
    finally:
        shutil.rmtree(attempt, ignore_errors=True)


@contextmanager
def _locked(cache: Path, name: str, progress: Progress) -> Iterator[None]:
    """Hold the entry's lock; the system lets go of it when the process ends in any way."""
    locks = cache / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.note(f"waiting for another process that fetches {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _flush(folder: Path) -> None:
    """Bring every file to the disk before the rename makes the entry count as complete."""
    for path in (folder, *folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
