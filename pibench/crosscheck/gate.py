"""Map differences to the exit code: `--fail-on verdict,ram=5%,latency=15%,outputs`."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from pibench.crosscheck.metrics import METRICS, Metric
from pibench.crosscheck.reconcile import reasons
from pibench.devices import MIB
from pibench.errors import ExitCode, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.crosscheck.reconcile import NetworkComparison, Reconciliation, Tolerances

WITH_SHARE: Final[tuple[Metric, ...]] = ("ram", "latency")
_NUMBER: Final = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_SHARE: Final = re.compile(rf"(?P<percent>{_NUMBER}) ?%(?:\+(?P<floor>{_NUMBER}) ?MiB)?")
_HINT: Final = "for example: --fail-on verdict,ram=5%,latency=15%,outputs"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The metrics that decide. A requested gate does not pass a metric that was not compared."""

    metrics: tuple[Metric, ...] = METRICS
    asked: bool = False


@dataclass(frozen=True, kw_only=True)
class Check:
    """One metric of one network, over every pair of sides that has it.

    `not compared` marks an optional metric that could not be compared. `incomparable` marks a
    requested metric that could not be compared for any network. A check without a metric is a
    network of a baseline that was not run.
    """

    network: str
    metric: Metric | None
    state: Literal["agrees", "differs", "undecided", "incomparable", "not compared"]
    networks: tuple[NetworkComparison, ...] = ()

    def __str__(self) -> str:
        return f"{self.network}: {self.metric or 'of the baseline, not run'}"


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """The gate's result: every check, the failures, and what is undecided.

    `asked` has the requested metrics, which alone decide; it is empty if no gate was requested.
    `incomparable` has one sentence for each of them that could not be compared for any network.
    """

    asked: tuple[Metric, ...]
    checks: tuple[Check, ...]
    incomparable: tuple[str, ...] = ()

    def __repr__(self) -> str:
        passed = sum(check.state == "agrees" for check in self.checks)
        reasons = (*self.failed, *self.incomparable, *self.undecided)
        gate = f"<gate {', '.join(self.asked) or 'not requested'}: exit code {int(self.code)}"
        return f"{gate}, {passed} checks agree{''.join(f'; {one}' for one in reasons[:3])}>"

    @property
    def failed(self) -> tuple[str, ...]:
        """The checks that differ, each in a few words."""
        return tuple(str(check) for check in self.checks if check.state == "differs")

    @property
    def undecided(self) -> tuple[str, ...]:
        """The required checks that could not be decided."""
        return tuple(str(check) for check in self.checks if check.state == "undecided")

    @property
    def code(self) -> ExitCode:
        """1 if something differs, else 2 for an incomparable metric, else 4 if undecided."""
        if self.failed:
            return ExitCode.DISAGREEMENT
        if self.incomparable:
            return ExitCode.INVALID_INPUT
        return ExitCode.INCONCLUSIVE if self.undecided else ExitCode.OK

    def __bool__(self) -> bool:
        return self.code == ExitCode.OK


def parse(text: str | None, tolerances: Tolerances) -> tuple[Gate, Tolerances]:
    """Parse `--fail-on` into a gate, and return it with the updated tolerances.

    Raises:
        InvalidInputError: if the text is not valid.
    """
    if text is None:
        return Gate(), tolerances
    metrics: list[Metric] = []
    for part in (part.strip() for part in text.split(",")):
        name, sign, share = part.partition("=")
        metric = next((one for one in METRICS if one == name), None)
        if metric is None:
            raise InvalidInputError(
                f"--fail-on {text}: {part!r} is none of {', '.join(METRICS)}", hint=_HINT
            )
        if sign and metric not in WITH_SHARE:
            raise InvalidInputError(
                f"--fail-on {text}: {metric} takes no percentage"
                + (": outputs go by --atol and --rtol" if metric == "outputs" else ""),
                hint=_HINT,
            )
        if sign:
            tolerances = _with_tolerance(f"--fail-on {text}", metric, share, tolerances)
        if metric in metrics:
            raise InvalidInputError(f"--fail-on {text}: {metric} twice", hint=_HINT)
        metrics.append(metric)
    return Gate(metrics=tuple(metrics), asked=True), tolerances


def _with_tolerance(option: str, metric: Metric, text: str, tolerances: Tolerances) -> Tolerances:
    """Return the tolerances with one replaced; RAM may have a floor: `5%` or `5%+0MiB`."""
    given = _SHARE.fullmatch(text)
    if given is None or (given["floor"] and metric != "ram"):
        raise InvalidInputError(f"{option}: {text!r} is not a percentage of {metric}", hint=_HINT)
    fraction = float(given["percent"]) / 100
    if metric == "latency":
        return replace(tolerances, latency=fraction)
    floor_bytes = tolerances.ram_floor_bytes
    if given["floor"] is not None:
        floor_bytes = round(float(given["floor"]) * MIB)
    return replace(tolerances, ram=fraction, ram_floor_bytes=floor_bytes)


def decide(found: Reconciliation, gate: Gate) -> GateResult:
    """Return whether the comparison passes the gate.

    The exit code is 1 if a gated metric of a network differs between any two sides, else 2 if a
    requested metric could not be compared for any network, else 4 if something is undecided.
    A requested gate requires each of its metrics to be compared for every network (on some pair
    of sides), and every network of a baseline to be run; without a requested gate only verdicts
    must be decided.
    """
    by_network: dict[str, list[NetworkComparison]] = defaultdict(list)
    for one in found.networks:
        by_network[one.subject].append(one)
    checks: list[Check] = []
    incomparable = []
    for metric in gate.metrics:
        of_metric = [
            Check(
                network=name,
                metric=metric,
                state=_state(networks, metric, gate),
                networks=tuple(networks),
            )
            for name, networks in by_network.items()
        ]
        if gate.asked and all(check.state in ("undecided", "not compared") for check in of_metric):
            # Report the other metrics too: they may be the cause.
            of_metric = [replace(check, state="incomparable") for check in of_metric]
            why = reasons(found.networks, [metric])
            problem = f"--fail-on {metric}: it could be compared for no network"
            incomparable.append(problem + (f"; {why[0]}" if why else ""))
        checks += of_metric
    checks += [Check(network=name, metric=None, state="undecided") for name in _not_run(found)]
    return GateResult(
        asked=gate.metrics if gate.asked else (),
        checks=tuple(checks),
        incomparable=tuple(incomparable),
    )


def _state(
    networks: Sequence[NetworkComparison], metric: Metric, gate: Gate
) -> Literal["agrees", "differs", "undecided", "not compared"]:
    """Return "differs" if any pair differs, else "agrees" if any agrees, else what is open."""
    answers = {one.metrics[metric].agrees for one in networks}
    if False in answers:
        return "differs"
    if True in answers:
        return "agrees"
    comparisons = [network.metrics[metric] for network in networks]
    if gate.asked:
        undecided = not all(one.not_applicable for one in comparisons)
    else:
        # A side without any verdict does not count.
        undecided = any(one.why.startswith("undecided") for one in comparisons)
    return "undecided" if undecided and (gate.asked or metric == "verdict") else "not compared"


def _not_run(found: Reconciliation) -> list[str]:
    """Return the networks of a baseline that no other side ran: they may be missing by mistake."""
    baselines = [side.name for side in found.sides if side.origin == "baseline"]
    missing = [
        network
        for pair in found.pairs
        for side, alone in ((pair.first, pair.only_first), (pair.second, pair.only_second))
        if side in baselines
        for network in alone
    ]
    return list(dict.fromkeys(missing))
