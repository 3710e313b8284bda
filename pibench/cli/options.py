"""Options that several commands share, each defined once, and what is made of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from pibench import devices, setups, target_kinds
from pibench.engines.base import Compute, Protocol
from pibench.setups import Blas
from pibench.target_kinds import Machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.errors import InvalidInputError
    from pibench.networks.model_file import Runnable
    from pibench.networks.network import Network
    from pibench.runner.options import RunOptions

Answer = TypeVar("Answer")
_TARGETS: Final = ("auto", *(kind.name for kind in target_kinds.built_in() if not kind.address))
_LONGEST_S: Final = 10**7
"""The largest time limit of a run: four months, and within the range of system clocks."""


def flag(*names: str, help: str, **more: Any) -> Any:  # noqa: A002  (Typer's own name for it)
    """Define an option without a value; its help line does not show `<bool>`."""
    return typer.Option(*names, help=help, metavar="", **more)


def within(low: float, high: float = inf) -> Any:
    """Return a callback that limits a number; click's own ranges would fill the help."""

    def checked(number: float | None) -> float | None:
        if number is None:
            return None
        if not isfinite(number):
            raise typer.BadParameter(f"{number} is not a finite number")
        if not low <= number <= high:
            limit = f"{low}<=x" if high == inf else f"{low}<=x<={high}"
            raise typer.BadParameter(f"{number} is not in the range {limit}.")
        return number

    return checked


def target_spec(text: str) -> str:
    """Validate a target as given on the command line.

    Raises:
        typer.BadParameter: for anything else.
    """
    if text != "auto" and (problem := target_kinds.problem(text)) is not None:
        raise typer.BadParameter(problem)
    return text


def reserve_mib(text: str | float) -> float:
    """Read a reserve in MiB, or the name of a preset; a default is a number already.

    Raises:
        typer.BadParameter: for anything else.
    """
    from pibench.errors import InvalidInputError

    try:
        return devices.reserve_mib(str(text))
    except InvalidInputError as error:
        raise typer.BadParameter(f"{error.message}; {error.hint}") from None


def default_target() -> str | None:
    """Return the target that the environment or a pyproject.toml names; None if neither does."""
    from pibench import settings

    given = os.environ.get("PIBENCH_TARGET") or settings.defaults(["run"]).get("run", {}).get(
        "target"
    )
    return None if given == "auto" else given


def _completions(incomplete: str) -> list[str]:
    schemes = (kind.scheme or kind.name for kind in target_kinds.installed())
    return [name for name in ("auto", *schemes) if name.startswith(incomplete)]


def _devices(incomplete: str) -> list[str]:
    return [name for name in devices.names() if name.startswith(incomplete)]


def _reserves(incomplete: str) -> list[str]:
    return [name for name in devices.reserves() if name.startswith(incomplete)]


def _networks(incomplete: str) -> list[str]:
    from pibench import networks

    return [name for name in networks.names() if name.lower().startswith(incomplete.lower())]


def variable(name: str) -> dict[str, Any]:
    """Return the settings of an option that an environment variable can give."""
    return {"envvar": f"PIBENCH_{name.upper()}", "show_envvar": False}


def option(help: str, *names: str, **more: Any) -> Any:  # noqa: A002  (Typer's own name for it)
    """Define an option without a default, which takes a file unless `metavar` says otherwise."""
    settings: dict[str, Any] = {"metavar": "FILE", "show_default": False, **more}
    return typer.Option(*names, help=help, **settings)


def number(name: str, metavar: str, help: str, low: float, high: float = inf, **more: Any) -> Any:  # noqa: A002  (as above)
    """Define an option that takes a number."""
    return typer.Option(name, metavar=metavar, help=help, callback=within(low, high), **more)


def switch(name: str, help: str) -> Any:  # noqa: A002  (as above)
    """Define the default value of a parameter as a `flag` that is not set."""
    return typer.Option(False, name, help=help, metavar="")


