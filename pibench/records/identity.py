"""Identify the run of a record, and find the shortest names that distinguish several runs.

A run is defined by what determines its result: the network, its weights, where and how it ran.
Two records of one run are an earlier and a later result; records of two runs are listed
separately, however similar their names are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from itertools import chain, count
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from pibench import devices
from pibench.engines.base import Compute, Protocol
from pibench.errors import InvalidInputError
from pibench.records.fields import Batch, Frozen, Name, Sha256, Whole
from pibench.setups import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from pibench.networks.model_file import Runnable
    from pibench.records.schema import Record

ZOO: Final = "zoo"
FEWEST_DIGITS: Final = 8
"""The minimum number of hash digits in a name."""


class Run(Frozen):
    """What determines the result of a run; None for what is unknown or irrelevant.

    `network_source` is "zoo" or the prototxt's path; it names a network but does not affect the
    result. `source` is the target, with a VM's machine, or "planned", "predicted" or "paper".
    `limits` are the requested ones, without the allowance for an emulator. `board` and
    `caffe_origin` apply to a run on a machine's own processor: runs on two boards, or with the
    system's Caffe and with pibench's, are two runs.
    """

    network: Name
    network_sha256: Sha256 | None = None
    network_source: str | None = None
    batch: Batch = 1
    input_size: str | None = None
    device: str = ""
    source: str = ""
    engine: str | None = None
    protocol: Protocol | None = None
    compute: Compute | None = None
    threads: Whole | None = None
    blas: str | None = None
    setup: str | None = None
    seed: Whole | None = None
    weights_sha256: Sha256 | None = None
    repeats: Whole | None = None
    limits: str | None = None
    caffe_origin: str | None = None
    board: str | None = None

    @property
    def identity(self) -> tuple[Any, ...]:
        """All that determines the result: equal for two records of the same run."""
        options = (getattr(self, name) for name in OPTIONS)
        return self.network, self.network_sha256, *options

    @property
    def unusual(self) -> list[str]:
        """The options that differ from the command line's defaults."""
        found = {
            "batch": self.batch != 1,
            "engine": self.engine not in (None, "caffe"),
            "input_size": self.input_size is not None,
            "threads": self.threads not in (None, _cores(self.device)),
            "blas": self.blas not in (None, "openblas"),
            "setup": self.setup not in (None, DEFAULT),
            "seed": bool(self.seed),
        }
        return [name for name, applies in found.items() if applies]


OPTIONS: Final = (
    "batch", "input_size", "device", "source", "engine", "protocol", "compute", "threads", "blas",
    "setup", "seed", "weights_sha256", "repeats", "limits", "caffe_origin", "board",
)  # fmt: skip
"""Options that distinguish runs of one network, in order of preference."""
_AS_IN_A_RECORD: Final = (
    "network", "network_sha256", "network_source", "batch", "input_size", "device", "protocol",
    "compute", "setup", "seed", "weights_sha256",
)  # fmt: skip
_WITH_DEFAULT: Final = ("batch", "input_size", "threads", "blas", "setup", "seed")


def run_of(record: Record) -> Run:
    """Return the run that a record belongs to."""
    guest = record.environment.guest
    real = record.protocol == "inference" and record.compute == "real"
    return Run(
        **{name: getattr(record, name) for name in _AS_IN_A_RECORD},
        engine=_engine(record),
        source=record.target if record.machine is None else f"{record.target} {record.machine}",
        threads=record.limits.asked.threads,
        blas=_blas(record),
        repeats=record.repeats if real else None,
        limits=_limits(record),
        caffe_origin=guest.caffe_origin if record.target_kind.is_board else None,
        board=_board(record),
    )


def latest(records: Sequence[Record]) -> list[Record]:
    """Leave out every record that a later one of the same run supersedes.

    An inconclusive record may lack some fields of its run, for example if it was lost before its
    BLAS was known. A later record that agrees in all fields that it has supersedes it. A record
    with a verdict is superseded only by a record of exactly the same run.

    Returns:
        The remaining records, each at the position of the first record of its run.
    """
    runs = [run_of(record) for record in records]
    by_age = sorted(range(len(records)), key=lambda index: records[index].created)
    later_ones: dict[Any, list[int]] = defaultdict(list)
    places: dict[int, int] = {}
    for index in reversed(by_age):
        run = runs[index]
        alike = later_ones[
            run.network, run.network_sha256, run.input_size, run.source, run.protocol, run.compute
        ]  # fmt: skip
        lost = records[index].verdict == "inconclusive"
        later = next((one for one in alike if _is_superseded(run, runs[one], lost=lost)), None)
        if later is None:
            alike.append(index)
            places[index] = index
        else:
            places[later] = min(places[later], index)
    return [records[index] for index in sorted(places, key=places.__getitem__)]


