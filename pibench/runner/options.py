"""Options of a run: what the command line, `pibench.run`, sweeps and bundles all ask for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict

from pibench import devices, target_kinds
from pibench.engines import formats
from pibench.engines.base import Compute, Protocol
from pibench.engines.caffe import CAFFE, Repair, topology
from pibench.engines.registry import engine_of, readers
from pibench.errors import InvalidInputError
from pibench.setups import DEFAULT, Blas, Setup, parameters
from pibench.target_kinds import Machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.devices import Device
    from pibench.engines.base import Engine
    from pibench.images.build import Builder
    from pibench.networks.model_file import Runnable
    from pibench.networks.network import Network
    from pibench.targets.base import Target

TIMEOUT_S: dict[Compute, float] = {"memory-only": 900.0, "real": 3600.0}
"""How long one network may take; real compute took five minutes emulated at most."""


_LONGEST_KEPT_NAME: Final = 65_000
"""Bytes of UTF-8: a zip file has names of up to 65,535."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to read networks, and where and how to run them.

    The command line, `pibench.api.run`, the cells of a sweep and the manifest of a bundle all use
    this type. None is the default of the network, the target, the device or the protocol.

    Attributes:
        device: The device's id, alias or name.
        reserve: MiB of the device's memory that other programs on it take; no board can be given.
        target: `vm`, `container`, `sysroot`, `twin`, `native`, `ssh://USER@HOST` or `auto`.
        machine: The machine of target vm.
        fresh_boot: Boot each machine of target vm, instead of restoring one that has booted.
        engine: The engine that runs the network.
        protocol: The protocol to run.
        compute: Whether the engine computes, or only allocates its memory.
        repeats: Timed passes of `inference`; 0 only computes the values.
        threads: The number of BLAS threads.
        timeout_s: The time limit of each network.
        jobs: How many networks may run in parallel.
        seed: The seed of the input, and of weights where none are given.
        blas: The BLAS that the engine computes with.
        setup: The configuration of BLAS and allocator; see `pibench.setups`.
        keep: Layers whose blobs are written whole into the folder `blobs`.
        blobs: The folder for these blobs.
        identity: The SSH key of a target `ssh://USER@HOST`.
        remote_dir: The folder on the board of a target `ssh://USER@HOST`.
        weights: A caffemodel for the network.
        batch: The batch size.
        input_size: The image size, such as 229x229.
        shapes: Shapes of the inputs of a user's own model file, such as 1,3,224,224 or
            NAME=1,3,224,224.
        repair: Fix what stock Caffe would reject in a network; "paper" takes `ceil_mode: false`
            out, as the paper did.
        inputs: An npz file with the values of each input blob, in place of seeded values.
        values_only: Leave out what an earlier run already reported; see `Job`.
        layer_values: Record the values of every layer, which Caffe's runs under `inference` always
            do. Another engine then runs the network as it is, even if it is known to compute it
            otherwise, with its `layer_settings`; its record has no times and no peak.
    """

    device: str = "rpi3b"
    reserve: float = 0.0
    target: str = "vm"
    machine: Machine | None = None
    fresh_boot: bool = False
    engine: str = "caffe"
    protocol: Protocol = "caffe-time"
    compute: Compute | None = None
    repeats: int = 5
    threads: int | None = None
    timeout_s: float | None = None
    jobs: int | None = None
    seed: int = 0
    blas: Blas = "openblas"
    setup: Setup = DEFAULT
    keep: tuple[str, ...] = ()
    blobs: Path | None = None
    identity: Path | None = None
    remote_dir: str | None = None
    weights: Path | None = None
    batch: int | None = None
    input_size: str | None = None
    shapes: tuple[str, ...] = ()
    repair: Repair = False
    inputs: Path | None = None
    values_only: bool = False
    layer_values: bool = False

    @property
    def profile(self) -> Device:
        """The device's profile, without the reserve. Raises InvalidInputError."""
        return devices.load(self.device).with_reserve(self.reserve)

    @property
    def effective_compute(self) -> Compute:
        """The compute that a run uses."""
        if self.compute is not None:
            return self.compute
        # Memory-only suffices where only memory is requested and computing takes long.
        able = target_kinds.kind_of_spec(self.target).memory_only
        possible = able and "memory-only" in engine_of(self.engine).computes
        memory_only = possible and self.protocol == "caffe-time"
        return "memory-only" if memory_only else "real"

    @property
    def effective_engine(self) -> Engine:
        """The engine that a run uses, with the settings that it needs. Raises InvalidInputError."""
        engine = engine_of(self.engine)
        return engine.having(engine.layer_settings or ()) if self.layer_values else engine

    @property
    def effective_threads(self) -> int:
        """The number of BLAS threads that a run uses."""
        return self.threads or self.profile.cores

    @property
    def effective_timeout_s(self) -> float:
        """The time limit of each network."""
        return self.timeout_s or TIMEOUT_S[self.effective_compute]

    def load(self, spec: str | Path, *, python_shapes: Sequence[str] = ()) -> Network:
        """Read and check a network of the zoo or a prototxt file. Raises InvalidInputError.

        `python_shapes` are those of Python layers, such as data=1x3x224x224.
        """
        from pibench import networks  # noqa: PLC0415  (start-up time)
        from pibench.networks.network import parse_image_size  # noqa: PLC0415  (start-up time)

        return networks.load(
            str(spec),
            weights=self.weights,
            batch=self.batch,
            image=None if self.input_size is None else parse_image_size(self.input_size),
            repair=self.repair,
            python_shapes=python_shapes,
        )

    def load_any(self, spec: str | Path) -> Runnable:
        """Read and check a network, or a user's own model file. Raises InvalidInputError."""
        form = formats.format_of(spec)
        if form is None:
            if self.shapes:
                raise InvalidInputError(
                    f"--input {self.shapes[0]}: {spec} is a network of Caffe",
                    hint="give height x width of its images, such as 229x229",
                )
            return self.load(spec)
        from pibench.networks import model_file  # noqa: PLC0415  (start-up time)

        for option, given in (
            ("--weights", self.weights),
            ("--repair", self.repair),
        ):
            if given:
                raise InvalidInputError.at(
                    spec, None, f"{option} is for networks of Caffe",
                    hint=f"leave it out: {formats.article(form)} is taken as it is",
                )  # fmt: skip
        if self.input_size is not None:
            raise InvalidInputError.at(
                spec, None, f"--input {self.input_size} has two of the dimensions of its input",
                hint="give all: 1,3,224,224",
            )  # fmt: skip
        return model_file.load(spec, form, given=self.shapes, batch=self.batch)

    def make_target(self, builder: Builder) -> Target:
        """Return the target for these options. Raises InvalidInputError and HostError."""
        from pibench.targets.registry import make_target  # noqa: PLC0415  (start-up time)

        return make_target(
            self.target,
            self.profile,
            builder,
            machine=self.machine,
            fresh_boot=self.fresh_boot,
            at_once=self.jobs,
            identity=self.identity,
            remote_dir=self.remote_dir,
        )

    def check(self, network: Runnable) -> None:
        """Check that the options can be met for this network. Raises InvalidInputError."""
        engine = engine_of(self.engine)
        _check_reads(engine, network)
        if self.reserve and target_kinds.kind_of_spec(self.target).is_board:
            raise InvalidInputError(
                f"--reserve {self.reserve:g}: a board's own kernel cannot be given less memory",
                hint="omit --reserve, or start on the board what takes that memory there",
            )
        self.check_engine()
        from pibench.networks.model_file import ModelFile  # noqa: PLC0415  (start-up time)

        if isinstance(network, ModelFile):
            engine_of(self.engine).check_file(network.contents, network.place)
        else:
            self._check_layers(network)

    def _check_layers(self, network: Network) -> None:
        """Check what depends on the layers of a network of Caffe. Raises InvalidInputError."""
        compute = self.effective_compute
        for node in network.shapes_under(self.protocol).layers:
            if node.type == "Python":
                raise InvalidInputError.at(
                    network.recorded_source,
                    f"layer '{node.name}'",
                    f"a {topology.type_of(node)} layer runs code that pibench does not have",
                    hint="plan and predict take its shapes (--shape)",
                )
        if self.keep and not (self.protocol == "inference" and compute == "real"):
            raise InvalidInputError(
                f"{self.protocol} with {compute} compute has no values, so no blobs to keep",
                hint="run with --protocol inference --compute real",
            )
        if self.blas != "openblas" and compute == "memory-only":
            raise InvalidInputError(
                f"--blas {self.blas} computes, but memory-only compute replaces the BLAS",
                hint="add --compute real",
            )
        on_stack = parameters(self.setup).job_table == "stack"
        if on_stack and compute == "real" and self.effective_threads > 1:
            raise InvalidInputError(
                f"--setup {self.setup} has OpenBLAS's job table on the stack, but the installed "
                "OpenBLAS has it on the heap",
                hint="use --compute memory-only, which stands in for both, or --threads 1",
            )
        names = [layer.name for layer in network.shapes_under(self.protocol).layers]
        for layer in self.keep:
            if len(layer.encode()) > _LONGEST_KEPT_NAME:
                raise InvalidInputError(
                    f"--keep-blobs: a name of {len(layer)} characters is too long for a file",
                    hint="rename the layer",
                )
            if layer not in names:
                near = difflib.get_close_matches(layer, names, n=3)
                raise InvalidInputError(
                    f"{network.name} has no layer {layer!r}",
                    hint=f"did you mean {' or '.join(near)}?" if near else _some_of(names),
                )

    def check_engine(self) -> None:
        """Check that the engine can do what the options ask for. Raises InvalidInputError."""
        engine, compute = engine_of(self.engine), self.effective_compute
        for option, value, known in (
            ("protocol", self.protocol, engine.protocols),
            ("compute", compute, engine.computes),
        ):
            if value not in known:
                raise InvalidInputError(
                    f"{engine.label} has no {option} {value}",
                    hint=f"use --{option} {' or '.join(known)}",
                )
        gives_layers = engine.keeps_blobs or (
            self.layer_values and engine.layer_settings is not None
        )
        if self.layer_values and not gives_layers:
            raise InvalidInputError(
                f"{engine.label} does not give the values of its layers",
                hint="compare its outputs: pibench reconcile",
            )
        for option, given, can in (
            ("--blas", self.blas != "openblas", engine.calls_blas),
            ("--setup", self.setup != DEFAULT, engine.calls_blas),
            ("--keep-blobs", bool(self.keep), gives_layers),
        ):
            if given and not can:
                raise InvalidInputError(
                    f"{option} is for Caffe: {engine.label} has nothing like it",
                    hint=f"leave {option} out",
                )


