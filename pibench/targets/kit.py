"""What runs on a board: a job's folder, with Caffe of the board's own or of our root.

The folder that `write_job` makes can be copied and run wherever a Python is; the
programs here are what its job names for a board.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pibench.images.carried import CarriedRoot, loader_at
from pibench.targets.job import Programs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.targets.base import Work

SYSTEM: Final = Programs(caffe=["caffe"], python=["{python}"], origin="system")
"""The Caffe that is installed on the board."""
ROOTS: Final = "roots"
"""Where our root lies in the folder that a board keeps for us, under its key."""


def root_programs(root: str, lock: str) -> Programs:
    """The Caffe of our root, which lies at `root` on the board; `{folder}/...` in the job's own.

    `lock` is the digest of the packages that it is made of.
    """
    loader = loader_at(root)
    return Programs(
        caffe=loader.command("usr/bin/caffe"),
        python=loader.python(),
        origin="root",
        lock=lock,
        env=loader.python_env(),
    )


def needs(
    work: Sequence[Work], folder: str, *, job_bytes: int, root: CarriedRoot | None
) -> dict[str, Any]:
    """What probe/check.py is told: what the job takes on the board."""
    return {
        "protocols": sorted({piece.protocol for piece in work}),
        "folder": folder,
        "job_bytes": job_bytes,
        "root_bytes": root.unpacked_bytes if root else None,
        "root_key": root.key if root else None,
    }


def size_bytes(folder: Path) -> int:
    """What the files of a folder take, to the byte; a weights file is most of it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
