"""Present runs in every output: a table, and each record's facts as terms and sentences.

The facts are the evidence, the limits, the environment, and the timed passes.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from pibench import devices
from pibench.engines.registry import has_own_kernels, label_of, spec_of
from pibench.file_io import is_standard_input
from pibench.records.identity import labels_of
from pibench.records.schema import WEIGHTS_GIVEN
from pibench.records.statistics import counting_ms, set_aside, why_no_interval
from pibench.report.tables import Cell, Table, console, printable
from pibench.report.text import MB, MIB, NOTHING, mib, milliseconds, number, signed_mib, visible
from pibench.setups import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

    from pibench.records.schema import LimitSet, Record

Fact = tuple[str, str]
"""A term and its description."""

_DEFAULT_REPEATS: Final = 5


def print_records(records: Sequence[Record], *, to: Console | None = None) -> None:
    """Print a table of records, and below it the evidence of each verdict."""
    to = to or console()
    names = labels_of(records, by_file=True)
    to.print(table(records, names=names))
    for record in records:
        summary = f"{names[record.record_id]}: {record.verdict}, {record.evidence.summary}"
        to.print(printable(summary))
        for line in [*timing(record), *not_finite(record)]:
            to.print(printable(f"  {line}"))
    for line in [*how_it_ran(records), *unavailable_state(records)]:
        to.print(printable(line))
    if any(is_lower_bound(record) for record in records):
        to.print("> lower bound: the process did not complete")


def table(
    records: Sequence[Record],
    *,
    names: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
) -> Table:
    """Return one row per record.

    `names`, by default the shortest that distinguish them, and `links`, sections of the page, are
    by the records' ids.
    """
    names, links = names or labels_of(records), links or {}
    return Table.of(
        (_row(one, names[one.record_id], links.get(one.record_id, "")) for one in records),
        numeric=("Batch", "Peak\nMiB", "RAM\nMiB", "Head\nMiB", "Size\nMB", "Latency\nms"),
        fold=("Network", "Latency\nms"),
        file_only=("Engine", "Stack", "Device", "Protocol", "Compute", "Batch", "Evidence"),
        file_headings={"Head\nMiB": "Headroom MiB"},
        tight=True,
    )


def is_lower_bound(record: Record) -> bool:
    """Return whether the record's peak is a lower bound: the process did not complete."""
    return record.evidence.exit_status != 0


def _row(record: Record, name: str, link: str) -> dict[str, Cell | str]:
    bound = ">" if is_lower_bound(record) else ""
    peak, ram = (
        NOTHING if size is None else f"{bound}{mib(size)}"
        for size in (record.peak_rss_bytes, record.network_rss_bytes)
    )
    headroom = signed_mib(record.headroom_bytes)
    twin = headroom != NOTHING and record.provenance["headroom_bytes"].kind == "twin"
    size_bytes = record.weights_file_bytes
    # A bare time could be mistaken for the board's, and an emulated one is not near it.
    kind = "" if record.latency_ms is None else record.provenance["latency_ms"].kind
    latency_ms = None if kind == "emulated" else record.latency_ms
    return {
        "Network": Cell(text=name, link=link),
        "Engine": engine(record),
        "Stack": stack(record),
        "Device": record.device,
        "Target": Cell(text=target(record), short=record.target),
        "Protocol": record.protocol,
        "Compute": record.compute,
        "Batch": f"{record.batch}" + (f", {record.input_size}" if record.input_size else ""),
        "Verdict": Cell(text=record.verdict, chip="verdict"),
        "Peak\nMiB": peak,
        "RAM\nMiB": ram,
        "Head\nMiB": Cell(text=headroom, short=headroom, kind="twin" if twin else ""),
        "Size\nMB": number(None if size_bytes is None else size_bytes / MB, 1),
        "Latency\nms": Cell(text=milliseconds(latency_ms), kind=kind if latency_ms else ""),
        "Evidence": evidence_in_a_word(record),
    }


def how_it_ran(records: Iterable[Record]) -> list[str]:
    """Return each environment of the records once: "emulated: QEMU virt, 4 x cortex-a53; ..."."""
    return list(dict.fromkeys(map(_way, records)))


def evidence_in_a_word(record: Record) -> str:
    """Return how the process ended, short enough for a column."""
    evidence = record.evidence
    endings = (
        (evidence.timed_out, "timeout"),
        (evidence.fatal_message is not None, "abort"),
        (bool(evidence.oom_kills or evidence.oom_counter), "OOM kill"),
        (evidence.guest_died, "died"),
        (evidence.exit_status is not None, f"exit {evidence.exit_status}"),
        (evidence.signal is not None, f"signal {evidence.signal}"),
    )
    return next((word for applies, word in endings if applies), "no end")