def labels(
    runs: Sequence[Run], *, beside: Collection[str] = (), by_file: bool = False
) -> list[str]:
    """Name runs so that no two different ones have the same name.

    A name is the network's. If several networks share it, the shortest distinguishing end of the
    file's path is added, or else the first digits of the hash. Options that are not the defaults,
    or that differ among runs of that network, follow.

    Args:
        runs: All runs that are shown together.
        beside: Options that are shown next to the name, and are therefore not part of it.
        by_file: Whether runs of two files differ even if the files have the same content.

    Returns:
        A name for each run, in the given order.
    """

    def key(run: Run) -> tuple[Any, ...]:
        return (*run.identity, run.network_source) if by_file else run.identity

    distinct: dict[Any, Run] = {}
    for run in runs:
        distinct.setdefault(key(run), run)
    networks = _network_names(distinct, by_file=by_file)
    groups: dict[Any, list[Run]] = defaultdict(list)
    for one, run in distinct.items():
        groups[networks[one], *(getattr(run, name) for name in beside)].append(run)
    named: dict[Any, str] = {}
    taken: set[tuple[Any, ...]] = set()
    for (network, *shown), group in groups.items():
        by_run = _distinguishing_options(group)
        for run in group:
            # Omit default values of options.
            options = {*run.unusual, *by_run[run.identity].difference(_WITH_DEFAULT)}
            options.difference_update(beside)
            words = [_describe(name, getattr(run, name)) for name in OPTIONS if name in options]
            label = ", ".join([network, *filter(None, words)])
            # A network's own name may look like another one's label.
            numbered = chain([label], (f"{label} #{number}" for number in count(2)))
            label = next(one for one in numbered if (one, *shown) not in taken)
            taken.add((label, *shown))
            named[key(run)] = label
    return [named[key(run)] for run in runs]


def labels_of(
    records: Sequence[Record], *, beside: Collection[str] = (), by_file: bool = False
) -> dict[str, str]:
    """Name the runs of records as `labels` does; the names are by the records' ids."""
    found = labels([run_of(record) for record in records], beside=beside, by_file=by_file)
    return dict(zip((record.record_id for record in records), found, strict=True))


def network_labels(networks: Sequence[Runnable]) -> list[str]:
    """Name networks that were loaded, as `labels` does, and files of one content by their paths."""
    return labels(
        [
            Run(
                network=one.name,
                network_sha256=one.sha256,
                network_source=one.recorded_source,
                batch=one.batch,
                input_size=one.input_size,
            )
            for one in networks
        ],
        # One call has one batch for all networks, but a file may define its own.
        beside=("batch",) if len({one.batch for one in networks}) == 1 else (),
        by_file=True,
    )


def distinguishing(runs: Iterable[Run]) -> set[str]:
    """Find what distinguishes these runs: "network" for the name, and options."""
    return set().union(*_distinguishing_options([*runs]).values())


def _distinguishing_options(runs: Sequence[Run]) -> dict[Any, set[str]]:
    """Return the minimal options that distinguish each run, in the order of `OPTIONS`."""
    found: dict[Any, set[str]] = {run.identity: set() for run in runs}
    groups = [runs]
    for name in ("network", *OPTIONS):
        split: list[Sequence[Run]] = []
        for group in groups:
            by_value: dict[Any, list[Run]] = defaultdict(list)
            for run in group:
                by_value[getattr(run, name)].append(run)
            if len(by_value) > 1:
                for run in group:
                    found[run.identity].add(name)
            split += by_value.values()
        groups = split
    return found


def _is_superseded(earlier: Run, later: Run, *, lost: bool) -> bool:
    """Return whether the later run equals the earlier one, or all known fields of a lost one."""
    pairs = zip(earlier.identity, later.identity, strict=True)
    return all(one == other or (lost and one is None) for one, other in pairs)


