"""Where and how networks run, with the defaults that a user expects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pibench import devices
from pibench.engines.registry import engine_of
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
    where none are given. `blas` is what the engine computes with. `keep` names layers whose
    blobs are written whole into the folder `blobs`. `identity` and `remote_dir` are the
    key and the folder on the board of a target `ssh://USER@HOST`.
    """

    device: str = "rpi3b"
    target: str = "vm"
    machine: Machine | None = None
    engine: str = "caffe"
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
        """Return a request with the defaults filled in.

        Raises InvalidInputError for an unknown device or engine.
        """
        # Memory-only suffices where only memory is requested and computing takes long.
        on_board = self.target == "native" or self.target.startswith("ssh://")
        computes = engine_of(self.engine).computes
        memory_only = not on_board and self.protocol == "caffe-time" and "memory-only" in computes
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
            engine=self.engine,
        )