def engine(record: Record) -> str:
    """Return the name of the engine that ran a network, and its version if there are several."""
    label = label_of(record.engine)
    return label if record.engine == "caffe" else f"{label} {record.engine_version or ''}".strip()


def stack(record: Record) -> str:
    """Return the BLAS of a run and its version, or that the engine computes by its own kernels.

    A set-up that is not the default follows.
    """
    name = record.environment.guest.blas_name
    if name is not None:
        # OpenBLAS's name has its version, then how it was built.
        blas = " ".join(name.split()[:2]) if name.startswith("OpenBLAS ") else name
    else:
        blas = "own kernels" if has_own_kernels(record.engine) else "not recorded"
    return blas if record.setup == DEFAULT else f"{blas}, {record.setup}"


def _way(record: Record) -> str:
    blas = record.environment.guest.blas_name
    parts = [
        "memory-only compute" if record.compute == "memory-only" else "real compute",
        *([f"BLAS {blas}"] if blas else []),
        *([f"set-up {record.setup}"] if record.setup != DEFAULT else []),
        f"{record.protocol}, batch {record.batch}",
    ]
    if record.engine != "caffe":
        parts.insert(0, engine(record))
    return f"{_where(record)}; {', '.join(parts)}"


def _where_confined(record: Record) -> str:
    """Describe a container or sysroot: whether it is emulated, and what enforced its limits."""
    host, limits = record.environment.host, record.limits
    how = "emulated" if record.is_emulated_or_twin else "native arm64"
    by = ", ".join(part for part in (host.engine, host.qemu_version) if part)
    cores, asked = (
        f"{one.cores:g}" if one.cores else "unknown" for one in (limits.in_force, limits.asked)
    )
    allowance = limits.allowance
    extra = allowance.emulator_bytes + allowance.probe_bytes if allowance else 0
    own = ((limits.asked.memory_bytes or 0) - extra) / MIB
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
        if record.engine != "caffe":
            return "twin: the build for amd64 of the same version, run natively"
        return "twin: the same Caffe packages for amd64, run natively"
    guest = record.environment.guest
    label = engine(record)
    whose = {"system": f"its own {label}", "root": f"pibench's {label}"}.get(
        guest.caffe_origin or ""
    )
    if record.is_emulated_or_twin:
        where = ", on a machine that is not a board" if record.target_kind.is_board else ""
        parts = [f"emulated: {record.target}{where}", whose]
    else:
        parts = [f"measured: {record.target}", guest.device_tree_model, whose]
    return ", ".join(part for part in parts if part)


def evidence(record: Record) -> list[Fact]:
    """Return the evidence for the verdict, the strongest first."""
    seen = record.evidence
    killed = seen.container_oom_killed
    return _known(
        [
            ("Verdict", f"{record.verdict}: {seen.summary}"),
            ("Exit status", seen.exit_status),
            ("Signal", seen.signal),
            *(("Kernel's log", line) for line in seen.oom_kills),
            ("OOM kills counted", seen.oom_counter),
            ("Engine's exit code", seen.container_exit_code),
            ("Engine's OOMKilled", None if killed is None else str(killed).lower()),
            (f"{label_of(record.engine)}'s last words", seen.fatal_message),
            ("Deadline", "passed" if seen.timed_out else None),
            ("Guest", "died" if seen.guest_died else None),
            ("Memory limit in force", _mib(seen.memory_limit_bytes)),
            ("Swap used", _mib(seen.swap_used_bytes)),
            ("Took", None if seen.elapsed_seconds is None else f"{seen.elapsed_seconds:.1f} s"),
            *(("Note", note) for note in seen.notes),
            *(("Output", sentence) for sentence in not_finite(record)),
            *(("Repaired", sentence) for sentence in record.repairs),
            *(("Fork layer", label) for label in record.fork_layers),
            *(("Time", line) for line in timing(record)),
        ]
    )


def not_finite(record: Record) -> list[str]:
    """Describe each output with values that are NaN or infinite in one sentence."""
    if not any(blob.non_finite_count for blob in record.outputs):
        return []
    from pibench.crosscheck.blobs import non_finite_outputs  # noqa: PLC0415  (start-up time)

    return non_finite_outputs(record.outputs)


