"""The two sides of a bisection: targets that run, as a text names them, or records.

`prepare` checks everything about both sides before the first one runs, which takes minutes.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

from pydantic import Field, ValidationError

from pibench import target_kinds
from pibench.crosscheck.sides import read_records
from pibench.engines import registry
from pibench.engines.caffe import CAFFE, cut
from pibench.engines.caffe.caffemodel import check_weights
from pibench.errors import InconclusiveError, InvalidInputError
from pibench.images.recipe import file_sha256
from pibench.records.fields import Frozen
from pibench.records.identity import labels_of, latest
from pibench.runner.jobs import job_of
from pibench.runner.model_files import seeded_weights
from pibench.runner.options import RunOptions
from pibench.runner.runner import Runner, write_npz
from pibench.setups import BLAS_NAMES, Blas
from pibench.target_kinds import Machine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pibench.images.build import Builder
    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.targets.base import KeptBlob, Outcome, Target

Wanted = tuple[str, str]
"""A blob: the layer that wrote it, and the blob's name."""

KEYS: Final = ("weights", "prototxt", "blas", "threads", "machine", "engine")
_CHANGES: Final = re.compile(rf":(?=(?:{'|'.join(KEYS)})=)")
_HINT: Final = f"write TARGET:key=value,...: keys are {', '.join(KEYS)}"
_MOST_THREADS: Final = 64


@dataclass(kw_only=True)
class Runnable:
    """A side that can be run repeatedly."""

    name: str
    network: Network
    target: Target
    options: RunOptions
    record: Record = field(init=False)

    def __post_init__(self) -> None:
        self.record, _ = self._run(self.network, self.options)

    def keep(self, layers: Sequence[str]) -> dict[Wanted, KeptBlob]:
        """Run the network and return the whole blobs of these layers."""
        options = replace(self.options, keep=tuple(layers), values_only=True)
        return self._run(self.network, options)[1]

    def isolated(self, position: int, inputs: Mapping[str, KeptBlob]) -> dict[Wanted, KeptBlob]:
        """Return the output of the layer at that position, run alone on these inputs."""
        layer = self.network.shapes.layers[position]
        shapes = {name: blob.shape for name, blob in inputs.items()}
        net = cut.alone(self.network.net, layer, shapes)
        weights = self.network.weights or seeded_weights(self.network, self.options.seed)
        # Another network than the whole one: what is converted of it is another file.
        network = replace(self.network, net=net, entry=None, weights=weights, known_sha256=None)
        with tempfile.TemporaryDirectory(prefix="pibench-inputs-") as folder:
            path = Path(folder) / "inputs.npz"
            write_npz(path, inputs)
            options = replace(self.options, inputs=path, keep=(layer.name,), values_only=True)
            return self._run(network, options)[1]

    def _run(self, network: Network, options: RunOptions) -> tuple[Record, dict[Wanted, KeptBlob]]:
        outcomes: list[Outcome] = []
        runner = Runner(target=self.target, options=options, on_outcome=outcomes.append)
        (record,) = runner.run([network])
        if not record.outputs:
            reason = record.provenance["outputs"].reason
            why = record.evidence.fatal_message or record.evidence.summary
            raise InconclusiveError(
                f"{self.name}: {network.name} has no outputs: {reason} ({why})",
                hint="run it by itself: pibench run --protocol inference",
            )
        return record, {(blob.layer, blob.name): blob for blob in outcomes[0].kept}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A side that has only a record and cannot be run."""

    name: str
    record: Record


Side = Runnable | Recorded


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A side whose files are checked; `start` runs it, or returns what its record has."""

    name: str
    start: Callable[[], Side]


Load = Callable[[str, RunOptions], "Network"]
"""Reads the network that a side has of its own."""


