"""The definition of a study by its author, the cells that result from it, and their keys.

The key of a cell is a hash of all that determines its result.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import math
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from pibench import devices, file_io, process, settings, target_kinds
from pibench._version import __version__
from pibench.engines.base import Compute, Protocol
from pibench.engines.caffe import Repair, prototxt
from pibench.engines.registry import engine_of
from pibench.errors import InvalidInputError, PibenchError
from pibench.images.recipe import file_sha256, fingerprint
from pibench.networks import catalog
from pibench.networks.network import files_of, is_path, recorded
from pibench.runner.jobs import cost_bytes
from pibench.runner.options import RunOptions
from pibench.settings import asset
from pibench.setups import Blas
from pibench.target_kinds import Machine, kind_of_spec
from pibench.targets.job import engine_key
from pibench.targets.ssh import connection

if TYPE_CHECKING:
    from pibench.networks.network import Network

AXES: Final = ("device", "target", "engine", "protocol", "compute", "blas", "threads", "seed")
"""Axes that are fields of `RunOptions`; those of reading a network come before them."""

LARGEST = 1_000_000
"""Cells per study: more are probably a mistake, and their list would fill the disk."""

MOST_BYTES = 16 << 20
"""The size limit of a study's file: a million seeds take 8 MB."""

Spec = Annotated[str, Field(max_length=4096)]
"""A name, or a path: Linux has no longer paths."""
Threads = Annotated[int, Field(ge=1, le=64)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""The limits of `pibench run`: an invalid cell is reported before the first one runs."""


def _several(value: Any) -> Any:
    """Return a single value as a list: people write `batch = 4`."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _axis(**limits: Any) -> Any:
    return BeforeValidator(_several), Field(min_length=1, **limits)


class Study(BaseModel):
    """The axes of a study, each a list of values, and the settings common to all cells.

    `batch`, `input` and `compute` are None for the default of the network or the target.
    `weights` maps the name of a network in `networks` to its caffemodel.
    `timeout_s` is for one network, as in `pibench run`; `budget_s` is for a whole cell, with
    overhead such as booting. `prune`, in percent of the device's memory, leaves out cells whose
    planned peak exceeds the memory by more than that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    networks: Annotated[tuple[Spec, ...], *_axis()]
    batch: Annotated[tuple[PositiveInt | None, ...], *_axis()] = (None,)
    input: Annotated[tuple[Spec | None, ...], *_axis()] = (None,)
    device: Annotated[tuple[Spec, ...], *_axis()] = ("rpi3b",)
    target: Annotated[tuple[Spec, ...], *_axis()] = ("vm",)
    engine: Annotated[tuple[Spec, ...], *_axis()] = ("caffe",)
    protocol: Annotated[tuple[Protocol, ...], *_axis()] = ("caffe-time",)
    compute: Annotated[tuple[Compute | None, ...], *_axis()] = (None,)
    blas: Annotated[tuple[Blas, ...], *_axis()] = ("openblas",)
    threads: Annotated[tuple[Threads | None, ...], *_axis()] = (None,)
    seed: Annotated[tuple[Seed, ...], *_axis()] = (0,)
    machine: Machine | None = None
    fresh_boot: bool = False
    repeats: Annotated[NonNegativeInt, Field(le=10_000)] = 5
    timeout_s: Annotated[float, Field(ge=1, le=10**7)] | None = None
    budget_s: Annotated[float, Field(gt=0, le=10**7)] | None = None
    repair: Repair = False
    prune: NonNegativeFloat | None = None
    weights: dict[str, str] = {}

    @property
    def combinations(self) -> int:
        """The number of combinations of the axes, including invalid ones."""
        axes = ("networks", "batch", "input", *AXES)
        return math.prod(len(getattr(self, axis)) for axis in axes)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of one network.

    `prototxt` is the file's text, None for a network of the zoo, so that changes of the file
    during a study have no effect. `cost_bytes` is the approximate size of its blobs and
    parameters.
    """

    network: str
    prototxt: str | None
    options: RunOptions
    budget_s: float | None
    cost_bytes: int

    @property
    def source(self) -> str:
        """The network's source in the form used by records."""
        return "zoo" if self.prototxt is None else recorded(self.network)

    @property
    def label(self) -> str:
        """A readable description of the cell."""
        options = self.options
        words = [
            self.source if self.prototxt is not None else self.network,
            f"batch {options.batch}" if options.batch else "",
            options.input_size or "",
            options.device,
            options.target,
            options.engine if options.engine != "caffe" else "",
            options.protocol,
            options.compute or "",
            options.blas if options.blas != "openblas" else "",
            f"{options.threads} threads" if options.threads else "",
            f"seed {options.seed}" if options.seed else "",
        ]
        return " ".join(filter(None, words))

    def write(self, folder: Path) -> Path:
        """Write the cell for `pibench run-cell`, and the text of its network under its name."""
        network = self.network
        if self.prototxt is not None:
            copy = folder / Path(network).name
            copy.write_text(self.prototxt, encoding="utf-8")
            network = str(copy)
        path = folder / "cell.json"
        path.write_bytes(_REQUEST.dump_json(CellRequest(network=network, options=self.options)))
        return path


@dataclass(frozen=True, kw_only=True)
class CellRequest:
    """What the process of a cell gets: its network, a name or a file, and its options."""

    network: str
    options: RunOptions

    @classmethod
    def read(cls, path: Path) -> CellRequest:
        """Read what `Cell.write` wrote. Raises InvalidInputError for any other file."""
        try:
            return _REQUEST.validate_json(file_io.read_input(path))
        except ValidationError as error:
            raise InvalidInputError.at(path, None, f"is not a cell: {error.title}") from None


_REQUEST: Final = TypeAdapter(CellRequest)


def read(path: Path) -> Study:
    """Read the study of a TOML file; its paths are relative to the file's folder.

    Raises:
        InvalidInputError: with the file and the key.
    """
    content = file_io.read_input(
        path, hint="give a TOML file: docs/sweeps.md", most_bytes=MOST_BYTES
    )
    try:
        data = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidInputError.at(path, None, f"is not TOML: {error}") from None
    return beside(of(data, path), path.parent)


def of(data: dict[str, Any], place: Path | str) -> Study:
    """Validate `data` as a study. Raises InvalidInputError that names `place`."""
    try:
        study = Study.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the study"
        raise InvalidInputError.at(
            place, key, first["msg"], hint="docs/sweeps.md lists the keys"
        ) from None
    if study.combinations > LARGEST:
        raise InvalidInputError.at(
            place, None, f"{study.combinations} cells, more than {LARGEST}", hint="split it"
        )
    for name in study.device:
        devices.load(name)
    for name in study.target:
        if name.startswith(connection.SCHEME):
            connection.parse(name)
        elif not kind_of_spec(name).installed:
            raise InvalidInputError.at(
                place, "target", f"there is no target {name!r}",
                hint=f"choose from {', '.join(target_kinds.choices())}",
            )  # fmt: skip
    engines = [engine_of(engine) for engine in study.engine]
    if "protocol" not in study.model_fields_set:
        # What all of them can run.
        shared = [one for one in study.protocol if all(one in made.protocols for made in engines)]
        study = study.model_copy(update={"protocol": tuple(shared) or ("inference",)})
    unknown = sorted(set(study.weights) - set(study.networks))
    if unknown:
        raise InvalidInputError.at(
            place, f"weights.{unknown[0]}", "is none of its networks", hint="name it as there"
        )
    return study


def beside(study: Study, folder: Path) -> Study:
    """Return the study with its paths, which are relative to `folder`, made absolute."""

    def place(spec: str) -> str:
        path = folder / spec
        return str(path.resolve()) if path.is_file() else spec

    networks, weights = [], {place(spec): place(file) for spec, file in study.weights.items()}
    for spec in study.networks:
        network = place(spec)
        if (folder / spec).is_dir() and ("/" in spec or not catalog.knows(spec)):
            network, own = files_of(str((folder / spec).resolve()))
            if own and spec not in study.weights:
                weights[network] = str(own)
        networks.append(network)
    return study.model_copy(update={"networks": tuple(networks), "weights": weights})


@lru_cache(maxsize=64)
def load(spec: str, options: RunOptions) -> Network:
    """Read and check a network of a study. Raises InvalidInputError."""
    return options.load(spec)


def _read_networks(study: Study) -> Iterator[tuple[str, RunOptions, Network]]:
    """Yield each network of the study in each batch and size, with the options to read it."""
    for spec, batch, size in itertools.product(study.networks, study.batch, study.input):
        weights = study.weights.get(spec)
        options = RunOptions(
            weights=Path(weights) if weights else None,
            batch=batch,
            input_size=size,
            repair=study.repair,
        )
        try:
            yield spec, options, load(spec, options)
        except InvalidInputError as error:
            if size is None:
                raise
            raise InvalidInputError(
                f"with input {size}: {error.message}",
                hint=error.hint and f"{error.hint}, or sweep this network in a study of its own",
            ) from None


def check_networks(study: Study) -> None:
    """Read every network before anything is written. Raises InvalidInputError."""
    for _ in _read_networks(study):
        pass


def cells(study: Study) -> Iterator[tuple[Cell, Network, str | None]]:
    """Yield every cell with its network, and the reason if the combination is invalid.

    Cells are generated one at a time, since a study can have 100,000 of them.

    Raises:
        InvalidInputError: for a network that cannot be used at all.
    """
    texts = {spec: _text(spec) for spec in study.networks}
    for spec, reading, network in _read_networks(study):
        for values in itertools.product(*(getattr(study, axis) for axis in AXES)):
            axes = dict(zip(AXES, values, strict=True))
            has_machines = kind_of_spec(axes["target"]).machines
            options = replace(
                reading,
                **axes,
                repeats=study.repeats,
                timeout_s=study.timeout_s,
                jobs=1,
                machine=study.machine if has_machines else None,
                fresh_boot=study.fresh_boot and bool(has_machines),
                weights=reading.weights if axes["protocol"] == "inference" else None,
            )
            cell = Cell(
                network=spec,
                prototxt=texts[spec],
                options=options,
                budget_s=study.budget_s,
                cost_bytes=cost_bytes(network),
            )
            why_not = None
            try:
                options.check(network)
            except InvalidInputError as error:
                why_not = str(error)
            yield cell, network, why_not


def _text(spec: str) -> str | None:
    """Return the prototxt's text, None for a name of the zoo."""
    return prototxt.read_text(spec) if is_path(spec) else None


def cell_key(cell: Cell, network: Network) -> str:
    """Return the SHA-256 of everything that determines a cell's record.

    This is the network and its weights, the run options, the device's memory and cores, the image,
    the probe, the emulator, and pibench's version. The time limit is not included: a run that
    exceeds it is inconclusive and runs again.
    """
    options = cell.options
    return fingerprint(
        {
            "network": network.sha256,
            "name": network.name,
            "weights": weights_sha256(options.weights) if options.weights else None,
            "target": options.target,
            "machine": options.machine,
            "fresh_boot": options.fresh_boot,
            "engine": engine_key(options.engine),
            "protocol": options.protocol,
            "compute": options.effective_compute,
            "threads": options.effective_threads,
            # `caffe time` reads no weights, and its input does not affect memory.
            "repeats": options.repeats if options.protocol == "inference" else None,
            "seed": options.seed if options.protocol == "inference" else None,
            "blas": options.blas,
            "setup": options.setup,
            "device": _device(options.device, options.reserve),
            **made_with(options.target),
        }
    )


def made_with(target: str) -> dict[str, str | None]:
    """Return the software that runs a cell on this machine and may differ on another one."""
    return {
        "image": _image(target),
        "probe": _probe(),
        "memory_only_tier": "blas" if settings.wants_real_loops() else None,
        "emulator": _emulator(target),
        "pibench": __version__,
    }


@functools.cache
def _device(name: str, reserve_mib: float) -> str:
    return fingerprint(dataclasses.asdict(devices.load(name).with_reserve(reserve_mib)))


@functools.cache
def weights_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as it was when the study first read it."""
    return file_sha256(path)


@functools.cache
def _image(target: str) -> str:
    """Return the list of packages, with versions and hashes, of the target's image."""
    from pibench.images.build import Builder  # noqa: PLC0415  (start-up time)

    return Builder().lock.digest(kind_of_spec(target).architecture or "arm64")


@functools.cache
def _probe() -> str:
    """Return the programs that run with Caffe: the probe, and pibench's C programs."""
    digest = hashlib.sha256()
    for folder in (Path(__file__).parents[1] / "probe", asset("qemu")):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
                digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


@functools.cache
def _emulator(target: str) -> str | None:
    """Return the first line of the emulator's `--version`; None if it is not installed."""
    program = next(filter(None, map(shutil.which, kind_of_spec(target).emulators)), None)
    if program is None:
        return None
    try:
        return process.run([program, "--version"], deadline_s=20).stdout.partition("\n")[0]
    except PibenchError:
        return None
