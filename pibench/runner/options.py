"""Options of a run, the jobs that targets get for them, and the facts about each network."""

from __future__ import annotations

import atexit
import contextlib
import difflib
import functools
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

from pydantic import NonNegativeInt, PositiveInt

from pibench import cache, devices, file_io, settings, target_kinds
from pibench.engines import formats
from pibench.engines.caffe import CAFFE, topology
from pibench.engines.registry import engine_of, readers
from pibench.errors import InvalidInputError
from pibench.records.schema import (
    Compute,
    Frozen,
    InputTensor,
    Machine,
    NetworkFormat,
    Protocol,
    Repair,
    Sha256,
)
from pibench.setups import DEFAULT, Blas, Setup, parameters
from pibench.targets.base import End, Ends, Job, LayerBlob

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pibench.devices import Device
    from pibench.engines.base import Engine, ModelFormat
    from pibench.engines.caffe.shapes import Shapes
    from pibench.engines.convert import Format
    from pibench.images.build import Builder
    from pibench.networks.model_file import ModelFile, Runnable
    from pibench.networks.network import Network
    from pibench.targets.base import Target

FLOAT_BYTES = 4
_COPIES: Final = 3
_LONGEST_ENDS: Final = 100_000
"""Characters: Linux passes 131,072 of an argument to a program (MAX_ARG_STRLEN)."""
TIMEOUT_S: dict[Compute, float] = {"memory-only": 900.0, "real": 3600.0}
"""How long one network may take; real compute took five minutes emulated at most."""
_MOST_KEPT_BYTES = 8 * 10**9
"""Weights, and converted networks, that the cache keeps of each; the paper's are 4 and 7 GB."""
_UNUSED_S = 86_400.0


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
        compute = self.effective_compute
        self._check_engine(compute)
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
            if layer not in names:
                near = difflib.get_close_matches(layer, names, n=3)
                raise InvalidInputError(
                    f"{network.name} has no layer {layer!r}",
                    hint=f"did you mean {' or '.join(near)}?" if near else "pibench networks show",
                )

    def _check_engine(self, compute: Compute) -> None:
        """Check that the engine can do what the options ask for. Raises InvalidInputError."""
        engine = engine_of(self.engine)
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

    def job(self, **own: Any) -> Job:
        """Return a job with these options; `own` are the fields of its network."""
        memory_only = self.effective_compute == "memory-only"
        repeats = 0 if own.get("layers") else self.repeats
        return Job(
            **own,
            protocol=self.protocol,
            compute=self.effective_compute,
            threads=self.effective_threads,
            timeout_s=self.effective_timeout_s,
            # Values are not computed: repeats would show nothing new.
            repeats=1 if memory_only else repeats,
            warmup=0 if memory_only or not repeats else 1,
            seed=self.seed,
            blas=self.blas,
            setup=self.setup,
            inputs=self.inputs,
            keep=self.keep,
            values_only=self.values_only,
            engine=self.effective_engine.spec if self.layer_values else self.engine,
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


class NetworkFacts(Frozen):
    """A network as its record describes it, whether it is here or was sent to a board.

    `source` is "zoo" or the path of its file. `weights_sha256` is of the weights that ran, None
    where none were loaded; `weights_drawn` is true if they were drawn at random, with the job's
    seed. `layer_types` is by the name of the layer.
    """

    name: str
    sha256: Sha256
    source: str
    parameter_count: NonNegativeInt
    weights_file_bytes: NonNegativeInt
    weights_sha256: Sha256 | None
    weights_drawn: bool
    repairs: tuple[str, ...]
    fork_layers: tuple[str, ...] = ()
    batch: PositiveInt
    input_size: str | None = None
    network_format: NetworkFormat = "caffe"
    inputs: tuple[InputTensor, ...] = ()
    layer_types: dict[str, str]


def facts_of(network: Runnable, job: Job) -> NetworkFacts:
    """Return the facts of a network and of its job; reads all of its weights."""
    from pibench.images.recipe import file_sha256  # noqa: PLC0415  (start-up time)
    from pibench.networks.model_file import ModelFile  # noqa: PLC0415  (start-up time)

    if isinstance(network, ModelFile):
        return NetworkFacts(
            name=network.name,
            sha256=network.sha256,
            source=network.recorded_source,
            parameter_count=network.contents.parameter_count,
            weights_file_bytes=network.size_bytes,
            weights_sha256=network.data_sha256,
            weights_drawn=False,
            repairs=(),
            batch=network.batch,
            input_size=network.input_size,
            network_format=network.form,
            inputs=tuple(InputTensor(**asdict(one)) for one in network.inputs),
            layer_types={},
        )
    return NetworkFacts(
        name=network.name,
        sha256=network.sha256,
        source=network.recorded_source,
        parameter_count=network.parameter_count,
        weights_file_bytes=network.weights_file_bytes,
        weights_sha256=None if job.weights is None else file_sha256(job.weights),
        weights_drawn=network.weights is None,
        repairs=tuple(network.repairs),
        fork_layers=network.fork_layers,
        batch=network.batch_under(job.protocol),
        input_size=network.input_size,
        layer_types={layer.name: layer.type for layer in network.net.layer},
    )


def _check_reads(engine: Engine, network: Runnable) -> None:
    """Check that the engine reads the kind of file. Raises InvalidInputError."""
    from pibench.networks.model_file import ModelFile  # noqa: PLC0415  (start-up time)

    form = network.form if isinstance(network, ModelFile) else None
    if form not in engine.file_formats and (form or engine.model_format is None):
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


def _job_of_file(index: int, model: ModelFile, options: RunOptions) -> Job:
    from pibench.networks.model_file import RANGES  # noqa: PLC0415  (start-up time)

    inputs, outputs = [], []
    for one in model.inputs:
        low, high = RANGES[one.type]
        inputs.append(
            End(name=one.name, shape=one.shape, inside=one.name, type=one.type, low=low, high=high)
        )
    for name, shape in model.shapes.items():
        outputs.append(End(name=name, shape=shape, inside=name))
    ends = Ends(inputs=tuple(inputs), outputs=tuple(outputs))
    if len(json.dumps(asdict(ends))) > _LONGEST_ENDS:
        raise InvalidInputError.at(
            model.place, None, "the names of its inputs and outputs are too long for a command",
            hint="export it with shorter names, or with fewer",
        )  # fmt: skip
    values = sum(math.prod(one.shape) for one in model.inputs)
    return options.job(
        id=str(index),
        name=model.name,
        prototxt="",
        weights=None,
        files=(model.path,),
        beside=tuple(model.data.items()),
        ends=ends,
        # Engines have the weights once or more beside the file's own.
        cost_bytes=_COPIES * model.size_bytes + 2 * FLOAT_BYTES * values,
    )


def job_of(index: int, network: Runnable, options: RunOptions) -> Job:
    """Return the job of one network; under `inference` it has weights, seeded if none are given."""
    from pibench.networks.model_file import ModelFile  # noqa: PLC0415  (start-up time)

    if isinstance(network, ModelFile):
        return _job_of_file(index, network, options)
    weights = None
    if options.protocol == "inference":
        weights = network.weights or seeded_weights(network, options.seed)
    engine = options.effective_engine
    assert engine.model_format is not None  # noqa: S101  (checked before)
    wants_layers = options.layer_values and engine.layer_settings is not None
    files: tuple[Path, ...] = ()
    if engine.model_format != "caffe":
        assert weights is not None  # noqa: S101  (such engines have inference alone)
        files = converted(network, weights, engine.model_format, all_values=wants_layers)
    return options.job(
        id=str(index),
        name=network.name,
        prototxt=engine.adapted(network.prototxt, network.place, as_it_is=wants_layers),
        weights=weights,
        files=files,
        layers=layers_of(network.shapes_under("inference"), engine) if wants_layers else (),
        ends=None
        if engine.id == CAFFE.id
        else ends_of(network.shapes_under("inference"), engine.model_format),
        cost_bytes=cost_bytes(network),
        fork_layers=bool(network.fork_layers),
    )


def ends_of(found: Shapes, to: ModelFormat) -> Ends:
    """Return the inputs and outputs of a network in the order of Caffe's Net.

    Inputs are the tops of its Input layers; outputs, by name, the blobs that no layer reads.

    Args:
        found: The network in its test phase.
        to: The format of the engine's model.
    """
    last = {
        name: (position, top)
        for position, layer in enumerate(found.layers)
        for top, name in enumerate(layer.top)
    }
    inputs = [name for layer in found.layers if layer.type == "Input" for name in layer.top]
    outputs = sorted(name for name, source in last.items() if not found.readers.get(source))
    if to == "caffe":
        into = {name: name for name in inputs}
        out = {name: found.layers[last[name][0]].name for name in outputs}
    else:
        from pibench.engines import convert  # noqa: PLC0415  (start-up time)

        into, out = convert.ends(found, to)
    return Ends(
        inputs=tuple(End(name=name, shape=found.blobs[name], inside=into[name]) for name in inputs),
        outputs=tuple(
            End(name=name, shape=found.blobs[name], inside=out[name], top=last[name][1])
            for name in outputs
        ),
    )


def layers_of(found: Shapes, engine: Engine) -> tuple[LayerBlob, ...]:
    """Return the blobs that the layers of a network write and an engine may have.

    Args:
        found: The network in its test phase.
        engine: An engine that gives the values of layers.
    """
    if engine.model_format == "caffe":
        places = engine.values_inside(found)
    else:
        from pibench.engines import convert  # noqa: PLC0415  (start-up time)

        assert engine.model_format is not None  # noqa: S101  (it runs networks of Caffe)
        places = {
            source: (name, 0) for source, name in convert.values(found, engine.model_format).items()
        }
    return tuple(
        LayerBlob(
            index=position, layer=layer.name, type=layer.type, name=name,
            shape=found.tops[position][number],
            inside="" if layer.type == "Input" else places[position, number][0],
            top=0 if layer.type == "Input" else places[position, number][1],
        )
        for position, layer in enumerate(found.layers)
        for number, name in enumerate(layer.top)
        # Caffe gives no values of a Split, which copies nothing.
        if layer.type == "Input" or (layer.type != "Split" and (position, number) in places)
    )  # fmt: skip


def cost_bytes(network: Network) -> int:
    """Return the size of data and diff of all blobs and parameters.

    It only orders the jobs; it is not an estimate of the memory needed.
    """
    elements = network.parameter_count + sum(
        math.prod(shape) for shape in network.shapes.blobs.values()
    )
    return 2 * FLOAT_BYTES * elements


def seeded_weights(network: Network, seed: int) -> Path:
    """Write a weights file of seeded random numbers for a network, once, into the cache.

    It is written to a temporary folder where the cache is not writable. Raises HostError
    where neither is possible.
    """
    from pibench.engines.caffe import caffemodel  # noqa: PLC0415  (start-up time)

    name = f"{network.slug}-{network.sha256[:16]}-seed{seed}.caffemodel"
    (path,) = _kept(
        "weights", [name], lambda folder: caffemodel.write_seeded(network.net, folder / name, seed)
    )
    return path


def converted(
    network: Network, weights: Path, to: Format, *, all_values: bool = False
) -> tuple[Path, ...]:
    """Write a network with weights in another format, once, into the cache.

    With `all_values` an engine gives the value of every layer from it.

    Returns:
        The paths of the files, the model first.

    Raises:
        InvalidInputError: The format cannot express a layer exactly.
        MissingExtraError: A package that writes the format is not installed.
        HostError: The files cannot be written.
    """
    from pibench.engines import convert  # noqa: PLC0415  (start-up time)
    from pibench.images.recipe import file_sha256, fingerprint  # noqa: PLC0415  (start-up time)

    writer = [file_sha256(path) for path in sorted(Path(convert.__file__).parent.glob("*.py"))]
    key = fingerprint([network.sha256, file_sha256(weights), writer])
    stem = f"{network.slug.replace('.', '-')}-{key[:16]}"
    # Any model of ncnn gives all of them.
    all_values = all_values and to == "onnx"
    if all_values:
        stem += "-values"
    found = network.shapes_under("inference")
    return _kept(
        "converted",
        [f"{stem}{ending}" for ending in convert.ENDINGS[to]],
        lambda folder: convert.convert(
            found, weights, to, folder / stem, path=network.place, all_values=all_values
        ),
    )


def _kept(kind: str, names: Sequence[str], write: Callable[[Path], object]) -> tuple[Path, ...]:
    """Return files that `write` makes in a folder, from the cache or a folder of this process.

    Raises HostError where neither can be written.
    """
    folder = settings.cache_dir() / kind
    paths = tuple(folder / name for name in names)
    if paths[0].exists():
        cache.mark_used(paths)
        return paths
    try:
        cache.make_folder(folder)
        with contextlib.suppress(OSError):
            # Another process drops them at the same time, or they are another user's.
            cache.drop_unused(folder, _MOST_KEPT_BYTES, _UNUSED_S)
        with cache.locked(folder / f"{names[0]}.lock"):
            if not paths[0].exists():
                cache.keep_all(paths, write)
        return paths
    except OSError:
        folder = _folder_of_this_process()
        paths = tuple(folder / name for name in names)
    try:
        if not paths[0].exists():
            write(folder)
    except OSError as error:
        for path in paths:
            path.unlink(missing_ok=True)
        raise file_io.host_error(error, paths[0]) from error
    return paths


@functools.cache
def _folder_of_this_process() -> Path:
    """Return a temporary folder that is removed when this process ends."""
    used = contextlib.ExitStack()
    atexit.register(used.close)
    from pibench.targets.sandbox import scratch  # noqa: PLC0415  (start-up time)

    return used.enter_context(scratch("weights"))
