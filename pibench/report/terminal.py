"""Print tables on the terminal: the paper's figures and pibench's, and the records of a run.

All fit into 80 columns, piped or not. Rich omits colours if the output is not a terminal
or NO_COLOR is set, so colour is never the only sign. Sizes are
in MiB (2^20 bytes) or MB (10^6 bytes) as the headings state.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pibench import devices
from pibench.crosscheck.claims import Claim, summary
from pibench.records.identity import labels_of
from pibench.report.facts import not_finite
from pibench.report.plain import visible
from pibench.report.predicted import latency_table
from pibench.report.timing import not_told, timing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pibench.crosscheck.paper import Column
    from pibench.records.schema import Record

MIB: Final = 2**20
MB: Final = 10**6
NOTHING: Final = "-"
WIDE: Final = 120
"""Minimum columns for the whole evidence sentence."""
SHORT: Final = {"inconclusive": "inconcl."}
MARKS: Final = {True: "=", False: "!", None: "?"}
STYLES: Final = {True: "green", False: "bold red", None: "yellow"}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the caller; Rich would exit with 1, which here means a disagreement."""
        raise BrokenPipeError


def console(file: IO[str] | None = None, *, width: int | None = None) -> Console:
    """Return a console for the tables; on standard output if no file is given.

    `width` is in columns; None uses the terminal's, or 80 if there is none.
    """
    # Highlighting would colour every digit, emoji would replace ":names:".
    return _Console(file=file, width=width, highlight=False, emoji=False, markup=False)


def print_reproduction(
    claims: Sequence[Claim], records: Iterable[Record], *, to: Console | None = None
) -> None:
    """Print the paper's table beside pibench's figures, the totals, their provenance, and notes."""
    to = to or console()
    by_id = {record.record_id: record for record in records}
    used = [by_id[claim.record_id] for claim in claims if claim.record_id in by_id]
    to.print(reproduction_table(claims, by_id, wide=to.width >= WIDE))
    if any(claim.column == "latency_ms" and claim.ours is not None for claim in claims):
        to.print(latency_table(claims))
    for line in [*totals(claims), "", *how_it_ran(used)]:
        to.print(printable(line))
    _print_notes(claims, to)


