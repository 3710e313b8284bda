"""`pibench reproduce --engines`: what fits with which engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pibench.cli.output import ignore_broken_pipe, print_json, print_line, say
from pibench.cli.run import make_folder, run_with_progress
from pibench.errors import ExitCode, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.records.store import RecordStore
    from pibench.runner.options import RunOptions

ALL: Final = "all"
_RECORDS: Final = "engines.jsonl"


def reproduce_engines(
    asked: Sequence[str],
    loaded: Sequence[Network],
    options: RunOptions,
    out: Path,
    *,
    quiet: bool,
    as_json: bool,
) -> ExitCode:
    """Run networks with several engines, forward only; write records, and print what fits.

    Each runs on the twin first. Where that does not decide, it runs on the target of the options.
    What `engines.jsonl` has already is not run again.
    """
    from pibench.crosscheck import engines as comparing
    from pibench.file_io import write_whole
    from pibench.records.store import RecordStore
    from pibench.report import engines as shown
    from pibench.report.runs import how_it_ran
    from pibench.report.tables import console, printable, to_markdown

    specs = _specs(asked)
    folder = make_folder(out)
    store = RecordStore(folder / _RECORDS)
    store.prepare()
    try:
        for spec in specs:
            _run(spec, loaded, options, store, quiet=quiet)
    finally:
        networks = {network.sha256 for network in loaded}
        made = [
            one for one in store.read() if _is_of(one, specs) and one.network_sha256 in networks
        ]
        found = comparing.rows(made)
        table, totals = shown.table(found), shown.totals(found)
        write_whole(folder / "engines.md", "\n".join([*to_markdown(table), "", *totals]) + "\n")
    if as_json:
        print_json(comparing.as_dict(found))
    else:
        with ignore_broken_pipe():
            console().print(table)
            for line in [*totals, "", *how_it_ran(made)]:
                console().print(printable(line))
            console().print("Peak RSS in MiB. > is a lower bound: the kernel ended the process.")
    (say if as_json else print_line)(f"written: {folder}/{_RECORDS}, engines.md")
    undecided = any(
        result.record.verdict == "inconclusive" for row in found for result in row.results.values()
    )
    return ExitCode.INCONCLUSIVE if undecided else ExitCode.OK


def _specs(asked: Sequence[str]) -> list[str]:
    """Return the engines, Caffe first: outputs are compared with its. Raises InvalidInputError."""
    from pibench.engines.registry import BUILT_IN, engine_of

    if not asked:
        raise InvalidInputError("--engines names no engine", hint=f"give names, or {ALL}")
    able = [engine.id for engine in BUILT_IN if engine.model_format is not None]
    wanted = able if ALL in asked else asked
    return list(dict.fromkeys(["caffe", *(engine_of(spec).spec for spec in wanted)]))


def _is_of(record: Record, specs: Sequence[str]) -> bool:
    return any(_is_same(record, spec) for spec in specs)


def _is_same(record: Record, spec: str) -> bool:
    """Return whether a record is of an engine as asked for."""
    from pibench.engines.registry import engine_of

    return engine_of(spec).made(record.engine, record.engine_version)


def _run(
    spec: str,
    loaded: Sequence[Network],
    options: RunOptions,
    store: RecordStore,
    *,
    quiet: bool,
) -> None:
    """Run the networks with an engine: on the twin, and where that does not decide, elsewhere."""
    from pibench.engines.registry import engine_of
    from pibench.images.build import on_x86_64

    # The outputs need one pass, which also reaches the peak.
    with_engine = replace(options, engine=spec, protocol="inference", compute="real", repeats=0)
    targets = ["twin", options.target] if on_x86_64() else [options.target]
    for number, target in enumerate(dict.fromkeys(targets)):
        made = [record for record in store.read() if _is_same(record, spec)]
        # What ended decides on its target; what was lost is tried again.
        known = {
            record.network_sha256
            for record in made
            if record.target == target and record.evidence.exit_status == 0
        }
        known |= {record.network_sha256 for record in made if record.verdict in ("fit", "no-fit")}
        left = [network for network in loaded if network.sha256 not in known]
        if number and "memory-only" in engine_of(spec).computes:
            # The first target has computed the outputs.
            with_engine = replace(with_engine, compute="memory-only", repeats=1)
        if left:
            say(f"{spec} on {target}: {len(left)} of {len(loaded)} networks")
            run_with_progress(left, replace(with_engine, target=target), store, quiet=quiet)
