"""What runs on a board: a job's folder, with Caffe of the board's own or of our root.

The folder that `write_job` makes can be copied and run wherever a Python is; the
programs here are what its job names for a board.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, Any, Final

from pibench.images.carried import loader_at, short, unpacked_bytes
from pibench.targets.job import Programs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pibench.records.schema import Protocol
    from pibench.targets.base import Work

SYSTEM: Final = Programs(caffe=["caffe"], python=["{python}"], origin="system")
"""The Caffe that is installed on the board."""
PROBE_BYTES: Final = 1 << 20
"""What the probe's own files take, generously."""
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
    protocols: Iterable[Protocol], folder: str, *, job_bytes: int, root_key: str | None
) -> dict[str, Any]:
    """What probe/check.py is told: what a job takes in `folder` of the board.

    `root_key` is the key of our root, None where there is none to be had.
    """
    return {
        "protocols": sorted(set(protocols)),
        "folder": folder,
        "job_bytes": job_bytes,
        "root_bytes": unpacked_bytes(root_key) if root_key else None,
        "root_key": short(root_key) if root_key else None,
    }


def pack(job: Path, archive: Path) -> None:
    """Pack a job's folder as a plain tar: weights do not get smaller.

    The pipe among its models, which no archive carries well, the probe makes anew.
    """
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(job.rglob("*")):
            if path.is_file():
                tar.add(path, arcname=path.relative_to(job).as_posix())


def job_bytes(work: Sequence[Work]) -> int:
    """What a job's folder takes, about: the weights are most of it."""
    models = sum(len(piece.prototxt) for piece in work)
    weights = sum(piece.weights.stat().st_size for piece in work if piece.weights is not None)
    return PROBE_BYTES + models + weights
