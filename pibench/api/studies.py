"""Many runs: those of a study, and those that find where two sides part."""

# ruff: noqa: PLC0415  (start-up time: see pibench/api/__init__.py)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pibench import display

if TYPE_CHECKING:
    from typing import Unpack

    from pibench.bisection.search import Bisection
    from pibench.engines.caffe import Repair
    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.sweeps.scheduler import SweepSummary
    from pibench.sweeps.study import StudyKeywords


@dataclass(frozen=True, kw_only=True)
class Sweep(display.Displayed):
    """A study after a sweep: its folder, and the number of its cells by verdict."""

    folder: Path
    summary: SweepSummary

    @property
    def records(self) -> list[Record]:
        """The latest record of each cell that has one, read from the folder."""
        from pibench.sweeps.journal import Journal

        return [*Journal(self.folder).records()]

    def __repr__(self) -> str:
        known = self.summary
        verdicts = [f"{count} {verdict}" for verdict, count in known.verdicts.items() if count]
        others = [
            f"{count} {what}"
            for what, count in (
                ("left out", known.left_out), ("failed", len(known.failed)), ("left", known.left),
            )
            if count
        ]  # fmt: skip
        parts = ", ".join([*verdicts, *others]) or "none"
        return f"<{self.folder}: {known.cells} cells: {parts}>"


def sweep(
    study: Path | str | None = None,
    *,
    out: Path | str,
    resume: bool = False,
    dry: bool = False,
    jobs: int | None = None,
    dask: str | None = None,
    cells: Path | str | None = None,
    fresh: bool = False,
    on_record: Callable[[Record], None] = lambda _: None,
    log: Callable[[str], None] = lambda _: None,
    **axes: Unpack[StudyKeywords],
) -> Sweep:
    """Run every cell of a study, each in a process of its own; recorded cells do not run again.

        done = pibench.sweep(networks=["NIN", "AlexNet"], batch=[1, 2], target="twin", out="study")
        again = pibench.sweep(out="study", resume=True)

    Args:
        study: A study's TOML file; without it, its axes as keywords.
        out: The study's folder.
        resume: Continue the study in the folder; axes change it.
        dry: List the cells, run none.
        jobs: The most cells at once on this machine; None is what memory and cores allow.
        dask: The address of a Dask scheduler that runs the cells, or `local`.
        cells: The folder of the cells that studies share; None is the one in pibench's cache.
        fresh: Use no cells of other studies.
        on_record: Called with each record as soon as it is in the folder.
        log: Called with a line about each cell, and about each one-time step.
        axes: The fields of `pibench.sweeps.matrix.Study`; an axis is a value or several.

    Raises:
        InvalidInputError: The study cannot be used, or the folder has another one already.
        HostError: Cells fail repeatedly on this machine, or the folder cannot be written.
        KeyboardInterrupt: Ctrl-C. The records so far are in the folder; `resume` continues.
    """
    from pibench.errors import InvalidInputError
    from pibench.sweeps import study as studies
    from pibench.sweeps.journal import CellCache, Journal
    from pibench.sweeps.scheduler import SweepSummary

    if jobs is not None and jobs < 1:
        raise InvalidInputError(f"jobs is {jobs}; give 1 or more, or None")
    folder = Path(out)
    journal = Journal(folder)
    found = studies.find(None if study is None else Path(study), axes, journal, resume=resume)
    latest = SweepSummary()

    def on_change(summary: SweepSummary, label: str, record: Record | None) -> None:
        nonlocal latest
        latest = summary
        if record is not None:
            log(f"{label}: {record.verdict}, {record.evidence.summary}")
            on_record(record)

    try:
        summary = studies.run(
            found,
            journal,
            cache=None if fresh else CellCache(Path(cells) if cells is not None else None),
            dask=dask,
            jobs=jobs,
            dry=dry,
            log=log,
            on_change=on_change,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{latest.recorded} cells were recorded, {latest.left} are left: continue with "
            f"pibench.sweep(out={str(out)!r}, resume=True)"
        ) from None
    return Sweep(folder=folder, summary=summary)


def bisect(
    of: Network | str | Path,
    first: Path | str,
    second: Path | str,
    *,
    device: str = "rpi3b",
    target: str = "twin",
    weights: Path | str | None = None,
    batch: int | None = None,
    input_size: str | None = None,
    repair: Repair = False,
    seed: int | None = None,
    timeout_s: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    equal_nan: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Bisection:
    """Find the first layer whose output differs between two runs, and whether it is the cause.

        pibench.bisect("SqueezeNet V1.1", "twin", "sysroot:blas=reference", rtol=0)

    Args:
        of: A network, a name in the zoo or the path of a prototxt.
        first: A target, `TARGET:key=value,...`, an engine, or a file of records. The keys are
            engine, weights, prototxt, blas, threads and machine.
        second: The other side, as `first`.
        device: The device's id, alias or name.
        target: Where an engine runs that is named without a target.
        weights: A caffemodel for both sides, of a name or a path.
        batch: The batch size, of a name or a path.
        input_size: The image size such as 229x229, of a name or a path.
        repair: Fix what stock Caffe would reject, of a name or a path.
        seed: The seed of the input, and of weights that are not given; None is that of a record, or
            0.
        timeout_s: The time limit of each run, in seconds.
        atol: The absolute tolerance of a blob's distance; None is that of the engines.
        rtol: The relative tolerance; None is that of the engines.
        equal_nan: Treat two NaN values as equal.
        log: Called with a line about each step.

    Returns:
        The result; true if no layer differs.

    Raises:
        InvalidInputError: A side cannot be used; nothing has run then.
        InconclusiveError: A run did not complete.
        HostError: A target cannot run anything.
    """
    from pibench.bisection.search import bisect_runs
    from pibench.networks.network import Network
    from pibench.runner.options import RunOptions

    options = RunOptions(
        device=device,
        protocol="inference",
        compute="real",
        repeats=0,
        layer_values=True,
        seed=seed or 0,
        weights=Path(weights) if weights is not None else None,
        batch=batch,
        input_size=input_size,
        repair=repair,
        timeout_s=timeout_s,
    )
    return bisect_runs(
        of if isinstance(of, Network) else options.load(of),
        (str(first), str(second)),
        options,
        seed=seed,
        batch=batch,
        atol=atol,
        rtol=rtol,
        equal_nan=equal_nan,
        default_target=target,
        load=lambda spec, options: options.load(spec),
        log=log,
    )