def prepare(
    network: Network,
    texts: tuple[str, str],
    options: RunOptions,
    *,
    seed: int | None,
    batch: int | None,
    default_target: str,
    builder: Builder,
    load: Load,
) -> list[Prepared]:
    """Check both sides and return them in the given order; nothing has run yet.

    `builder` builds the images of targets; the others are those of `search.bisect_runs`.

    Raises:
        InvalidInputError: A side cannot be used.
    """
    records = [_recorded(text, network, seed) for text in texts]
    for text, record in zip(texts, records, strict=True):
        if record is not None:
            checked_seed = options.seed if None in records else seed
            checked_batch = network.batch if None in records or batch is not None else None
            _check_record(text, record, network, options, seed=checked_seed, batch=checked_batch)
    meant = [
        _variant(text, default_target) if record is None else record
        for text, record in zip(texts, records, strict=True)
    ]
    names = [
        one.name if isinstance(one, Variant) else text
        for one, text in zip(meant, texts, strict=True)
    ]
    if names[0] == names[1]:
        names = [f"{names[0]} (A)", f"{names[1]} (B)"]
    return [
        Prepared(
            name=name,
            start=_runnable(name, one, network, options, builder=builder, load=load)
            if isinstance(one, Variant)
            else partial(Recorded, name=name, record=one),
        )
        for name, one in zip(names, meant, strict=True)
    ]


def _variant(text: str, default_target: str) -> Variant:
    """Parse a side that must run, and check its target."""
    variant = parse_variant(text, default_target)
    problem = None if variant.target == "auto" else target_kinds.problem(variant.target)
    if problem is not None:
        raise InvalidInputError(
            f"{text}: {problem}",
            hint="give a target, an engine, or an existing file of records",
        )
    return variant


def _runnable(
    name: str,
    variant: Variant,
    network: Network,
    options: RunOptions,
    *,
    builder: Builder,
    load: Load,
) -> Callable[[], Side]:
    """Check the files of a side that must run; return a function that runs it."""
    changed = ("target", "machine", "threads", "blas", "engine")
    options = replace(options, **{field: getattr(variant, field) for field in changed})
    weights = variant.weights or network.weights or seeded_weights(network, options.seed)
    own = network
    if variant.prototxt is not None:
        own = load(str(variant.prototxt), replace(options, weights=None))
    if variant.weights is not None or variant.prototxt is not None:
        try:
            check_weights(own.net, weights)
        except InvalidInputError:
            if weights in (variant.weights, network.weights):
                raise
            raise _unshared(variant.text, network, own, variant.prototxt) from None
    own = replace(own, weights=weights)
    options.check(own)
    # An engine may be unable to read a layer: that is known from its files.
    job_of(0, own, options)
    target = options.make_target(builder)
    return partial(Runnable, name=name, network=own, target=target, options=options)


def _unshared(
    text: str, network: Network, own: Network, prototxt: Path | None
) -> InvalidInputError:
    """Explain that weights generated for one network do not fit the other."""
    shared, needed = network.shapes.params, own.shapes.params
    names = {**needed, **shared}
    layer = next((name for name in names if needed.get(name) != shared.get(name)), "")
    return InvalidInputError(
        f"{text}: layer {layer!r} has other parameters in {prototxt} than in {network.name}, "
        "and both sides share seeded weights",
        hint="give each side its own: TARGET:weights=FILE",
    )


def _recorded(text: str, network: Network, seed: int | None) -> Record | None:
    """Return the record of the network in a file; None for a side that is not a file.

    A record of another network with the same name is used only if there is none of this one.
    """
    file = Path(text)
    if not (file.is_file() or file.is_fifo()):
        return None
    found = [
        record
        for record in read_records(file)
        if record.protocol == "inference"
        and (record.network == network.name or record.network_sha256 == network.sha256)
    ]
    if not found:
        raise InvalidInputError.at(
            file,
            None,
            f"no record of {network.name} under protocol inference",
            hint="make one: pibench run --protocol inference --out FILE",
        )
    for is_meant in (
        lambda one: one.network_sha256 == network.sha256,
        lambda one: seed in (None, one.seed),
        lambda one: not no_values(one),
    ):
        found = list(filter(is_meant, found)) or found
    runs = latest(found)
    if len(runs) > 1:
        raise InvalidInputError.at(
            file,
            None,
            f"has several runs of {network.name}: {'; '.join(labels_of(runs).values())}",
            hint="give a file with the record of one of them",
        )
    return runs[0]


