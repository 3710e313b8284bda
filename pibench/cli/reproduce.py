"""`pibench reproduce`: run the paper's networks and compare with its table."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pibench.cli import options as opt
from pibench.cli.output import ignore_broken_pipe, print_json, print_line, print_timings, say
from pibench.cli.report import write_page
from pibench.cli.run import make_folder, run_with_progress
from pibench.errors import InterruptedByUserError, InvalidInputError, PibenchError
from pibench.setups import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.crosscheck.estimated import RamBySetup
    from pibench.crosscheck.paper import Paper
    from pibench.errors import ExitCode
    from pibench.latency.model import Prediction
    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.records.store import RecordStore
    from pibench.runner.options import RunOptions


def reproduce(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NETWORK...", help="Some of the networks.", show_default=False),
    ] = None,
    target: opt.TargetSpec = "vm",
    machine: opt.MachineName = None,
    fresh_boot: opt.FreshBoot = False,
    identity: opt.Identity = None,
    remote_dir: opt.RemoteDir = None,
    only: str | None = opt.value(
        "Some of the paper's networks: A,B,...", "--networks", metavar=None
    ),
    table: str = typer.Option(
        "embedded-dnn", metavar="ID|FOLDER", help="Another published table; list names them."
    ),
    reserve: opt.TableReserve = None,
    engines: str | None = opt.value(
        "Run them with other engines too, forward only: A,B,... or all.", metavar="NAMES"
    ),
    stack: str | None = opt.value(
        "With --table: predict its times for this software on the board; `paper` for rates fitted "
        "on the paper's times. Default: the table's.",
        metavar="NAME",
    ),
    setup: opt.SetupName = DEFAULT,
    compute: opt.ComputeName = None,
    out: Path = typer.Option(Path("out"), metavar="FOLDER", help="The folder for the files."),
    jobs: opt.Jobs = None,
    quiet: opt.Quiet = False,
    timings: opt.Timings = False,
    as_json: opt.AsJson = False,
) -> None:
    """Run the paper's 26 networks and compare every printed cell with pibench's result.

    Writes records.jsonl, claims.json, claims.csv and report.html; another target, machine, set-up
    or table writes beside these, as claims-twin.json. The same command goes on where it was
    interrupted. Exit code: 0 all verdicts agree, 1 one differs, 4 one is inconclusive. Tables of
    other people that are compared with plans and predictions run nothing.

    Example: pibench reproduce AlexNet "VGG 16"
    """
    from pibench.crosscheck.paper import DEFAULT as OF_THE_PAPER
    from pibench.crosscheck.paper import load_paper

    target = opt.target_of(context, target, machine, fresh_boot)
    if names:
        only = ",".join([*names, *(opt.words(only) or ())])
    if table == "list":
        _list_tables()
        return
    if table != OF_THE_PAPER:
        paper = load_paper(table)
        _refuse_ignored(table, paper, locals())
        paper = _as_asked(paper, reserve, stack)
        raise typer.Exit(reproduce_without_runs(table, paper, only, out, as_json=as_json))
    for option, given in (("--reserve", reserve), ("--stack", stack)):
        if given is not None:
            raise InvalidInputError(
                f"{option} is for tables that are compared with plans or predictions, but these "
                "networks are run",
                hint=f"omit {option}, or add --table: pibench reproduce --table list",
            )
    # A reserve would give other verdicts than the paper's.
    options = opt.run_options(locals() | {"reserve": 0.0})
    if engines is not None:
        from pibench import networks
        from pibench.cli.reproduce_engines import reproduce_engines

        loaded = [networks.load(name) for name in _paper_networks(only)]
        asked = opt.words(engines) or ()
        raise typer.Exit(
            reproduce_engines(asked, loaded, options, out, quiet=quiet, as_json=as_json)
        )
    code = reproduce_paper(only, options, out, quiet=quiet, as_json=as_json, timed=timings)
    raise typer.Exit(code)


def _list_tables() -> None:
    from pibench.crosscheck.paper import load_paper, table_ids

    for table in table_ids():
        paper = load_paper(table)
        how = sorted({column.compared_with for column in paper.columns.values()})
        print_line(f"{table}: {paper.title}, {len(paper.entries)} rows, by {' and '.join(how)}")


def _refuse_ignored(table: str, paper: Paper, given: dict[str, Any]) -> None:
    """Reject a table that needs runs, and options of a run for one that needs none."""
    if paper.needs_runs:
        raise InvalidInputError(
            f"--table {table} is compared with runs of its networks",
            hint=f"run them with --out RECORDS, then: pibench report RECORDS --table {table}",
        )
    for name in (
        "machine",
        "fresh_boot",
        "identity",
        "remote_dir",
        "compute",
        "jobs",
        "timings",
        "setup",
        "engines",
    ):
        if given[name] and given[name] != DEFAULT:
            raise InvalidInputError(
                f"--{name.replace('_', '-')} is for a run, but --table {table} runs nothing",
                hint="omit it",
            )


def _as_asked(paper: Paper, reserve_mib: float | None, stack: str | None) -> Paper:
    """Return the table with another reserve or stack than its own, where one is given."""
    from pibench import devices
    from pibench.latency import stacks
    from pibench.latency.model import UNKNOWN

    if reserve_mib is not None:
        devices.load(paper.device).with_reserve(reserve_mib)
        paper = paper.model_copy(update={"reserve_mib": reserve_mib})
    if stack is None:
        return paper
    if all(column.compared_with != "prediction" for column in paper.columns.values()):
        raise InvalidInputError(
            "--stack is for tables of times, and this one has none that are predicted",
            hint="omit --stack",
        )
    if stack not in (UNKNOWN, "paper"):
        stacks.load(stack)
    return paper.model_copy(update={"stack": stack})


def reproduce_without_runs(
    table: str, paper: Paper, only: str | None, out: Path, *, as_json: bool
) -> ExitCode:
    """Compare a table with plans and predictions; write and print its claims."""
    import gc

    from pibench.crosscheck import claims as checking
    from pibench.networks.network import slug_of
    from pibench.report.ledger import print_estimates

    # As `plan`: many acyclic objects.
    gc.set_threshold(1_000_000)
    claims = checking.check_claims([], paper, networks=opt.words(only))
    files = FilesOfRun(make_folder(out), f"-{slug_of(Path(table).name)}")
    checking.write_claims_json(claims, files.claims_json, paper)
    checking.write_claims_csv(claims, files.claims_csv)
    if as_json:
        print_json(checking.as_dict(claims, paper))
    else:
        with ignore_broken_pipe():
            print_estimates(claims, paper)
            print()
    (say if as_json else print_line)(f"written: {files.claims_json}, {files.claims_csv.name}")
    return checking.exit_code(claims, paper)


@dataclass(frozen=True)
class FilesOfRun:
    """The files of a run or a table in a folder that others use too: `ending` tells them apart.

    All runs add to one `records`, in which each record names its target.
    """

    folder: Path
    ending: str

    @classmethod
    def of(cls, folder: Path, options: RunOptions) -> FilesOfRun:
        """Return the files of a run; those of the default one have plain names."""
        # A board's address makes a name too: two boards are two targets.
        target = re.sub(r"[^a-z0-9]+", "-", options.target.lower()).strip("-")
        usual = ("vm", "virt", DEFAULT)
        words = (target, options.machine or "virt", options.setup)
        others = [word for word, one in zip(words, usual, strict=True) if word != one]
        return cls(folder, "".join(f"-{word}" for word in others))

    @property
    def records(self) -> Path:
        """The records of all runs."""
        return self.folder / "records.jsonl"

    @property
    def claims_json(self) -> Path:
        """The compared cells as JSON."""
        return self.folder / f"claims{self.ending}.json"

    @property
    def claims_csv(self) -> Path:
        """The compared cells as CSV."""
        return self.folder / f"claims{self.ending}.csv"

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / f"report{self.ending}.html"

    @property
    def unfinished(self) -> Path:
        """What an interrupted run leaves."""
        return self.folder / f"unfinished{self.ending}.json"


class Unfinished:
    """The records of a run that has not ended, in a file of its folder.

    The same run goes on with them: the same options, networks and software.
    """

    def __init__(self, path: Path, options: RunOptions, loaded: Sequence[Network]) -> None:
        from dataclasses import asdict

        from pibench.images.recipe import fingerprint
        from pibench.sweeps.matrix import made_with

        self.path = path
        names = [network.name for network in loaded]
        self.networks = {(network.name, network.sha256) for network in loaded}
        # More jobs, or more time for each, make no other records.
        how = {**asdict(options), "jobs": None, "timeout_s": None}
        self.run = fingerprint([*names, str(sorted(how.items())), made_with(options.target)])
        self.made: list[str] = []

    def records(self, store: RecordStore) -> list[Record]:
        """Return the records that the interrupted run made."""
        import json

        try:
            found = json.loads(self.path.read_bytes())
            ids = {str(one) for one in found["records"]}
            if found["run"] != self.run:
                say(
                    f"{self.path}: an interrupted run of other networks or options, which made "
                    f"{len(ids)} records, can no longer be continued; its records are kept"
                )
                return []
        except (OSError, ValueError, TypeError, KeyError):
            return []
        made = [
            record
            for record in store.read()
            if record.record_id in ids
            and record.verdict != "inconclusive"
            and (record.network, record.network_sha256) in self.networks
        ]
        self.made = [record.record_id for record in made]
        return made

    def add(self, record: Record) -> None:
        """Note a record, which the store already has."""
        import json

        from pibench.file_io import write_whole

        self.made.append(record.record_id)
        content = json.dumps({"run": self.run, "records": self.made}) + "\n"
        write_whole(self.path, content)

    def end(self) -> None:
        """Forget the run: the next one runs all networks."""
        self.path.unlink(missing_ok=True)


def _run_all(
    loaded: Sequence[Network],
    options: RunOptions,
    store: RecordStore,
    made: list[Record],
    *,
    unfinished: Path,
    quiet: bool,
) -> None:
    """Run all networks, or those that an interrupted run has left; add the records to `made`.

    `unfinished` is the file that an interrupted run leaves.
    """
    left_off = Unfinished(unfinished, options, loaded)
    made += left_off.records(store)
    if made:
        say(f"{len(made)} of {len(loaded)} networks are there from an interrupted run")
    ran = {record.network for record in made}
    left = [network for network in loaded if network.name not in ran]
    try:
        run_with_progress(left, options, store, made, quiet=quiet, on_record=left_off.add)
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            f"interrupted: {len(made)} of {len(loaded)} networks are in {store.path}",
            hint="the same command goes on from there",
        ) from None
    left_off.end()


def reproduce_paper(
    only: str | None,
    options: RunOptions,
    out: Path,
    *,
    quiet: bool = False,
    as_json: bool = False,
    timed: bool = False,
) -> ExitCode:
    """Run the paper's networks and write records, claims and page.

    With `as_json` the content of claims.json is printed instead of the table. With `timed` the
    phases' times are added to either.
    """
    import json

    from pibench import networks, timings
    from pibench.crosscheck.claims import (
        check_claims,
        exit_code,
        predict_times,
        predicted_times,
        write_claims_csv,
        write_claims_json,
    )
    from pibench.crosscheck.estimated import ram_by_setup
    from pibench.crosscheck.paper import load_paper
    from pibench.records.store import RecordStore
    from pibench.report.ledger import print_ram_by_setup, print_reproduction

    loaded = [networks.load(name) for name in _paper_networks(only)]
    files = FilesOfRun.of(make_folder(out), options)
    store = RecordStore(files.records)
    store.prepare()
    wanted = [network.name for network in loaded]
    made: list[Record] = []
    ram: list[RamBySetup] = []
    try:
        _run_all(loaded, options, store, made, unfinished=files.unfinished, quiet=quiet)
    finally:
        # Write files for the records made so far, even after an error.
        with timings.phase("claims"):
            predictions = predict_times(loaded)
            claims = check_claims(
                made, networks=wanted if only else None, predicted=predicted_times(predictions)
            )
            if made:
                ram = ram_by_setup(load_paper(), {claim.key for claim in claims})
                write_claims_json(claims, files.claims_json, ram=ram)
                write_claims_csv(claims, files.claims_csv)
    log = say if as_json else print_line
    with ignore_broken_pipe(), timings.phase("table"):
        if not as_json:
            print_reproduction(claims, made)
            print_ram_by_setup(ram)
            print()
        names = ", ".join(path.name for path in (files.claims_json, files.claims_csv))
        log(f"written: {files.records}, {names}")
    with timings.phase("report"):
        unwritten = _page(files, made, loaded, wanted, predictions)
    if unwritten is None:
        log(f"written: {files.report}")
    if as_json:
        answer = json.loads(files.claims_json.read_text(encoding="utf-8"))
        phases = [phase.as_json() for phase in timings.phases()]
        print_json(answer | ({"timings": phases} if timed else {}))
    elif timed:
        print_timings()
    if isinstance(unwritten, PibenchError):
        raise unwritten
    return exit_code(claims)


def _page(
    files: FilesOfRun,
    made: Sequence[Record],
    loaded: Sequence[Network],
    wanted: Sequence[str],
    predictions: Sequence[Prediction],
) -> Exception | None:
    """Write the page; return why it could not be written: all other output comes first."""
    from pibench.file_io import host_error

    try:
        write_page(files.report, made, loaded, only=wanted, predictions=predictions)
    except (PibenchError, OSError) as error:
        fault = host_error(error, files.folder) if isinstance(error, OSError) else error
        command = shlex.join(["pibench", "report", str(files.records), "-o", str(files.report)])
        fault.hint = ", then: ".join(filter(None, [fault.hint, command]))
        return fault
    except Exception as error:
        # A fault of the page does not change the result.
        say(f"{files.report} was not written: {type(error).__name__}: {error}")
        return error
    return None


def _paper_networks(only: str | None) -> list[str]:
    """Return the names of the paper's networks, all or the selected ones; reject any other."""
    from pibench import networks

    if only is None:
        return [entry.name for entry in networks.catalog_entries() if entry.in_paper]
    names: dict[str, None] = {}
    for wanted in opt.words(only) or ():
        entry = networks.find(wanted)
        if not entry.in_paper:
            raise InvalidInputError(
                f"{entry.name} is not one of the paper's networks",
                hint=f"run it by itself: pibench run {entry.slug}",
            )
        names[entry.name] = None
    if not names:
        raise InvalidInputError(
            f"--networks {only!r} names no network", hint="give names: --networks AlexNet,NIN"
        )
    return list(names)
