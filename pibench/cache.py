"""Manage files in the cache, which several users may share, and which may be read-only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pibench import file_io, process, settings

if TYPE_CHECKING:
    from filelock import BaseFileLock

_OTHERS_WRITE = 0o022
_ALL_BITS = 0o7777
_PATIENCE_S = 0.5


def make_folder(folder: Path) -> None:
    """Create a folder of the cache, writable by all who may write to the cache.

    Raises:
        OSError: The folder cannot be created.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    root = settings.cache_dir()
    mode = _mode(root)
    for path in missing:
        if mode & _OTHERS_WRITE and path.is_relative_to(root) and path != root:
            path.chmod(mode)


def keep(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file under a temporary name, and rename it to `path` once it is complete.

    Raises:
        OSError: The file cannot be stored; errors of `write` pass through.
    """
    make_folder(path.parent)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(descriptor)
    partial = Path(name)
    try:
        write(partial)
        partial.chmod(_file_mode(settings.cache_dir()))
        partial.rename(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def keep_all(paths: Sequence[Path], write: Callable[[Path], object]) -> None:
    """Let `write` make files in a temporary folder, and move them to `paths`, the first one last.

    So all of them are there once the first is.

    Raises:
        OSError: They cannot be stored; errors of `write` pass through.
    """
    folder = paths[0].parent
    make_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as partial:
        write(Path(partial))
        for path in reversed(paths):
            written = Path(partial) / path.name
            written.chmod(_file_mode(settings.cache_dir()))
            written.rename(path)


def keep_if_possible(path: Path, write: Callable[[Path], object], otherwise: str) -> None:
    """Store a file that saves time later; on failure warn with the consequence, `otherwise`."""
    try:
        keep(path, write)
    except OSError as error:
        # An error of the last step also names the temporary file, which is gone.
        place = str(path) if error.filename2 else error.filename
        shown = file_io.host_error(OSError(error.errno, error.strerror, place), path.parent)
        warnings.warn(f"not kept: {shown.message}; it {otherwise}", stacklevel=2)


def keep_values(path: Path, values: Mapping[str, Any], otherwise: str) -> None:
    """Store values that JSON has; on failure warn with the consequence, `otherwise`."""
    text = json.dumps({"sha256": _sha256(values), "values": values}, indent=1) + "\n"
    keep_if_possible(path, lambda partial: partial.write_text(text), otherwise)


def kept_values(path: Path) -> dict[str, Any] | None:
    """Return what `keep_values` stored, None where nothing is or the file was changed since."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        stored = json.loads(path.read_text(encoding="utf-8"))
        values: dict[str, Any] = stored["values"]
        if stored["sha256"] == _sha256(values):
            return values
    return None


def _sha256(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def mark_used(paths: Sequence[Path]) -> None:
    """Note that files are used now; `drop_unused` keeps them for longer."""
    for path in paths:
        # Of another user, or in a read-only cache, they stay as they are.
        with contextlib.suppress(OSError):
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def drop_unused(folder: Path, most_bytes: int, unused_s: float) -> None:
    """Remove files that were not used for so long, the oldest first, while the folder is too large.

    Args:
        folder: A folder whose files can all be made again.
        most_bytes: The size that it may have.
        unused_s: Files that were used since are kept.
    """
    for left in folder.glob(".*"):
        # What a process that was killed had begun (see `keep_all`).
        with contextlib.suppress(OSError):
            if left.is_dir() and left.stat().st_mtime < time.time() - unused_s:
                shutil.rmtree(left, ignore_errors=True)
    files = sorted((one.stat().st_atime, one) for one in folder.iterdir() if one.is_file())
    size_bytes = sum(one.stat().st_size for _, one in files)
    for used_at, path in files:
        if size_bytes <= most_bytes or used_at > time.time() - unused_s:
            break
        size_bytes -= path.stat().st_size
        path.unlink(missing_ok=True)


def lock(path: Path) -> BaseFileLock:
    """Return a lock that all who may write to the cache can take, whoever created its file."""
    from filelock import FileLock  # noqa: PLC0415  (start-up time)

    return FileLock(path, mode=_mode(settings.cache_dir()) & 0o666)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path` for the block, which one process may run at a time.

    Raises:
        OSError: The lock's file cannot be used.
        HostError: The process was interrupted while waiting (see `end_if_interrupted`).
    """
    from filelock import Timeout  # noqa: PLC0415  (start-up time)

    file_lock = lock(path)
    while not file_lock.is_locked:
        process.end_if_interrupted()
        with contextlib.suppress(Timeout):
            file_lock.acquire(timeout=_PATIENCE_S)
    try:
        yield
    finally:
        file_lock.release()


def share(folder: Path) -> None:
    """Make files in `folder` readable for all who may write to the cache, with any umask."""
    if not _mode(settings.cache_dir()) & _OTHERS_WRITE:
        return
    readable = _file_mode(settings.cache_dir()) & 0o444
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        mode = _mode(path)
        wanted = mode | readable | (readable >> 2 if mode & 0o100 else 0)
        if wanted != mode:
            path.chmod(wanted)


def _mode(path: Path) -> int:
    return path.stat().st_mode & _ALL_BITS


def _file_mode(root: Path) -> int:
    """Return the mode of a file that only its owner changes and that readers of `root` may read."""
    return 0o600 | (_mode(root) & 0o044)
