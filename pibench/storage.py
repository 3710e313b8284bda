"""Explain which file the system refused to write or read, why, and how to fix it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

from pibench import settings
from pibench.errors import HostError, PibenchError

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NUMBER: Final = re.compile(r"\[Errno (\d+)\]")
_HINTS: Final = {
    errno.EROFS: "it is mounted read-only",
    errno.EACCES: "check the permissions there",
    errno.EPERM: "check its owner",
}


def fault(error: OSError, folder: Path | None = None) -> HostError:
    """Turn an OSError into a one-line error with a hint.

    Args:
        error: The system's error.
        folder: The place to name if the error names no file.
    """
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        # An error of copying a folder lists all files: only the first is reported.
        source, copy, reason = error.args[0][0]
        number = _NUMBER.match(reason)
        code = int(number[1]) if number else 0
        error = OSError(code, os.strerror(code) if code else reason, source, None, copy)
    place: str | Path | None = _place(error) or folder
    why = error.strerror or str(error)
    hint = "make room there" if error.errno in FULL else _HINTS.get(error.errno or 0)
    hint = hint or "check the free space and the permissions there"
    if other := _variable(place):
        hint += f", or name another folder: {other}=DIR"
    return HostError(f"{place}: {why}" if place else why, hint=hint)


def _place(error: OSError) -> str | None:
    """Return the file that the error is about: for a copy onto a full disk it is the second."""
    names = (error.filename2, error.filename) if error.errno in FULL else (error.filename,)
    return next((str(name) for name in names if isinstance(name, str | Path)), None)


def _variable(place: str | Path | None) -> str | None:
    """Return the variable that moves the place: the cache's, or that of temporary files."""
    try:
        if place is None:
            # Raises where no folder at all is usable as a temporary one.
            tempfile.gettempdir()
            return None
        if Path(place).is_relative_to(settings.cache_dir()):
            return "PIBENCH_CACHE_DIR"
        return "TMPDIR" if Path(place).is_relative_to(tempfile.gettempdir()) else None
    except (OSError, PibenchError):
        return "TMPDIR"