def _check_record(
    text: str,
    record: Record,
    network: Network,
    options: RunOptions,
    *,
    seed: int | None,
    batch: int | None,
) -> None:
    """Reject a record that does not match the options; `seed` and `batch` must be equal."""
    hint = "give the options it was made with, or another record"
    problem = no_values(record)
    if problem:
        hint = "make another: pibench run --protocol inference --compute real --out FILE"
    elif seed is not None and record.seed not in (None, seed):
        problem = f"its input has seed {record.seed}, not {seed}"
        hint = f"--seed {record.seed}"
    elif batch is not None and record.batch != batch:
        problem = f"it has batch {record.batch}, not {batch}"
        hint = f"--batch {record.batch}"
    elif options.input_size is not None and record.network_sha256 != network.sha256:
        problem = f"it is of another network than {network.name} at {options.input_size}"
    elif options.weights is not None and record.weights_sha256 != file_sha256(options.weights):
        problem = f"its weights are not {options.weights}"
        hint = "give them to the other side only: TARGET:weights=FILE"
    if problem:
        raise InvalidInputError.at(Path(text), None, problem, hint=hint)


def no_values(record: Record) -> str:
    """Explain why a record has no layer values; empty if it has them."""
    if record.signatures:
        return ""
    reason = record.provenance["outputs"].reason
    if record.outputs:
        reason = "it has outputs only, and no signatures (a record before version 1.2)"
    return f"no layer values: {reason}"


class Variant(Frozen):
    """A target, and the options that its run changes. `text` is what was parsed."""

    text: str
    target: str
    engine: str = CAFFE.id
    weights: Path | None = None
    prototxt: Path | None = None
    blas: Blas = "openblas"
    threads: Annotated[int, Field(ge=1, le=_MOST_THREADS)] | None = None
    machine: Machine | None = None

    @property
    def name(self) -> str:
        """The side in output: as it was written, with the target if an engine was named alone."""
        is_named = self.text.partition(":")[0] == self.target.partition(":")[0]
        return self.text if is_named else f"{self.text} on {self.target}"


def parse_variant(text: str, default_target: str = "twin") -> Variant:
    """Parse the side that `text` names: TARGET:KEY=VALUE,... with an engine in place of the target.

    A value cannot contain a comma, because commas separate the keys. The settings of an engine
    follow colons, as in `twin:engine=opencv==4.6:fusion=off,threads=1`. An engine that is named
    without a target runs on `default_target`.

    Raises:
        InvalidInputError: if the text is not valid.
    """
    target, *rest = _CHANGES.split(text, maxsplit=1)
    parts = rest[0].split(",") if rest else []
    changes: dict[str, Any] = {}
    if _is_engine(target):
        if any(part.startswith("engine=") for part in parts):
            raise InvalidInputError(f"{text}: names two engines", hint="leave engine= out")
        changes["engine"], target = target, default_target
    for part in (target.rpartition(":")[2], *parts):
        key, separator, _ = part.partition("=")
        if separator and key.isidentifier() and key not in KEYS:
            raise InvalidInputError(f"{text}: key {key!r} is unknown", hint=_HINT)
    for part in parts:
        key, separator, value = part.partition("=")
        if not separator or key not in KEYS or not value:
            raise InvalidInputError(f"{text}: {part!r} is not KEY=VALUE", hint=_HINT)
        if key in changes:
            raise InvalidInputError(f"{text}: gives {key} twice", hint="give it once")
        changes[key] = value
    if "engine" in changes:
        try:
            changes["engine"] = registry.engine_of(changes["engine"]).spec
        except InvalidInputError as error:
            raise InvalidInputError(f"{text}: {error.message}", hint=error.hint) from None
    try:
        return Variant(text=text, target=target, **changes)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
    problem, hint = f"{changes[key]} is not a number of threads", f"give 1 to {_MOST_THREADS}"
    if key != "threads":
        what, known = ("BLAS", BLAS_NAMES) if key == "blas" else (key, get_args(Machine))
        problem, hint = f"there is no {what} {changes[key]}", f"choose from {', '.join(known)}"
    raise InvalidInputError(f"{text}: {problem}", hint=hint)


def _is_engine(text: str) -> bool:
    """Return whether a side's text is an engine's: a target of the same name comes first."""
    name = re.split("==|:", text, maxsplit=1)[0]
    return name in registry.names() and not target_kinds.kind_of_spec(text).installed