def limits(record: Record) -> list[Fact]:
    """Return the requested limits and the effective ones."""
    extra = record.limits.allowance
    return _known(
        [
            ("Limits requested", _limit_set(record.limits.asked)),
            ("Limits effective", _limit_set(record.limits.in_force)),
            ("Enforced by", record.limits.enforced_by or "nothing"),
            (
                "Of which not the network's",
                extra
                and f"{mib(extra.emulator_bytes, 1)} MiB for the emulator, "
                f"{mib(extra.probe_bytes, 1)} MiB for the probe, measured {extra.measured}",
            ),
        ]
    )


def environment(record: Record) -> list[Fact]:
    """Return where it ran: Caffe's environment first, then the host."""
    guest, host = record.environment.guest, record.environment.host
    return _known(
        [
            (label_of(record.engine), _joined(record.engine_version, guest.caffe_origin)),
            ("BLAS", guest.blas_name),
            ("Set-up", record.setup),
            ("BLAS core, threads", _joined(guest.blas_core_type, guest.blas_threads)),
            ("Guest", _joined(guest.architecture, guest.kernel, guest.device_tree_model)),
            ("Guest's kernel arguments", guest.kernel_arguments),
            ("Guest's memory", _mib(guest.memory_total_bytes)),
            ("MIDR_EL1", guest.main_id_register),
            ("Python there", guest.python_version),
            ("Root's lock", guest.image_lock_digest),
            ("Container image", guest.container_image_id),
            ("Governor", guest.governor),
            *((f"No {figure}", reason) for figure, reason in sorted(guest.unavailable.items())),
            ("Emulator", _joined(host.qemu_version, host.qemu_accelerator)),
            ("Boot", host.qemu_boot),
            ("Engine", host.engine),
            ("Host", _joined(host.architecture, host.kernel, host.cpu_model)),
            ("Host's cores, memory", _joined(host.logical_cores, _mib(host.memory_bytes))),
            ("Load before", None if host.load_1_minute is None else f"{host.load_1_minute:.2f}"),
            ("pibench, Python", _joined(host.pibench_version, host.python_version)),
            ("Recorded", record.created.strftime("%Y-%m-%d %H:%M:%S UTC")),
            ("Record", record.record_id),
            ("Prototxt's SHA-256", record.network_sha256),
            ("Weights' SHA-256", record.weights_sha256),
        ]
    )


def target(record: Record) -> str:
    """Return the target, with a VM's machine if it is not the default."""
    usual = record.machine in (None, "virt")
    return record.target if usual else f"{record.target} {record.machine}"


def command(record: Record) -> str:
    """Return the command that repeats the run; empty if its name is unsafe on a command line."""
    name = record.network if record.network_source == "zoo" else record.network_source
    if visible(name) != name:
        return ""
    name = f"./{name}" if name.startswith("-") and not is_standard_input(name) else name
    words = ["pibench", "run", name, "--target", record.target_kind.address or record.target]
    timed = record.protocol == "inference" and record.compute == "real"
    # Each option, its value, and the values that pibench has without it.
    for option, value, usual in (
        ("--machine", record.machine, (None, "virt")),
        ("--device", record.device, ("rpi3b",)),
        ("--reserve", devices.reserve_name(record.limits.reserve_bytes / MIB), ("0",)),
        ("--engine", spec_of(record.engine, record.engine_version), ("caffe",)),
        ("--protocol", record.protocol, ()),
        ("--compute", record.compute, ()),
        ("--batch", record.batch, (1,)),
        *(("--input", size, ()) for size in _sizes(record)),
        ("--threads", record.limits.asked.threads, (None, devices.load(record.device).cores)),
        ("--repeats", record.repeats, (_DEFAULT_REPEATS if timed else record.repeats,)),
        (_repaired_with(record), "", ("",) if not record.repairs else ()),
        ("--seed", record.seed, (None, 0)),
    ):
        if value not in usual:
            words += [option, str(value)] if value != "" else [option]
    is_caffe = record.network_format == "caffe"
    given = record.provenance["outputs"].reason == WEIGHTS_GIVEN
    if record.weights_sha256 and is_caffe and given:
        # A record does not have the path of the weights.
        words += ["--weights", f"<the caffemodel with SHA-256 {record.weights_sha256}>"]
    return shlex.join(words)


def _sizes(record: Record) -> list[str]:
    """Return the values of `--input`: one for each input of a model file that has several."""
    if record.input_size is None or len(record.inputs) < 2:
        return [] if record.input_size is None else [record.input_size]
    return [f"{one.name}={'x'.join(map(str, one.shape))}" for one in record.inputs if one.shape]


