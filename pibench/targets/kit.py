"""What runs on a board: a job's folder, with the board's own Caffe or that of pibench's root.

The folder that `write_job` makes can be copied and run wherever there is a Python.
The programs here are those that its job lists for a board.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, Any, Final

from pibench.engines.base import PROGRAM
from pibench.engines.caffe import CAFFE
from pibench.images.carried import loader_at, short, unpacked_bytes
from pibench.targets.job import Programs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pibench.engines.base import Engine
    from pibench.records.schema import Protocol
    from pibench.targets.base import Job

SYSTEM: Final = Programs(program=[PROGRAM], python=["{python}"], origin="system")
"""The engine that is installed on the board."""
PROBE_BYTES: Final = 1 << 20
"""Upper bound for the size of the probe's own files."""
ROOTS: Final = "roots"
"""Where pibench's root is, under its key, in pibench's folder on a board."""


def root_programs(root: str, lock: str) -> Programs:
    """Return the Caffe of pibench's root.

    Args:
        root: where the root is on the board; `{folder}/...` is within the job's folder.
        lock: the digest of the packages that the root is made of.
    """
    loader = loader_at(root)
    return Programs(
        program=loader.command(PROGRAM),
        python=loader.python(),
        origin="root",
        lock=lock,
        env=loader.python_env(),
    )


def needs(
    protocols: Iterable[Protocol],
    folder: str,
    *,
    job_bytes: int,
    root_key: str | None,
    engine: Engine = CAFFE,
) -> dict[str, Any]:
    """Return the input of probe/check.py: what a job needs in `folder` on the board.

    `root_key` is the key of pibench's root, None where that is not available.
    """
    return {
        "trials": [
            [(engine.program_name or "") if part == PROGRAM else part for part in trial]
            for trial in engine.trials(set(protocols))
        ],
        "folder": folder,
        "job_bytes": job_bytes,
        "root_bytes": unpacked_bytes(root_key) if root_key else None,
        "root_key": short(root_key) if root_key else None,
    }


def pack(job: Path, archive: Path) -> None:
    """Pack a job's folder as a plain tar: weights do not compress.

    The pipe among its models, which archives do not carry well, is made again by the probe.
    """
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(job.rglob("*")):
            if path.is_file():
                tar.add(path, arcname=path.relative_to(job).as_posix())


def job_bytes(work: Sequence[Job]) -> int:
    """Return the approximate size of a job's folder; the weights are most of it."""
    models = sum(len(piece.prototxt) for piece in work)
    weights = sum(piece.weights.stat().st_size for piece in work if piece.weights is not None)
    return PROBE_BYTES + models + weights
