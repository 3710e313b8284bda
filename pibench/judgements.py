"""Compare what is planned, predicted or measured with a device's memory and with a time limit.

`verdict` decides from a run whether a network fits; here nothing was run, or only its time counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan
from typing import TYPE_CHECKING, Literal

from pibench.devices import BORDERLINE_BAND
from pibench.errors import ExitCode, InvalidInputError

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.latency.model import Prediction
    from pibench.plan.planner import Plan
    from pibench.records.schema import Record, Verdict


@dataclass(frozen=True)
class Judgement:
    """The verdict, and the usable memory minus the planned peak, in bytes."""

    verdict: Verdict
    headroom_bytes: int


def judge(plan: Plan, device: Device) -> Judgement:
    """Judge a plan by the rule for a run, for every peak that a run may have.

    A run's peak lies within the band of the model's error around the planned peak. The verdict is
    fit or no-fit only if it is the same for all of these peaks, by the rule for a run without an
    enforced limit, which has its own band around the limit; otherwise it is borderline.

    Returns:
        The verdict with the headroom in bytes, negative if the planned peak is too large.
    """
    usable = device.usable_bytes
    headroom = usable - plan.peak_rss_bytes
    if abs(headroom) <= plan.band_bytes + BORDERLINE_BAND * usable:
        return Judgement("borderline", headroom)
    return Judgement("fit" if headroom > 0 else "no-fit", headroom)


TimeVerdict = Literal["within", "over", "borderline", "unavailable"]


@dataclass(frozen=True, kw_only=True)
class TimeJudgement:
    """A forward pass compared with a time limit: true if its whole interval is within the limit.

    The verdict is `over` if the whole interval is above the limit, and `borderline` if the limit is
    inside it. `low_ms` and `high_ms` are the interval; they are None if there is no time, and the
    verdict is `unavailable` then. `source` is where the time comes from, or why there is none.
    """

    verdict: TimeVerdict
    max_ms: float
    low_ms: float | None
    high_ms: float | None
    source: str

    def __bool__(self) -> bool:
        return self.verdict == "within"

    def __str__(self) -> str:
        limit = f"{_ms(self.max_ms)} ms"
        if self.low_ms is None or self.high_ms is None:
            return f"no time to compare with {limit}: {self.source}"
        words = {"within": "within", "over": "over", "borderline": "borderline at"}[self.verdict]
        times = f"{_ms(self.low_ms)}"
        if self.high_ms > self.low_ms:
            times += f" to {_ms(self.high_ms)}"
        return f"{words} {limit}: {times} ms, {self.source}"

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of a gate with this limit alone."""
        codes = {"within": ExitCode.OK, "over": ExitCode.DISAGREEMENT}
        return codes.get(self.verdict, ExitCode.INCONCLUSIVE)


def judge_prediction(prediction: Prediction, max_ms: float, note: str = "") -> TimeJudgement:
    """Compare a predicted time with a limit in ms; `note` is added to its source.

    Raises:
        InvalidInputError: The limit is not a time.
    """
    board = "" if prediction.fits else "the network does not fit: of a board with the memory"
    source = "; ".join(filter(None, (f"predicted {prediction.software}", board, note)))
    return _judge_time(prediction.low_ms, prediction.high_ms, max_ms, source)


def judge_measured_time(record: Record, max_ms: float) -> TimeJudgement:
    """Compare the time that a board measured with a limit in ms: by its interval, or its median.

    Raises:
        InvalidInputError: The limit is not a time.
    """
    provenance, interval = record.provenance["latency_ms"], record.latency_interval
    if record.latency_ms is None or provenance.kind != "measured":
        reason = provenance.reason if record.latency_ms is None else f"it is {provenance.kind}"
        return no_time(max_ms, f"target {record.target}: {reason}")
    low_ms = high_ms = record.latency_ms
    source = f"measured on target {record.target}"
    if interval is not None:
        low_ms, high_ms = interval.low_ms, interval.high_ms
        source += f", {interval.confidence:.0%} interval of the median"
    return _judge_time(low_ms, high_ms, max_ms, source)


def no_time(max_ms: float, reason: str) -> TimeJudgement:
    """Return the judgement where there is no time, for this reason.

    Raises:
        InvalidInputError: The limit is not a time.
    """
    check_time_limit(max_ms)
    return TimeJudgement(
        verdict="unavailable", max_ms=max_ms, low_ms=None, high_ms=None, source=reason
    )


def check_time_limit(max_ms: float) -> None:
    """Raise InvalidInputError unless a limit in ms is a number, finite and above 0."""
    try:
        given_ms = nan if isinstance(max_ms, (bool, str)) else float(max_ms)
    except (TypeError, ValueError, OverflowError):
        given_ms = nan
    if not 0 < given_ms < inf:
        raise InvalidInputError(
            f"a time limit of {max_ms!r:.40} ms", hint="give milliseconds above 0, such as 250"
        )


def _judge_time(low_ms: float, high_ms: float, max_ms: float, source: str) -> TimeJudgement:
    check_time_limit(max_ms)
    verdict: TimeVerdict = "borderline"
    if high_ms <= max_ms:
        verdict = "within"
    elif low_ms > max_ms:
        verdict = "over"
    return TimeJudgement(
        verdict=verdict, max_ms=max_ms, low_ms=low_ms, high_ms=high_ms, source=source
    )


def _ms(time_ms: float) -> str:
    return f"{time_ms:.0f}" if time_ms >= 100 else f"{time_ms:.3g}"