def _repaired_with(record: Record) -> str:
    """Return the option with which the network's file was repaired."""
    from pibench.engines.caffe import fork_fields  # noqa: PLC0415  (start-up time)

    as_paper = any(fork_fields.ROUNDS_UP in sentence for sentence in record.repairs)
    return "--repair-as-paper" if as_paper else "--repair"


def timing(record: Record) -> list[str]:
    """Return the lines about a record's passes; none if nothing was timed."""
    if not record.samples:
        return []
    lines = [line for line in (_passes(record), _start_up(record), _excluded(record)) if line]
    if record.provenance["latency_ms"].kind == "measured" or set_aside(record.samples):
        lines += _state(record)
    return lines


def unavailable_state(records: Iterable[Record]) -> list[str]:
    """Return why machine state is missing for the measured times, each reason once."""
    measured = [one for one in records if one.samples and not one.is_emulated_or_twin]
    reasons = dict.fromkeys(
        item for record in measured for item in record.environment.guest.unavailable.items()
    )
    return [f"unavailable: {figure}: {reason}" for figure, reason in reasons]


def _passes(record: Record) -> str | None:
    """Return the median with its interval, if there are several passes."""
    if record.latency_ms is None or len(record.samples) == 1:
        return None
    count = len(counting_ms(record.samples))
    kind = record.provenance["latency_ms"].kind
    passes = "pass" if count == 1 else "passes"
    text = f"{_ms(record.latency_ms)} ms {kind}, median of {count} {passes}"
    interval = record.latency_interval
    if interval is None:
        return f"{text}; {why_no_interval(record.samples) or 'no interval'}"
    confidence = f"{100 * interval.confidence:.0f} %"
    return f"{text}, {confidence} interval {_ms(interval.low_ms)} to {_ms(interval.high_ms)} ms"


def _start_up(record: Record) -> str | None:
    """Return what came before the timed passes, and what is resident after them."""
    found = record.start_up
    if found is None:
        return None
    kind = record.provenance["peak_rss_bytes"].kind
    peak, steady = _mib(found.loaded_peak_rss_bytes), _mib(found.steady_rss_bytes)
    first_ms = found.first_pass_ms
    return _joined(
        f"loaded in {_ms(found.load_ms)} ms {kind}",
        None if first_ms is None else f"first pass {_ms(first_ms)} ms",
        f"peak {peak} until loaded" if peak else None,
        f"{steady} resident after the passes" if steady else None,
    )


def _excluded(record: Record) -> str | None:
    """Return the excluded samples, and the outliers among those that count."""
    outliers = [one.latency_ms for one in record.samples if one.outlier]
    parts = [set_aside(record.samples)]
    if outliers:
        listed = ", ".join(_ms(one) for one in outliers)
        parts.append(f"outlier{'s' if len(outliers) > 1 else ''}, counted: {listed} ms")
    return "; ".join(part for part in parts if part) or None


def _state(record: Record) -> list[str]:
    """Return the clock, the temperature and the firmware's bits over all passes."""
    clocks = [one.clock_hz for one in record.samples if one.clock_hz is not None]
    degrees = [one.temperature_c for one in record.samples if one.temperature_c is not None]
    governor = record.environment.guest.governor
    parts = []
    if clocks:
        low, high = (one / 1e6 for one in (min(clocks), max(clocks)))
        text = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
        parts.append(f"clock {text} MHz{f' (governor {governor})' if governor else ''}")
    if degrees:
        parts.append(f"up to {max(degrees):.1f} degrees C")
    return ["; ".join(parts)] if parts else []


def _ms(value: float) -> str:
    return milliseconds(value).replace(",", "")


def _limit_set(limits: LimitSet) -> str | None:
    return _joined(
        _mib(limits.memory_bytes),
        None if limits.swap_bytes is None else f"{mib(limits.swap_bytes)} MiB of swap",
        None if limits.cores is None else f"{limits.cores:g} cores",
        None if limits.threads is None else f"{limits.threads} BLAS threads",
    )


def _mib(size_bytes: int | None) -> str | None:
    return None if size_bytes is None else f"{mib(size_bytes, 1)} MiB"


def _joined(*parts: object) -> str | None:
    return ", ".join(str(part) for part in parts if part not in (None, "")) or None


def _known(facts: Iterable[tuple[str, object]]) -> list[Fact]:
    """Return the facts whose value is known."""
    return [(term, str(value)) for term, value in facts if value not in (None, "")]
