"""Check a file that a user named, with a one-line error if it cannot be read."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path


def size_bytes(path: Path, kind: str) -> int:
    """Return the size of the regular file at `path`.

    A pipe would block, and a device may have no end.

    Args:
        path: The file.
        kind: What the file should be, such as "prototxt"; for errors.

    Raises:
        InvalidInputError: The file is missing, not accessible, or not a regular file.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInputError.at(path, None, "no such file", hint="check the path") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError:
        # The name has a NUL in it.
        raise InvalidInputError.at(
            path, None, "is not a file name", hint="check the path"
        ) from None
    if not stat.S_ISREG(found.st_mode):
        what = "a directory" if stat.S_ISDIR(found.st_mode) else "is not a regular file"
        raise InvalidInputError.at(path, None, f"{what}, not a {kind}", hint="name the file")
    return found.st_size


def unreadable(path: Path, error: OSError) -> InvalidInputError:
    """Return the error for a file that exists and cannot be read."""
    return InvalidInputError.at(
        path, None, f"cannot be read ({error.strerror})", hint="check the path and its permissions"
    )