def reproduction_table(
    claims: Sequence[Claim], by_id: dict[str, Record], *, wide: bool = False
) -> Table:
    """Format one line per network: verdict, RAM and model size, printed and pibench's.

    The evidence is one word, or the whole sentence if `wide`.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False)
    table.add_column("#", justify="right")
    table.add_column("Network", overflow="fold", min_width=14)
    table.add_column("Paper", no_wrap=True)
    table.add_column("Ours", overflow="fold")
    table.add_column("RAM MiB\npaper/ours", justify="right", no_wrap=True)
    table.add_column("Err\n%", justify="right", no_wrap=True)
    table.add_column("Size MB\npaper/ours", justify="right", no_wrap=True)
    table.add_column("Head\nMiB", justify="right", no_wrap=True)
    table.add_column("Evidence", overflow="fold")
    for key in dict.fromkeys(claim.key for claim in claims):
        cells = {claim.column: claim for claim in claims if claim.key == key}
        verdict = cells["verdict"]
        record = by_id.get(verdict.record_id) if verdict.record_id else None
        ram = cells.get("ram_mb")
        table.add_row(
            str(verdict.row or NOTHING),
            printable(verdict.paper_network),
            str(verdict.paper),
            _our_verdict(verdict),
            _pair(ram, decimals=0),
            _error(ram),
            _pair(cells.get("model_size_mb"), decimals=1),
            _headroom(record),
            _evidence(record, wide=wide),
        )
    return table


def print_records(records: Sequence[Record], *, to: Console | None = None) -> None:
    """Print a table of records, and below it the evidence of each verdict."""
    to = to or console()
    to.print(records_table(records))
    names = labels_of(records)
    for record in records:
        said = f"{names[record.record_id]}: {record.verdict}, {record.evidence.summary}"
        to.print(printable(said))
        for line in [*timing(record), *not_finite(record)]:
            to.print(printable(f"  {line}"))
    for line in [*how_it_ran(records), *not_told(records)]:
        to.print(printable(line))
    if any(_is_lower_bound(record) for record in records):
        to.print("> lower bound: the process did not come to its end")


def records_table(records: Sequence[Record]) -> Table:
    """Format one line per record, as `run` shows them."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False)
    table.add_column("Network", overflow="fold", min_width=14)
    table.add_column("Target", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Peak\nMiB", justify="right", no_wrap=True)
    table.add_column("RAM\nMiB", justify="right", no_wrap=True)
    table.add_column("Head\nMiB", justify="right", no_wrap=True)
    table.add_column("Size\nMB", justify="right", no_wrap=True)
    table.add_column("Latency\nms", justify="right", overflow="fold")
    names = labels_of(records)
    for record in records:
        table.add_row(
            printable(names[record.record_id]),
            record.target,
            record.verdict,
            _number(record.peak_rss_bytes, MIB, bound=_is_lower_bound(record)),
            _number(record.network_rss_bytes, MIB, bound=_is_lower_bound(record)),
            _headroom(record),
            _number(record.weights_file_bytes, MB, decimals=1),
            _latency(record),
        )
    return table


def totals(claims: Sequence[Claim]) -> list[str]:
    """Return the ledger's totals as lines of text."""
    total = summary(claims)
    lines = [f"Verdicts: {total.verdicts_agreed} of {total.verdicts_total} agree with the paper."]
    lines += [
        f"  {MARKS[claim.agrees]} {claim.paper_network}: {claim.ours or 'missing'}, "
        f"{claim.provenance.reason}"
        for claim in claims
        if claim.column == "verdict" and not claim.agrees
    ]
    if total.ram_mean_absolute_error_pct is not None:
        lines.append(
            f"RAM: mean absolute error {total.ram_mean_absolute_error_pct:.1f} % over "
            f"{total.ram_compared} of {total.ram_total} rows, "
            f"worst {total.ram_worst_network} ({total.ram_worst_error_pct:+.1f} %)."
        )
    if total.model_size_compared:
        differing = ", ".join(total.model_size_differing)
        lines.append(
            f"Model size: {total.model_size_agreed} of {total.model_size_compared} agree"
            + (f"; ! differ: {differing}." if differing else ".")
        )
    if total.latency_mean_absolute_error_pct is not None:
        lines.append(
            f"Latency{_if_predicted(claims)}: mean absolute error "
            f"{total.latency_mean_absolute_error_pct:.1f} % over "
            f"{total.latency_compared} of {total.latency_total} rows."
        )
    elif total.latency_total:
        lines.append("Latency: not compared, an emulated time is never a Pi time.")
    return lines


def _if_predicted(claims: Iterable[Claim]) -> str:
    compared = [one for one in claims if one.column == "latency_ms" and one.error_pct is not None]
    return ", predicted" if {one.provenance.kind for one in compared} == {"predicted"} else ""


def how_it_ran(records: Iterable[Record]) -> list[str]:
    """Return each environment of the records once: "emulated: QEMU virt, 4 x cortex-a53; ..."."""
    return list(dict.fromkeys(_way(record) for record in records))


def evidence_in_a_word(record: Record) -> str:
    """Return how the process ended, short enough for a column."""
    evidence = record.evidence
    words = (
        (evidence.timed_out, "timeout"),
        (evidence.fatal_message is not None, "abort"),
        (bool(evidence.oom_kills or evidence.oom_counter), "OOM kill"),
        (evidence.guest_died, "died"),
        (evidence.exit_status is not None, f"exit {evidence.exit_status}"),
        (evidence.signal is not None, f"signal {evidence.signal}"),
    )
    return next((word for holds, word in words if holds), "no end")


def printable(text: str) -> Text:
    """Return plain text without markup, with terminal control characters escaped."""
    return Text(visible(text))


def _print_notes(claims: Iterable[Claim], to: Console) -> None:
    """Print each explanation once, with the networks and columns that it concerns."""
    about: dict[str, dict[str, list[Column]]] = {}
    for claim in claims:
        if claim.explanation:
            networks = about.setdefault(claim.explanation, {})
            networks.setdefault(claim.paper_network, []).append(claim.column)
    if about:
        to.print("\nNotes")
    for explanation, networks in about.items():
        to.print(printable(f"* {', '.join(networks)}: {explanation}"))
    to.print(
        "\n= agrees, ! differs, ? undecided or missing. Head is the headroom: usable memory less"
        " the peak RSS, for a killed process the peak of the amd64 twin. RAM is headed MB in the"
        " paper and agrees in MiB (2^20 bytes); model size is in MB (10^6 bytes)."
    )


def _our_verdict(claim: Claim) -> Text:
    ours = SHORT.get(str(claim.ours), str(claim.ours or "missing"))
    return Text(f"{MARKS[claim.agrees]} {ours}", style=STYLES[claim.agrees])


def _evidence(record: Record | None, *, wide: bool) -> Text:
    if record is None:
        return Text(NOTHING)
    return printable(record.evidence.summary if wide else evidence_in_a_word(record))


def _pair(claim: Claim | None, *, decimals: int) -> Text:
    """Return the printed figure and pibench's: "497/497"."""
    if claim is None:
        return Text(NOTHING)
    ours = f"{claim.ours:.{decimals}f}" if isinstance(claim.ours, float) else NOTHING
    mark = MARKS[False] if claim.agrees is False else ""
    style = STYLES[False] if claim.agrees is False else ""
    return Text(f"{mark}{claim.paper:g}/{ours}", style=style)


def _error(claim: Claim | None) -> str:
    return NOTHING if claim is None or claim.error_pct is None else f"{claim.error_pct:+.1f}"


def _headroom(record: Record | None) -> str:
    if record is None or record.headroom_bytes is None:
        return NOTHING
    return f"{record.headroom_bytes / MIB:+.0f}"


def _number(value: int | None, unit: int, *, decimals: int = 0, bound: bool = False) -> str:
    return NOTHING if value is None else f"{'>' if bound else ''}{value / unit:.{decimals}f}"


def _is_lower_bound(record: Record) -> bool:
    return record.evidence.exit_status != 0


def _latency(record: Record) -> str:
    """Return the time with its kind: a bare number could be mistaken for the board's."""
    if record.latency_ms is None:
        return NOTHING
    decimals = 0 if record.latency_ms >= 100 else 2
    return f"{record.latency_ms:.{decimals}f} {record.provenance['latency_ms'].kind}"


def _way(record: Record) -> str:
    blas = record.environment.guest.blas_name
    parts = [
        "memory-only compute" if record.compute == "memory-only" else "real compute",
        *([f"BLAS {blas}"] if blas else []),
        f"{record.protocol}, batch {record.batch}",
    ]
    return f"{_where(record)}; {', '.join(parts)}"


def _where_confined(record: Record) -> str:
    """Describe a container or sysroot: whether it is emulated, and what enforced its limits."""
    host, limits = record.environment.host, record.limits
    how = "emulated" if record.is_emulated_or_twin else "native arm64"
    by = ", ".join(part for part in (host.engine, host.qemu_version) if part)
    cores = f"{limits.in_force.cores:g}" if limits.in_force.cores else "unknown"
    asked = f"{limits.asked.cores:g}" if limits.asked.cores else "unknown"
    memory = limits.asked.memory_bytes or 0
    extra = (
        limits.allowance.emulator_bytes + limits.allowance.probe_bytes if limits.allowance else 0
    )
    own = (memory - extra) / MIB
    room = f" and {extra / MIB:.0f} for emulator and probe" if extra else ""
    return (
        f"{how}: {record.target}{f' ({by})' if by else ''}, held by a {limits.enforced_by} to "
        f"{own:.0f} MiB{room}, {cores} of {asked} cores"
    )


def _where(record: Record) -> str:
    cores = record.limits.in_force.cores
    if record.machine is not None:
        cpu = devices.load(record.device).qemu_cpu
        return f"emulated: QEMU {record.machine}, {f'{cores:g} x ' if cores else ''}{cpu}"
    if record.target_kind.boundary == "group":
        return _where_confined(record)
    if record.target_kind.provenance == "twin":
        return "twin: the same Caffe packages for amd64, run natively"
    guest = record.environment.guest
    whose = {"system": "its own Caffe", "root": "our Caffe"}.get(guest.caffe_origin or "")
    if record.is_emulated_or_twin:
        where = ", on a machine that is no board" if record.target_kind.is_board else ""
        parts = [f"emulated: {record.target}{where}", whose]
    else:
        parts = [f"measured: {record.target}", guest.device_tree_model, whose]
    return ", ".join(part for part in parts if part)