def value(help: str, *names: str, **more: Any) -> Any:  # noqa: A002  (as above)
    """Define the default value of a parameter as an `option` that is not given."""
    return typer.Option(
        None, *names, help=help, **{"metavar": "FILE", "show_default": False, **more}
    )


def amount(default: float | None, name: str, metavar: str, help: str, *limits: float) -> Any:  # noqa: A002
    """Define the default value of a parameter as a `number`."""
    return typer.Option(default, name, metavar=metavar, help=help, callback=within(*limits))


def words(text: str | None) -> list[str] | None:
    """Split a list such as A,B or, of names with commas, '"A,1",B'; None stays None."""
    if text is None:
        return None
    parts = next(csv.reader([text], skipinitialspace=True), []) if '"' in text else text.split(",")
    return [word.strip() for word in parts if word.strip()]


def run_options(given: Mapping[str, Any]) -> RunOptions:
    """Return the options of a run among a command's parameters, which are named as its fields."""
    from dataclasses import fields

    from pibench.runner.options import RunOptions

    if given.get("repair_as_paper"):
        given = {**given, "repair": "paper"}
    names = {field.name for field in fields(RunOptions)}
    return RunOptions(**{name: value for name, value in given.items() if name in names})


def settings_of(context: typer.Context) -> frozenset[str]:
    """Return the parameters that the environment or a pyproject.toml gives: nobody typed them.

    They are defaults, so they yield where they cannot be combined with what was typed.
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(
        name
        for name, source in sources.items()
        if source is not None and source.name in ("ENVIRONMENT", "DEFAULT_MAP")
    )


def engine_and_protocol(
    given: Mapping[str, Any], specs: Sequence[str], *, by_file: bool = False
) -> tuple[str, Protocol]:
    """Return the engine and the protocol of a command, from the parameters that are `given`.

    Where no engine is given it is Caffe, or `by_file` what the files of `specs` decide.
    """
    from pibench.engines.registry import engine_of
    from pibench.runner.options import default_engine

    engine, protocol, typed = given["engine"], given["protocol"], given["protocol"]
    settings = settings_of(given["context"])
    if "protocol" in settings:
        typed = None
    if engine is None or ("engine" in settings and not _can_run(engine, specs, given, typed)):
        engine = default_engine(specs) if by_file else "caffe"
    if "protocol" in settings and protocol not in engine_of(engine).protocols:
        protocol = None
    return engine, protocol_of(protocol, given["weights"], engine)


def _can_run(
    engine: str, specs: Sequence[str], given: Mapping[str, Any], protocol: Protocol | None
) -> bool:
    """Return whether an engine reads the networks, and can do what the options ask for."""
    from pibench.engines.formats import format_of
    from pibench.engines.registry import engine_of
    from pibench.errors import InvalidInputError

    known = engine_of(engine)
    protocol = protocol or known.protocols[0]
    wanted = {
        **given,
        "engine": engine,
        "protocol": protocol,
        "target": given.get("target") or "vm",
    }
    try:
        run_options(wanted).check_engine()
    except InvalidInputError:
        return False
    return all(known.reads(format_of(spec)) for spec in specs)


def target_of(context: typer.Context, target: str, machine: str | None, fresh_boot: bool) -> str:
    """Return the target: one from a setting yields to options of the VM."""
    if "target" in settings_of(context) and (machine or fresh_boot):
        kind = target_kinds.kind_of_spec(target) if target != "auto" else None
        return target if kind is not None and kind.machines else "vm"
    return target


def protocol_of(given: Protocol | None, weights: Path | None, engine: str = "caffe") -> Protocol:
    """Return the protocol: the one given, inference with weights, else the engine's first."""
    from pibench.engines.registry import engine_of

    known = engine_of(engine).protocols
    return given or ("inference" if weights is not None and "inference" in known else known[0])


def with_weights(specs: Sequence[str], weights: Path | None) -> tuple[list[str], Path | None]:
    """Return networks and weights: a second argument may be weights, and a folder may have some.

    Raises InvalidInputError for a folder with several of either.
    """
    from pibench.networks.network import files_of, is_path

    found = [*specs]
    if weights is None and len(found) == _WITH_WEIGHTS and found[1].endswith(".caffemodel"):
        weights = Path(found.pop())
    if weights is None and len(found) == 1 and Path(found[0]).is_dir() and is_path(found[0]):
        weights = files_of(found[0])[1]
    return found, weights


