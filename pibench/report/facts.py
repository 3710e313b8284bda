"""The facts of a record as terms and sentences: evidence, limits, environment, timed passes."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from pibench import devices
from pibench.engines.registry import label_of
from pibench.records.schema import WEIGHTS_GIVEN
from pibench.records.statistics import counting_ms, set_aside, why_no_interval
from pibench.report.numbers import mib, milliseconds
from pibench.report.plain import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pibench.records.schema import LimitSet, Record

Fact = tuple[str, str]
"""A term and its description."""

_DEFAULT_REPEATS: Final = 5


def evidence(record: Record) -> list[Fact]:
    """Return the evidence for the verdict, the strongest first."""
    seen = record.evidence
    return _known(
        [
            ("Verdict", f"{record.verdict}: {seen.summary}"),
            ("Exit status", _shown(seen.exit_status)),
            ("Signal", _shown(seen.signal)),
            *(("Kernel's log", line) for line in seen.oom_kills),
            ("OOM kills counted", _shown(seen.oom_counter)),
            ("Engine's exit code", _shown(seen.container_exit_code)),
            ("Engine's OOMKilled", _yes(seen.container_oom_killed)),
            ("Caffe's last words", seen.fatal_message),
            ("Deadline", "passed" if seen.timed_out else None),
            ("Guest", "died" if seen.guest_died else None),
            ("Memory limit in force", _mib(seen.memory_limit_bytes)),
            ("Swap used", _mib(seen.swap_used_bytes)),
            ("Took", None if seen.elapsed_seconds is None else f"{seen.elapsed_seconds:.1f} s"),
            *(("Note", note) for note in seen.notes),
            *(("Output", sentence) for sentence in not_finite(record)),
            *(("Repaired", sentence) for sentence in record.repairs),
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
    asked, held, extra = record.limits.asked, record.limits.in_force, record.limits.allowance
    facts: list[tuple[str, str | None]] = [
        ("Limits requested", _limit_set(asked)),
        ("Limits effective", _limit_set(held)),
        ("Enforced by", record.limits.enforced_by or "nothing"),
    ]
    if extra is not None:
        facts.append(
            (
                "Of which not the network's",
                (
                    f"{mib(extra.emulator_bytes, 1)} MiB for the emulator, "
                    f"{mib(extra.probe_bytes, 1)} MiB for the probe, measured {extra.measured}"
                ),
            )
        )
    return _known(facts)


def environment(record: Record) -> list[Fact]:
    """Return where it ran: Caffe's environment first, then the host."""
    guest, host = record.environment.guest, record.environment.host
    return _known(
        [
            (label_of(record.engine), _joined(record.engine_version, guest.caffe_origin)),
            ("BLAS", guest.blas_name),
            ("BLAS core, threads", _joined(guest.blas_core_type, _shown(guest.blas_threads))),
            ("Guest", _joined(guest.architecture, guest.kernel, guest.device_tree_model)),
            ("Guest's memory", _mib(guest.memory_total_bytes)),
            ("MIDR_EL1", guest.main_id_register),
            ("Python there", guest.python_version),
            ("Root's lock", guest.image_lock_digest),
            ("Container image", guest.container_image_id),
            ("Governor", guest.governor),
            *((f"No {figure}", reason) for figure, reason in sorted(guest.unavailable.items())),
            ("Emulator", _joined(host.qemu_version, host.qemu_accelerator)),
            ("Engine", host.engine),
            ("Host", _joined(host.architecture, host.kernel, host.cpu_model)),
            ("Host's cores, memory", _joined(_shown(host.logical_cores), _mib(host.memory_bytes))),
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
    return (
        record.target if record.machine in (None, "virt") else f"{record.target} {record.machine}"
    )


def command(record: Record) -> str:
    """Return the command that repeats the run; empty if its name is unsafe on a command line."""
    name = record.network if record.network_source == "zoo" else record.network_source
    if visible(name) != name:
        return ""
    words = ["pibench", "run", name, "--target", record.target]
    words[-1] = record.target_kind.address or record.target
    if name.startswith("-"):
        words[2] = f"./{name}"
    if record.machine not in (None, "virt"):
        words += ["--machine", str(record.machine)]
    if record.device != "rpi3b":
        words += ["--device", record.device]
    words += ["--protocol", record.protocol, "--compute", record.compute]
    if record.batch != 1:
        words += ["--batch", str(record.batch)]
    if record.input_size is not None:
        words += ["--input", record.input_size]
    threads = record.limits.asked.threads
    if threads not in (None, devices.load(record.device).cores):
        words += ["--threads", str(threads)]
    timed = record.protocol == "inference" and record.compute == "real"
    if timed and record.repeats not in (0, _DEFAULT_REPEATS):
        words += ["--repeats", str(record.repeats)]
    if record.repairs:
        words.append("--repair")
    if record.seed:
        words += ["--seed", str(record.seed)]
    if record.weights_sha256 and record.provenance["outputs"].reason == WEIGHTS_GIVEN:
        # A record does not have the path of the weights.
        words += ["--weights", f"<the caffemodel with SHA-256 {record.weights_sha256}>"]
    return shlex.join(words)


def timing(record: Record) -> list[str]:
    """Return the lines about a record's passes; none if nothing was timed."""
    if not record.samples:
        return []
    lines = [line for line in (_passes(record), _excluded(record)) if line]
    if record.provenance["latency_ms"].kind == "measured" or set_aside(record.samples):
        lines += _state(record)
    return lines


def unavailable_state(records: Iterable[Record]) -> list[str]:
    """Return why machine state is missing for the measured times, each reason once."""
    measured = [one for one in records if one.samples and not one.is_emulated_or_twin]
    reasons = {
        (figure, reason): None
        for record in measured
        for figure, reason in record.environment.guest.unavailable.items()
    }
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
    return (
        f"{text}, {interval.confidence:.0%} interval "
        f"{_ms(interval.low_ms)} to {_ms(interval.high_ms)} ms"
    ).replace("%", " %")


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


def _passes_of(count: int) -> str:
    return f"{count} pass" if count == 1 else f"{count} passes"


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


def _shown(value: int | None) -> str | None:
    return None if value is None else str(value)


def _yes(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _joined(*parts: str | None) -> str | None:
    return ", ".join(part for part in parts if part) or None


def _known(facts: Iterable[tuple[str, str | None]]) -> list[Fact]:
    """Return the facts whose value is known."""
    return [(term, text) for term, text in facts if text]
