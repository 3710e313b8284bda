"""Implement `pibench run` and `pibench reproduce`: records, exit codes, the paper's table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pibench import networks
from pibench.cli.loading import load_to_run
from pibench.cli.reporting import write_page
from pibench.cli.streams import ignore_broken_pipe, say
from pibench.cli.sweeping import sweep
from pibench.crosscheck.claims import check_claims, exit_code
from pibench.crosscheck.ledger import write_claims_csv, write_claims_json
from pibench.errors import ExitCode, HostError, InvalidInputError
from pibench.records.identity import labels_of
from pibench.records.store import RecordStore, to_json
from pibench.report.plain import one_line
from pibench.report.terminal import print_records, print_reproduction
from pibench.verdict.observation import is_refused_allocation

if TYPE_CHECKING:
    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.runner.options import Options


def run_networks(
    specs: Sequence[str],
    options: Options,
    *,
    weights: Path | None,
    batch: int | None,
    size: str | None,
    repair: bool,
    out: Path | None,
    require_fit: bool,
    as_json: bool,
    quiet: bool = False,
) -> ExitCode:
    """Run `pibench run`: read and check all networks before the first one runs."""
    loaded = load_to_run(
        specs,
        options.protocol,
        weights=weights,
        batch=batch,
        size=size,
        repair=repair,
        otherwise="run them one at a time",
    )
    made: list[Record] = []
    try:
        records = sweep(loaded, options, _store(out), made, quiet=quiet)
    except HostError:
        # Print the records made so far, even after a failure: the disk may be full after hours.
        if made:
            _show(made, as_json=as_json)
        raise
    _show(records, as_json=as_json)
    tell_kept(records, options)
    return exit_code_of(records, loaded, require_fit=require_fit)


def _show(records: Sequence[Record], *, as_json: bool) -> None:
    with ignore_broken_pipe():
        if as_json:
            print(to_json(records))
        else:
            print_records(records)


def tell_kept(records: Sequence[Record], options: Options) -> None:
    """Report where kept blobs are, since their file names contain a hash and cannot be guessed."""
    if not options.keep or options.blobs is None:
        return
    names = labels_of(records)
    for record in records:
        kept = record.kept_blobs
        if kept is None:
            say(f"{names[record.record_id]}: no blobs were kept, it did not come so far")
            continue
        lacks = f"; not of {', '.join(kept.missing)}" if kept.missing else ""
        say(f"written: {options.blobs / kept.file}: blobs {', '.join(kept.blobs)}{lacks}")


def exit_code_of(
    records: Sequence[Record], loaded: Sequence[Network], *, require_fit: bool
) -> ExitCode:
    """Return the exit code of `run`; raise InvalidInputError for a model that Caffe rejected."""
    for record, network in zip(records, loaded, strict=True):
        said = record.evidence.fatal_message
        if record.verdict == "inconclusive" and said and not is_refused_allocation(said):
            place = network.source if network.source != "zoo" else network.name
            raise InvalidInputError.at(
                place, None, f"Caffe refused it: {said}", hint=way_out(record, said)
            )
    verdicts = {record.verdict for record in records}
    if "inconclusive" in verdicts:
        return ExitCode.INCONCLUSIVE
    if require_fit and verdicts != {"fit"}:
        return ExitCode.DISAGREEMENT
    return ExitCode.OK


def way_out(record: Record, said: str) -> str | None:
    """Return a hint if Caffe cannot run a network backward, as `caffe time` does."""
    backward = "Not Implemented" in said or "cannot backpropagate" in said
    if backward and record.protocol == "caffe-time":
        return "caffe time runs layers backward too; forward only: --protocol inference"
    return None


def reproduce_paper(
    only: str | None, options: Options, out: Path, *, quiet: bool = False, as_json: bool = False
) -> ExitCode:
    """Run `pibench reproduce`: the paper's networks, the compared table, claims and page.

    With `as_json` the content of claims.json is printed instead of the table.
    """
    from pibench.crosscheck import predicted

    loaded = [networks.load(name) for name in _paper_networks(only)]
    folder = _make_folder(out)
    store = RecordStore(folder / "records.jsonl")
    store.prepare()
    made: list[Record] = []
    try:
        sweep(loaded, options, store, made, quiet=quiet)
    except KeyboardInterrupt:
        say(f"interrupted: {len(made)} of {len(loaded)} networks are in {store.path}")
        raise
    finally:
        # Write files for the records made so far, even after an error.
        wanted = [network.name for network in loaded]
        predictions = predicted.predict(loaded)
        claims = check_claims(
            made,
            networks=wanted if only else None,
            predicted=predicted.predicted_times(predictions),
        )
        if made:
            write_claims_json(claims, folder)
            write_claims_csv(claims, folder)
    tell = say if as_json else _print_line
    with ignore_broken_pipe():
        if as_json:
            print((folder / "claims.json").read_text(encoding="utf-8"), end="")
        else:
            print_reproduction(claims, made)
            print()
        tell(f"written: {folder}/records.jsonl, claims.json, claims.csv")
    try:
        write_page(folder / "report.html", made, loaded, only=wanted, predictions=predictions)
    except Exception as error:
        # All other output is complete: a failure of the page does not change the result.
        say(f"{folder}/report.html was not written: {type(error).__name__}: {error}")
    else:
        with ignore_broken_pipe():
            tell(f"written: {folder}/report.html")
    return exit_code(claims)


def _print_line(line: str) -> None:
    print(one_line(line))


def _paper_networks(only: str | None) -> list[str]:
    """Return the names of the paper's networks, all or the selected ones; reject any other."""
    if only is None:
        return [entry.name for entry in networks.catalog_entries() if entry.in_paper]
    names = []
    for wanted in (part.strip() for part in only.split(",")):
        if not wanted:
            continue
        entry = networks.find(wanted)
        if not entry.in_paper:
            raise InvalidInputError(
                f"{entry.name} is not one of the paper's networks",
                hint=f"run it by itself: pibench run {entry.slug}",
            )
        if entry.name not in names:
            names.append(entry.name)
    if not names:
        raise InvalidInputError(
            f"--networks {only!r} names no network", hint="give names: --networks AlexNet,NIN"
        )
    return names


def _store(out: Path | None) -> RecordStore | None:
    if out is None:
        return None
    _make_folder(out.parent)
    store = RecordStore(out)
    store.prepare()
    return store


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError.at(
            folder,
            None,
            f"cannot be made a directory ({error.strerror})",
            hint="give another --out",
        ) from error
    return folder
