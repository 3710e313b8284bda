"""The runs as data for every output: a table, how each ended, and the environment it ran in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench import devices
from pibench.records.identity import labels_of
from pibench.report.facts import target
from pibench.report.numbers import MB, MIB, NOTHING, mib, milliseconds, number, signed_mib
from pibench.report.tables import Cell, Column, Table, numeric

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pibench.records.schema import Record


def table(
    records: Sequence[Record],
    *,
    names: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
) -> Table:
    """Return one row per record.

    Args:
        records: the records.
        names: a name for each record's id; by default the shortest that distinguish them.
        links: sections of the page, by the records' ids.
    """
    names, links = names or labels_of(records), links or {}
    columns = (
        Column(heading="Network", fold=True),
        Column(heading="Device", file_only=True),
        Column(heading="Target"),
        Column(heading="Protocol", file_only=True),
        Column(heading="Compute", file_only=True),
        Column(heading="Batch", numeric=True, file_only=True),
        Column(heading="Verdict"),
        *numeric("Peak\nMiB", "RAM\nMiB"),
        Column(heading="Head\nMiB", file_heading="Headroom MiB", numeric=True),
        *numeric("Size\nMB"),
        Column(heading="Latency\nms", numeric=True, fold=True),
        Column(heading="Evidence", file_only=True),
    )
    return Table(
        tight=True,
        columns=columns,
        rows=[_row(one, names[one.record_id], links.get(one.record_id, "")) for one in records],
    )


def is_lower_bound(record: Record) -> bool:
    """Return whether the record's peak is a lower bound: the process did not complete."""
    return record.evidence.exit_status != 0


def _row(record: Record, name: str, link: str) -> list[Cell | str]:
    bound = ">" if is_lower_bound(record) else ""
    peak, ram = (
        NOTHING if size is None else f"{bound}{mib(size)}"
        for size in (record.peak_rss_bytes, record.network_rss_bytes)
    )
    headroom = signed_mib(record.headroom_bytes)
    twin = headroom != NOTHING and record.provenance["headroom_bytes"].kind == "twin"
    size_bytes = record.weights_file_bytes
    # A bare time could be mistaken for the board's.
    kind = "" if record.latency_ms is None else record.provenance["latency_ms"].kind
    return [
        Cell(text=name, link=link),
        record.device,
        Cell(text=target(record), short=record.target),
        record.protocol,
        record.compute,
        f"{record.batch}" + (f", {record.input_size}" if record.input_size else ""),
        Cell(text=record.verdict, chip="verdict"),
        peak,
        ram,
        Cell(text=headroom, short=headroom, kind="twin" if twin else ""),
        number(None if size_bytes is None else size_bytes / MB, 1),
        Cell(text=milliseconds(record.latency_ms), kind=kind),
        evidence_in_a_word(record),
    ]


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
        f"{how}: {record.target}{f' ({by})' if by else ''}, limited by a {limits.enforced_by} to "
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
    whose = {"system": "its own Caffe", "root": "pibench's Caffe"}.get(guest.caffe_origin or "")
    if record.is_emulated_or_twin:
        where = ", on a machine that is not a board" if record.target_kind.is_board else ""
        parts = [f"emulated: {record.target}{where}", whose]
    else:
        parts = [f"measured: {record.target}", guest.device_tree_model, whose]
    return ", ".join(part for part in parts if part)