def input_sizes(specs: Sequence[str], given: Sequence[str]) -> dict[str, Any]:
    """Return the fields of `RunOptions` that `--input` means for these networks.

    Raises InvalidInputError where a network of Caffe has several sizes.
    """
    from pibench.engines.formats import format_of
    from pibench.errors import InvalidInputError

    if any(map(format_of, specs)):
        return {"shapes": tuple(given), "input_size": None}
    if len(given) > 1:
        raise InvalidInputError(
            f"--input {given[0]} and --input {given[1]}: a network of Caffe has one size of images",
            hint="give one",
        )
    return {"shapes": (), "input_size": next(iter(given), None)}


def load_networks(
    specs: Sequence[str],
    options: RunOptions,
    *,
    check: bool = True,
    shape: Sequence[str] | None = None,
    hint: str = "run them one at a time",
) -> list[Network]:
    """Read and check all networks before anything runs, and report what is special about them.

    With `check` they must be valid in the phase that the protocol sets up. `shape` has the shapes
    of Python layers. `hint` is what to do instead of giving weights for several networks.
    """
    _one_for_weights(specs, options, hint)
    loaded = []
    for spec in specs:
        network = options.load(spec, python_shapes=shape or ())
        _remark(spec, network, options.protocol)
        loaded.append(network)
    _check_phases(loaded if check else [], options)
    return loaded


def load_runnable(specs: Sequence[str], options: RunOptions) -> list[Runnable]:
    """Read and check all networks and users' own model files, as `load_networks` does."""
    from pibench.networks.network import Network

    _one_for_weights(specs, options, "run them one at a time")
    loaded = []
    for spec in specs:
        network = options.load_any(spec)
        _remark(spec, network, options.protocol)
        loaded.append(network)
    _check_phases([one for one in loaded if isinstance(one, Network)], options)
    return loaded


def _one_for_weights(specs: Sequence[str], options: RunOptions, hint: str) -> None:
    from pibench.errors import InvalidInputError

    if options.weights is not None and len(specs) != 1:
        raise InvalidInputError(
            f"--weights {options.weights} is for one network, but {len(specs)} were given",
            hint=hint,
        )


def _remark(spec: str, network: Runnable, protocol: Protocol) -> None:
    """Report what is special about a network."""
    from pibench.cli.output import say

    if network.entry is None and network.source != spec:
        weights = "" if network.weights is None else f", weights {network.weights}"
        if weights and protocol == "caffe-time":
            weights += ", which caffe-time does not use (--protocol inference does)"
        say(f"{spec}: reads {network.source}{weights}")
    for sentence in network.repairs:
        say(f"{network.place}: repaired: {sentence}")
    types: dict[str, list[str]] = {}
    for label in network.fork_layers:
        layer_type, _, of_fork = label.partition(": ")
        types.setdefault(of_fork, []).append(layer_type)
    for of_fork, names in types.items():
        say(f"{network.place}: {', '.join(names)}: {of_fork}")
    for assumption in network.assumptions:
        say(f"{network.place}: {assumption}")


def _check_phases(loaded: Sequence[Network], options: RunOptions) -> None:
    """Check networks in the phase that the protocol sets up."""
    from pibench.cli.output import say

    for network in loaded:
        _ = network.shapes_under(options.protocol)
    if options.weights is not None and options.protocol == "caffe-time":
        say("the weights fit the network; caffe-time loads none (--protocol inference does)")


