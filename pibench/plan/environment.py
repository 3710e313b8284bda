"""Describe where a planned network would run: architecture, BLAS kernels, threads, figures."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from pibench.engines.caffe import CAFFE
from pibench.engines.registry import engine_of
from pibench.errors import InvalidInputError
from pibench.plan.openblas import Kernel
from pibench.setups import DEFAULT, Parameters, Setup, parameters

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.engines.base import Protocol

Architecture = Literal["arm64", "amd64"]

_CORE_OF_CPU = {"cortex-a53": "cortexa53", "cortex-a72": "cortexa72"}
_DEFAULT_CORE: dict[Architecture, str] = {"arm64": "cortexa53", "amd64": "haswell"}


@dataclass(frozen=True, kw_only=True)
class Program:
    """The program that runs the network; calibration.toml explains the figures."""

    baseline_bytes: int
    program_bytes: int
    exit_bytes: int = 0
    loading_bytes: int = 0
    largest_unmapped_bytes: int
    worst_error: float


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An architecture, a CPU core type as OpenBLAS names it, and the effective BLAS threads.

    `setup` names the configuration of BLAS and allocator, `engine` the engine as `--engine` takes
    it.

    Real and memory-only compute reach the same peak, so a plan is valid for both. They differ only
    for large outputs: where outputs are not computed, and so not finite, their description takes
    less memory.
    """

    architecture: Architecture
    core: str
    threads: int
    setup: Setup = DEFAULT
    engine: str = CAFFE.id

    @property
    def is_caffe(self) -> bool:
        """Whether the engine is Caffe."""
        return self.engine == CAFFE.id

    def program(self, protocol: Protocol) -> Program:
        """Return the figures of the program behind a protocol.

        Raises:
            InvalidInputError: They were not measured for the engine.
        """
        if not self.is_caffe:
            engine = engine_of(self.engine)
            of_versions = _calibration()["engines"].get(engine.id, {})
            figures = of_versions.get(engine.wheel_version if of_versions else "", {})
            if self.architecture not in figures:
                if figures:
                    raise InvalidInputError(
                        f"there is no plan of {engine.title} for {self.architecture}, only for "
                        f"{', '.join(figures)}",
                        hint="compare with --target vm, whose programs are the board's",
                    )
                raise InvalidInputError(
                    f"there is no plan of {engine.title}",
                    hint=f"run it: pibench run NETWORK --engine {engine.spec}; in a gate, mode run",
                )
            return Program(**figures[self.architecture])
        in_setup = _calibration()["setups"].get(self.setup, {}).get(protocol, {})
        return Program(**_calibration()[self.architecture][protocol] | in_setup)

    @property
    def kernel(self) -> Kernel:
        """Return the figures of the core's BLAS kernels.

        A core that is not in the table gets the architecture's usual kernels: kernels differ by a
        few MiB of buffers.
        """
        kernels = _calibration()["kernels"]
        core = self.core if self.core in kernels else _DEFAULT_CORE[self.architecture]
        return Kernel(core=core, **kernels[core])

    @property
    def parameters(self) -> Parameters:
        """Return the parameters of the set-up."""
        return parameters(self.setup)

    @property
    def max_threads(self) -> int:
        """Return the number of threads that this OpenBLAS was built for."""
        return int(_calibration()["blas"]["max_threads"])


def of_device(device: Device, setup: Setup = DEFAULT, engine: str = CAFFE.id) -> Environment:
    """Return the environment of the board itself: arm64, its own cores."""
    core = _CORE_OF_CPU.get(device.cpu)
    if core is None:
        raise InvalidInputError(
            f"no BLAS kernel is known for the CPU of {device.id}, {device.cpu!r}",
            hint=f"known CPUs: {', '.join(sorted(_CORE_OF_CPU))}",
        )
    return Environment(
        architecture="arm64", core=core, threads=device.cores, setup=setup, engine=engine
    )


def of_twin(device: Device, core: str, cores_usable: int) -> Environment:
    """Return the environment of the amd64 twin on a machine with `cores_usable` cores.

    Args:
        device: The device that the twin represents.
        core: The machine's core type as OpenBLAS names it.
        cores_usable: Cores that processes on the machine can use.
    """
    return Environment(
        architecture="amd64", core=core.lower(), threads=min(device.cores, cores_usable)
    )


def layer_object_bytes(*, unrolled: bool) -> int:
    """Return the size of the small objects that a Net allocates per layer."""
    return int(_calibration()["unrolled_layer_object_bytes" if unrolled else "layer_object_bytes"])


def text_per_byte() -> float:
    """Return the characters of a network's text per byte of its binary form."""
    return float(_calibration()["text_per_byte"])


@cache
def _calibration() -> dict[str, Any]:
    file = resources.files(__package__) / "calibration.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))