def _network_names(runs: Mapping[Any, Run], *, by_file: bool) -> dict[Any, str]:
    """Name the networks of runs, by the runs' keys; other batches may share a name."""
    by_name: dict[str, list[Any]] = defaultdict(list)
    for key, run in runs.items():
        by_name[run.network].append(key)
    found: dict[Any, str] = {}
    for name, keys in by_name.items():
        group = [runs[key] for key in keys]
        several = by_file or len({run.network_sha256 for run in group}) > 1
        ends = _ends({run.network_source or "" for run in group}) if several else {}
        alike: dict[Any, list[Any]] = defaultdict(list)
        for key, run in zip(keys, group, strict=True):
            label, end = name, ends.get(run.network_source or "", "")
            if end:
                # The name of a file's network often equals the file's name.
                label = end if PurePath(end).stem == name else f"{name} ({end})"
            alike[label, run.batch, run.input_size].append(key)
        for (label, *_), same in alike.items():
            digits = _digits({runs[key].network_sha256 or "" for key in same})
            for key in same:
                hashed = digits.get(runs[key].network_sha256 or "")
                found[key] = f"{label}, {hashed}" if hashed else label
    return found


def _ends(sources: Collection[str]) -> Mapping[str, str]:
    """Return the shortest unique end of each path; empty if there is only one path."""
    if len(sources) == 1:
        return {}
    parts = {source: PurePath(source).parts for source in sources}
    found: dict[str, str] = {}
    for length in range(1, max(map(len, parts.values())) + 1):
        ends = {source: those[-length:] for source, those in parts.items()}
        times = Counter(ends.values())
        for source, end in ends.items():
            if end and times[end] == 1:
                found.setdefault(source, str(PurePath(*end)))
    return {source: found.get(source, source) for source in sources}


def _digits(hashes: Collection[str]) -> Mapping[str, str]:
    """Return the first digits that distinguish the hashes; empty if there is only one hash."""
    if len(hashes) == 1:
        return {}
    distinct = (n for n in range(FEWEST_DIGITS, 64) if len({h[:n] for h in hashes}) == len(hashes))
    length = next(distinct, 64)
    return {one: one[:length] for one in hashes}


def _describe(name: str, value: Any) -> str:
    if value is None or value == "":
        return ""
    words = {
        "batch": f"batch {value}",
        "compute": f"{value} compute",
        "threads": f"{value} thread{'' if value == 1 else 's'}",
        "blas": f"BLAS {value}",
        "setup": f"set-up {value}",
        "seed": f"seed {value}",
        "weights_sha256": f"weights {str(value)[:FEWEST_DIGITS]}",
        "repeats": f"{value} repeat{'' if value == 1 else 's'}",
        "caffe_origin": f"Caffe of the {value}",
    }
    return words.get(name, str(value))


def _cores(device: str) -> int | None:
    with suppress(InvalidInputError):
        return devices.load(device).cores
    return None


def _engine(record: Record) -> str:
    """Return the engine, with its version where that decides: Caffe is always the 1.0."""
    if record.engine == "caffe" or record.engine_version is None:
        return record.engine
    return f"{record.engine} {record.engine_version}"


def _blas(record: Record) -> str | None:
    """Return the library's name without its version and the core it was selected for."""
    words = (record.environment.guest.blas_name or "").lower()
    if record.compute == "memory-only" or not words:
        return None
    known = ("openblas", "atlas", "reference")
    return next((name for name in known if name in words), words)


def _limits(record: Record) -> str | None:
    asked, extra = record.limits.asked, record.limits.allowance
    if asked.memory_bytes is None:
        return None
    if record.target_kind.boundary == "group" and record.limits.enforced_by is None:
        # It was lost before the limits were set.
        return None
    own = asked.memory_bytes - (extra.emulator_bytes + extra.probe_bytes if extra else 0)
    words = [f"{own / devices.MIB:.0f} MiB", f"{asked.cores:g} cores" if asked.cores else ""]
    return " and ".join(filter(None, words))


def _board(record: Record) -> str | None:
    """Return processor and memory of the machine that ran it, unless it was emulated."""
    if not record.target_kind.is_board:
        return None
    host = record.environment.host
    memory = f"{host.memory_bytes / devices.MIB:.0f} MiB" if host.memory_bytes else ""
    return " with ".join(filter(None, [host.cpu_model or host.architecture, memory]))
