"""Locate the files of `docker/` and `qemu/`: in a wheel, or beside the package.

A checkout has them at its top level, where readers expect them; the wheel has the same folders as
`pibench/_assets` (see pyproject.toml).
"""

from __future__ import annotations

from pathlib import Path

from pibench.errors import HostError

_PACKAGE = Path(__file__).resolve().parent


def asset(relative: str) -> Path:
    """Return the path of an asset such as `qemu/init`.

    Raises:
        HostError: The installation is incomplete.
    """
    for base in (_PACKAGE / "_assets", _PACKAGE.parent):
        path = base / relative
        if path.exists():
            return path
    raise HostError(
        f"the file {relative} is missing from this installation of pibench",
        hint="reinstall it: pip install --force-reinstall pibench",
    )
