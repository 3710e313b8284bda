"""Looking at a file that a user named: one line for whatever keeps it from being read."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path


def size_bytes(path: Path, kind: str) -> int:
    """The size of the regular file at `path`, which should be a `kind` such as "prototxt".

    Raises InvalidInputError for one that is missing, out of reach, or no regular file:
    a pipe would block, and a device need not end.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInputError.at(path, None, "no such file", hint="check the path") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError:
        # A NUL in the name.
        raise InvalidInputError.at(path, None, "no name of a file", hint="check the path") from None
    if not stat.S_ISREG(found.st_mode):
        what = "a directory" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise InvalidInputError.at(path, None, f"{what}, not a {kind}", hint="name the file")
    return found.st_size


def unreadable(path: Path, error: OSError) -> InvalidInputError:
    """The error for a file that is there and cannot be read."""
    return InvalidInputError.at(
        path, None, f"cannot be read ({error.strerror})", hint="check the path and its permissions"
    )
