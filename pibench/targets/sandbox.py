"""A run's temporary folder, and the isolation of its processes from the rest of the machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import psutil

from pibench import file_io
from pibench.errors import HostError
from pibench.process import run

_NAME = re.compile(r"^pibench-[a-z]+-(\d+)-\w+$")
_BWRAP_DEADLINE_S = 10.0


@contextlib.contextmanager
def scratch(target: str) -> Iterator[Path]:
    """Yield a folder for one run, and remove it afterwards; after kill -9 the next run does."""
    remove_orphans()
    # It gets its name once it is locked, so nobody can take it for an orphan before that.
    made = Path(tempfile.mkdtemp(prefix=f".{target}-{os.getpid()}-"))
    folder = made.with_name(f"pibench-{made.name[1:]}")
    with _opened(made) as descriptor:
        with contextlib.suppress(OSError):
            # Some network file systems have no locks.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            made.rename(folder)
            yield folder
        except OSError as error:
            if error.filename is None and error.errno in file_io.FULL:
                # A write error does not name its file, and this is where files are written.
                raise file_io.host_error(error, folder) from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_orphans() -> None:
    """Remove the folders of killed runs; keep those of live runs and of other users.

    The lock shows whether the owner lives. Its process number does not: another container that
    shares the folder for temporary files numbers its processes differently.
    """
    for folder in Path(tempfile.gettempdir()).glob("pibench-*"):
        with contextlib.suppress(OSError):
            named = _NAME.match(folder.name)
            # Earlier versions lock nothing: their process number has to do.
            if not named or psutil.pid_exists(int(named[1])):
                continue
            if folder.lstat().st_uid != os.getuid():
                continue
            with _opened(folder) as descriptor:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sandboxed(argv: Sequence[str]) -> list[str]:
    """Return the command line wrapped in bwrap: no network, and no writable files.

    Without a working bwrap (not installed, or user namespaces disabled) the command
    line is returned unchanged: it still runs as a separate process with the
    user's rights.
    """
    if not available():
        return list(argv)
    return [
        "bwrap",
        *("--unshare-net", "--unshare-ipc", "--die-with-parent", "--new-session"),
        *("--ro-bind", "/", "/", "--dev", "/dev"),
        "--",
        *argv,
    ]


@cache
def available() -> bool:
    """Return whether bwrap is installed and can make its namespaces here."""
    if shutil.which("bwrap") is None:
        return False
    trial = ["bwrap", "--unshare-net", "--ro-bind", "/", "/", "true"]
    try:
        return run(trial, deadline_s=_BWRAP_DEADLINE_S, check=False).returncode == 0
    except HostError:
        return False
