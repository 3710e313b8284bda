"""Where and how networks run, with the defaults that a user expects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pibench import devices, target_kinds
from pibench.runner.work import Request

if TYPE_CHECKING:
    from pathlib import Path

    from pibench.images.other_blas import Blas
    from pibench.records.schema import Compute, Machine, Protocol


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where and how to run; None takes the default of the target, the device or the protocol.

    `repeats` and `threads` are numbers, `timeout_s` is in seconds for each network,
    `jobs` is how many networks may run in parallel. `seed` is of the input, and of weights
    where none are given. `blas` is what Caffe computes with. `keep` names layers whose
    blobs are written whole into the folder `blobs`. `identity` and `remote_dir` are the
    key and the folder on the board of a target `ssh://USER@HOST`.
    """

    device: str = "rpi3b"
    target: str = "vm"
    machine: Machine | None = None
    protocol: Protocol = "caffe-time"
    compute: Compute | None = None
    repeats: int = 5
    threads: int | None = None
    timeout_s: float | None = None
    jobs: int | None = None
    seed: int = 0
    blas: Blas = "openblas"
    keep: tuple[str, ...] = ()
    blobs: Path | None = None
    identity: Path | None = None
    remote_dir: str | None = None

    def request(self) -> Request:
        """Return a request with the defaults filled in. Raises InvalidInputError for the device."""
        # Memory-only suffices where only memory is requested and computing takes long.
        able = target_kinds.kind_of_spec(self.target).memory_only
        memory_only = able and self.protocol == "caffe-time"
        usual: Compute = "memory-only" if memory_only else "real"
        return Request(
            device=devices.load(self.device),
            protocol=self.protocol,
            compute=self.compute or usual,
            threads=self.threads,
            repeats=self.repeats,
            timeout_s=self.timeout_s,
            seed=self.seed,
            blas=self.blas,
            keep=self.keep,
        )
