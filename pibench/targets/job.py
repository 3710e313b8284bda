"""The folder that a probe is started on: itself, the networks, and what to do with them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pibench.targets.base import Work

PROBE = "probe/run.py"
_PROBE = Path(__file__).resolve().parent.parent / "probe"
BLAS_NAME = "libpibench_blas.so"


@dataclass(frozen=True, kw_only=True)
class Programs:
    """Command line prefixes of Caffe in the target; `preload` is for memory-only compute.

    `address_space_bytes` limits a child's address space, for targets that run
    on a machine with other things to do.
    """

    caffe: Sequence[str]
    python: Sequence[str]
    preload: str | None = None
    address_space_bytes: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def write_job(folder: Path, work: Sequence[Work], programs: Programs, blas: Path | None) -> Path:
    """Fill `folder` and return the job file in it."""
    (folder / "models").mkdir(parents=True)
    shutil.copytree(_PROBE, folder / "probe", ignore=shutil.ignore_patterns("__pycache__"))
    if blas is not None:
        shutil.copy2(blas, folder / BLAS_NAME)
    items = []
    for piece in work:
        model = f"models/{piece.id}.prototxt"
        (folder / model).write_text(piece.prototxt, encoding="utf-8")
        items.append(
            {
                "id": piece.id,
                "model": model,
                "weights": _place_weights(folder, piece),
                "protocol": piece.protocol,
                "compute": piece.compute,
                "threads": piece.threads,
                "timeout_s": piece.timeout_s,
                "iterations": piece.iterations,
                "warmup": piece.warmup,
                "repeats": piece.repeats,
                "seed": piece.seed,
            }
        )
    job = {
        "caffe": list(programs.caffe),
        "python": list(programs.python),
        "preload": programs.preload,
        "address_space_bytes": programs.address_space_bytes,
        "env": dict(programs.env),
        "items": items,
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    for entry in [folder, *folder.rglob("*")]:
        # In the guest an unprivileged child reads this. A linked file is the user's own.
        if not _is_readable_by_all(entry):
            entry.chmod(0o755 if entry.is_dir() else 0o644)
    return path


def _place_weights(folder: Path, piece: Work) -> str | None:
    if piece.weights is None:
        return None
    name = f"models/{piece.id}.caffemodel"
    source = piece.weights.resolve()
    try:
        # A second name costs nothing, and weights may be half a gigabyte.
        if _is_readable_by_all(source):
            os.link(source, folder / name)
            return name
    except OSError:
        pass
    shutil.copy2(source, folder / name)
    return name


def _is_readable_by_all(path: Path) -> bool:
    wanted = 0o555 if path.is_dir() else 0o444
    return path.stat().st_mode & wanted == wanted