def answer_each(
    specs: Sequence[str],
    options: RunOptions,
    answer: Callable[[Network], Answer],
    *,
    go_on: bool,
    **how: Any,
) -> tuple[list[tuple[Network, Answer]], dict[str, InvalidInputError]]:
    """Return each network with its answer, and why others have none, by what the user gave.

    The first failure is raised unless `go_on`. `how` is for `load_networks`.
    """
    from pibench.errors import InvalidInputError

    answered: list[tuple[Network, Answer]] = []
    refused: dict[str, InvalidInputError] = {}
    for spec in specs:
        try:
            (network,) = load_networks([spec], options, **how)
            answered.append((network, answer(network)))
        except InvalidInputError as error:
            if not go_on:
                raise
            refused[spec] = error
    return answered, refused


RunSpecs = Annotated[
    list[str],
    typer.Argument(
        metavar="NETWORK|FILE...",
        help="Names, prototxt files, or .onnx and .tflite files.",
        autocompletion=_networks,
    ),
]
Specs = Annotated[
    list[str],
    typer.Argument(
        metavar="NETWORK|PROTOTXT...", help="Names or prototxt files.", autocompletion=_networks
    ),
]
SpecsOrNone = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NETWORK|PROTOTXT...", help="Names or prototxt files.", show_default=False
    ),
]
Spec = Annotated[str, typer.Argument(metavar="NETWORK|PROTOTXT", help="A name or a prototxt file.")]
Force = Annotated[bool, flag("--force", help="Overwrite existing files.")]
_DEVICES: Final = f"The device to judge for: {', '.join(devices.names())}."
DeviceName = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help=_DEVICES,
        autocompletion=_devices,
        **variable("device"),
    ),
]
TargetSpec = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="TARGET",
        parser=target_spec,
        autocompletion=_completions,
        **variable("target"),
        help=f"Where to run: {', '.join(_TARGETS)} (auto: the best that works here).",
    ),
]
MachineName = Annotated[
    Machine | None,
    option("The machine of target vm: virt (default) or raspi3b.", "--machine", metavar="NAME"),
]
Identity = Annotated[
    Path | None,
    option("The private key for an ssh:// target. Default: ssh's choice.", "--identity"),
]
_FOLDER: Final = "The folder on an ssh:// target. Default: ~/.cache/pibench there."
RemoteDir = Annotated[str | None, option(_FOLDER, "--remote-dir", metavar="FOLDER")]
_FRESH_BOOT: Final = "Target vm: boot, do not restore a guest that has booted."
FreshBoot = Annotated[bool, flag("--fresh-boot", help=_FRESH_BOOT)]
_COMPUTE: Final = "real or memory-only. Default: memory-only where that suffices."
ComputeName = Annotated[Compute | None, option(_COMPUTE, "--compute", metavar="NAME")]
_PROTOCOLS: Final = "caffe-time: forward and backward, as in the paper. inference: forward only."
_WITH_WEIGHTS: Final = 2
"""Arguments: a network and its weights."""
_ENGINE: Final = (
    "caffe, opencv, onnxruntime, ncnn, litert; opencv==4.6, ncnn:winograd=off. Default: the file's."
)
EngineName = Annotated[
    str | None, option(_ENGINE, "--engine", metavar="NAME", **variable("engine"))
]
_PLANNED_ENGINE: Final = "caffe, opencv or ncnn; opencv==4.6, ncnn:winograd=off. Default: caffe."
PlannedEngine = Annotated[
    str | None, option(_PLANNED_ENGINE, "--engine", metavar="NAME", **variable("engine"))
]
_FIRST: Final = f"{_PROTOCOLS} Default: inference with --weights, else the engine's first."
EngineProtocol = Annotated[
    Protocol | None, option(_FIRST, "--protocol", metavar="NAME", **variable("protocol"))
]
ProtocolName = Annotated[
    Protocol,
    typer.Option("--protocol", metavar="NAME", help=_PROTOCOLS, **variable("protocol")),
]
Repeats = Annotated[
    int, number("--repeats", "N", "Timed passes of inference; 0 only computes.", 0, 10000)
]
Threads = Annotated[
    int | None, number("--threads", "N", "BLAS threads. Default: the device's cores.", 1, 64)
]
Timeout = Annotated[
    float | None, number("--timeout", "SECONDS", "Time limit of each network.", 1, _LONGEST_S)
]
Seed = Annotated[
    int, number("--seed", "N", "Seed of the input, and of weights not given.", 0, 2**32 - 1)
]
BlasName = Annotated[
    Blas,
    typer.Option("--blas", metavar="NAME", help="The BLAS of Caffe: openblas, reference, atlas."),
]
_SETUP: Final = f"BLAS and allocator: {', '.join(setups.NAMES)} (default: the first)."
SetupName = Annotated[setups.Setup, typer.Option("--setup", metavar="NAME", help=_SETUP)]
Weights = Annotated[
    Path | None, option("The network's .caffemodel (one network only).", "--weights")
]
_RESERVE: Final = "Memory of the device that other programs on it take."
_RESERVE_MIB: Final = f"MIB|{'|'.join(devices.reserves())}"
_TAKES_RESERVE: Final[dict[str, Any]] = {"parser": reserve_mib, "autocompletion": _reserves}
Reserve = Annotated[
    float, number("--reserve", _RESERVE_MIB, _RESERVE, 0, **_TAKES_RESERVE, **variable("reserve"))
]
_OF_TABLE: Final = "With --table: what other programs took, in place of its own."
TableReserve = Annotated[
    float | None,
    number("--reserve", _RESERVE_MIB, _OF_TABLE, 0, **_TAKES_RESERVE, show_default=False),
]
Batch = Annotated[int | None, option("Images per pass.", "--batch", metavar="N")]
ImageSize = Annotated[str | None, option("Another image size.", "--input", metavar="HxW")]
_INPUT: Final = "Another image size; of a model file the shape: [NAME=]1,3,224,224."
InputShapes = Annotated[list[str] | None, option(_INPUT, "--input", metavar="SIZE")]
Repair = Annotated[
    bool, flag("--repair", help="Fix what stock Caffe would reject, and list each change.")
]
RepairAsPaper = Annotated[
    bool,
    flag("--repair-as-paper", help="The same, but take ceil_mode: false out, as the paper did."),
]

