"""Compare planned peaks with those of records; needs records only, no engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pibench.devices import MIB
from pibench.engines.registry import spec_of
from pibench.judgements import judge
from pibench.plan.environment import Environment, of_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.devices import Device
    from pibench.plan.planner import Plan
    from pibench.records.schema import Record, Verdict


@dataclass(frozen=True)
class Comparison:
    """One network: sizes in bytes; `error` is a fraction of the measured peak.

    `measured_bytes` and `error` are None if the run was cut short. `note` gives the reason, or
    reports that the program alone has another size here than when the plan was calibrated.
    """

    network: str
    planned_bytes: int
    measured_bytes: int | None
    error: float | None
    planned_verdict: Verdict
    verdict: Verdict
    note: str

    @property
    def agrees(self) -> bool:
        """Whether plan and run give the same answer: that the network fits, or does not."""
        return self.verdict == self.planned_verdict


def environment_of(record: Record, device: Device) -> Environment:
    """Return the environment of a record, in the plan's terms.

    Emulated targets have the device's cores, whatever host processor they report.
    """
    guest = record.environment.guest
    board = of_device(device)
    threads = record.limits.in_force.threads or guest.blas_threads or board.threads
    core = (guest.blas_core_type or board.core).lower()
    architecture = record.target_kind.architecture
    if architecture is None:
        architecture = "amd64" if guest.architecture == "x86_64" else "arm64"
    elif architecture != "amd64":
        architecture, core = "arm64", board.core
    return Environment(
        architecture=architecture,
        core=core,
        threads=threads,
        setup=record.setup,
        engine=spec_of(record.engine, record.engine_version),
    )


def compare(record: Record, planned: Plan) -> Comparison:
    """Compare the planned peak with the record's, if the run completed, and both verdicts."""
    peak = planned.peak_rss_bytes
    verdict = judge(planned, record.device_profile).verdict
    if record.evidence.exit_status != 0 or not record.peak_rss_bytes:
        return Comparison(
            record.network, peak, None, None, verdict, record.verdict, record.evidence.summary
        )
    beyond = (record.baseline_rss_bytes or planned.baseline_rss_bytes) - planned.baseline_rss_bytes
    note = f"program alone {beyond / MIB:+.1f} MiB" if abs(beyond) > MIB else ""
    error = peak / record.peak_rss_bytes - 1
    return Comparison(
        record.network, peak, record.peak_rss_bytes, error, verdict, record.verdict, note
    )


def summary(rows: Sequence[Comparison]) -> str:
    """Summarize the errors in one sentence."""
    errors = [abs(row.error) for row in rows if row.error is not None]
    if not errors:
        agreeing = sum(row.agrees for row in rows)
        return (
            "No peaks to compare: no run came to its end. "
            f"{agreeing} of {len(rows)} verdicts are as planned."
        )
    within = sum(error <= 0.02 for error in errors)
    return (
        f"{len(errors)} of {len(rows)} compared: mean absolute error "
        f"{100 * sum(errors) / len(errors):.2f} %, worst {100 * max(errors):.2f} %, "
        f"{within} within 2 %."
    )