class RunKeywords(TypedDict, total=False):
    """The fields of `RunOptions` as keyword arguments."""

    device: str
    reserve: float
    target: str
    machine: Machine | None
    fresh_boot: bool
    engine: str
    protocol: Protocol
    compute: Compute | None
    repeats: int
    threads: int | None
    timeout_s: float | None
    jobs: int | None
    seed: int
    blas: Blas
    setup: Setup
    keep: tuple[str, ...]
    blobs: Path | None
    identity: Path | None
    remote_dir: str | None
    weights: Path | None
    batch: int | None
    input_size: str | None
    shapes: tuple[str, ...]
    repair: Repair
    inputs: Path | None
    values_only: bool
    layer_values: bool


def _some_of(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return f"its layers are {shown}{', ...' if len(names) > most else ''}"


def _check_reads(engine: Engine, network: Runnable) -> None:
    """Check that the engine reads the kind of file. Raises InvalidInputError."""
    from pibench.networks.model_file import ModelFile  # noqa: PLC0415  (start-up time)

    form = network.form if isinstance(network, ModelFile) else None
    if not engine.reads(form):
        what = "a network of Caffe" if form is None else formats.article(form)
        raise InvalidInputError.at(
            network.place, None, f"{what}, which {engine.label} does not read",
            hint=f"use --engine {' or '.join(one.id for one in readers(form))}",
        )  # fmt: skip


def default_engine(specs: Sequence[str | Path]) -> str:
    """Return the engine for networks where none is named: that of their files' format.

    Raises:
        InvalidInputError: They are of formats that no engine reads both by default.
    """
    found: dict[str, str | Path] = {}
    for spec in specs:
        form = formats.format_of(spec)
        found.setdefault(CAFFE.id if form is None else readers(form)[0].id, spec)
    engine, *others = found or [CAFFE.id]
    if others:
        raise InvalidInputError(
            f"{found[engine]} runs with the engine {engine} and {found[others[0]]} with "
            f"{others[0]}",
            hint="run them one after another, or name an engine that reads both: --engine",
        )
    return engine