_SHAPE: Final = "Shape of a top of NAME, a Python or unknown layer: NAME=1x3x224x224; one for each."
PythonShapes = Annotated[list[str] | None, option(_SHAPE, "--shape", metavar="SHAPE")]
RequireFit = Annotated[bool, flag("--require-fit", help="Exit with 1 unless every network fits.")]
_MAX_MS: Final = "Time limit of a forward pass, which its whole predicted interval has to meet."
MaxMs = Annotated[float | None, number("--max-ms", "MS", _MAX_MS, 0, **variable("max_ms"))]
Jobs = Annotated[
    int | None, number("--jobs", "N", "Networks in parallel. Default: one per core.", 1, 64)
]
RecordsOut = Annotated[
    Path | None, option("Append the records to this file (JSON lines).", "--out", "-o")
]
_RUN_FILES: Final = "Append the records to this file (JSON lines), or write a badge (badge.svg)."
RunOut = Annotated[list[Path] | None, option(_RUN_FILES, "--out", "-o")]
_CASES: Final = (
    "For CI: write a Markdown summary (.md) or JUnit test cases (.xml); may be repeated."
)
CasesOut = Annotated[list[Path] | None, option(_CASES, "--out", "-o")]
_PLAN_FILES: Final = (
    "Write a summary (.md), JUnit test cases (.xml), a badge (badge.svg) or memory over the steps "
    "for Perfetto (trace.json); may be repeated."
)
PlanOut = Annotated[list[Path] | None, option(_PLAN_FILES, "--out", "-o")]
Absolute = Annotated[float | None, number("--atol", "X", "Absolute tolerance.", 0)]
Relative = Annotated[float | None, number("--rtol", "X", "Relative tolerance.", 0)]
EqualNan = Annotated[
    bool, flag("--equal-nan", help="NaN equals NaN, and infinity equals infinity of its sign.")
]
Quiet = Annotated[bool, flag("--quiet", "-q", help="Show no progress.")]
AsJson = Annotated[bool, flag("--json", help="Print JSON instead of a table.")]
Timings = Annotated[bool, flag("--timings", help="Print how long each phase took.")]
