"""Map differences to the exit code: `--fail-on verdict,ram=5%,latency=15%,outputs`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from pibench.crosscheck.aspects import ASPECTS, MIB, Aspect
from pibench.crosscheck.reconcile import reasons
from pibench.errors import ExitCode, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.crosscheck.reconcile import NetworkComparison, Reconciliation, Tolerances

WITH_SHARE: Final[tuple[Aspect, ...]] = ("ram", "latency")
_NUMBER: Final = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_SHARE: Final = re.compile(rf"(?P<percent>{_NUMBER}) ?%(?:\+(?P<floor>{_NUMBER}) ?MiB)?")
_HINT: Final = "for example: --fail-on verdict,ram=5%,latency=15%,outputs"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The aspects that decide. A requested gate does not pass an aspect that was not compared."""

    aspects: tuple[Aspect, ...] = ASPECTS
    asked: bool = False


@dataclass(frozen=True, kw_only=True)
class Check:
    """One aspect of one network, over every pair of sides that has it.

    `left out` marks an optional aspect that could not be compared. `incomparable` marks a
    requested aspect that could not be compared for any network. A check without an aspect is a
    network of a baseline that was not run.
    """

    network: str
    aspect: Aspect | None
    state: Literal["agrees", "differs", "undecided", "incomparable", "left out"]
    networks: tuple[NetworkComparison, ...] = ()

    def __str__(self) -> str:
        return f"{self.network}: {self.aspect or 'of the baseline, not run'}"


@dataclass(frozen=True, kw_only=True)
class Passage:
    """The gate's result: every check, the failures, and what is undecided.

    `asked` has the requested aspects, which alone decide; it is empty if no gate was requested.
    `incomparable` has one sentence for each of them that could not be compared for any network.
    """

    asked: tuple[Aspect, ...]
    checks: tuple[Check, ...]
    incomparable: tuple[str, ...] = ()

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
        """1 if something differs, else 2 for an incomparable aspect, else 4 if undecided."""
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
    aspects: list[Aspect] = []
    for part in (part.strip() for part in text.split(",")):
        name, sign, share = part.partition("=")
        aspect = next((one for one in ASPECTS if one == name), None)
        if aspect is None:
            raise InvalidInputError(
                f"--fail-on {text}: {part!r} is none of {', '.join(ASPECTS)}", hint=_HINT
            )
        if sign and aspect not in WITH_SHARE:
            raise InvalidInputError(
                f"--fail-on {text}: {aspect} takes no percentage"
                + (": outputs go by --atol and --rtol" if aspect == "outputs" else ""),
                hint=_HINT,
            )
        if sign:
            tolerances = _held(f"--fail-on {text}", aspect, share, tolerances)
        if aspect in aspects:
            raise InvalidInputError(f"--fail-on {text}: {aspect} twice", hint=_HINT)
        aspects.append(aspect)
    return Gate(aspects=tuple(aspects), asked=True), tolerances


def _held(said: str, aspect: Aspect, share: str, tolerances: Tolerances) -> Tolerances:
    """Return the tolerances with one replaced; RAM may have a floor: `5%` or `5%+0MiB`."""
    given = _SHARE.fullmatch(share)
    if given is None or (given["floor"] and aspect != "ram"):
        raise InvalidInputError(f"{said}: {share!r} is no percentage of {aspect}", hint=_HINT)
    part = float(given["percent"]) / 100
    if aspect == "latency":
        return replace(tolerances, latency=part)
    tolerances = replace(tolerances, ram=part)
    if given["floor"] is None:
        return tolerances
    return replace(tolerances, ram_floor_bytes=round(float(given["floor"]) * MIB))


def passage(found: Reconciliation, gate: Gate) -> Passage:
    """Return whether the comparison passes the gate.

    The exit code is 1 if a gated aspect of a network differs between any two sides, else 2 if a
    requested aspect could not be compared for any network, else 4 if something is undecided.
    A requested gate requires each of its aspects to be compared for every network (on some pair
    of sides), and every network of a baseline to be run; without a requested gate only verdicts
    must be decided.
    """
    by_network = _by_network(found)
    checks: list[Check] = []
    incomparable = []
    for aspect in gate.aspects:
        of_aspect = [
            Check(
                network=name,
                aspect=aspect,
                state=_state(networks, aspect, gate),
                networks=tuple(networks),
            )
            for name, networks in by_network.items()
        ]
        if gate.asked and all(check.state in ("undecided", "left out") for check in of_aspect):
            # Report the other aspects too: they may be the cause.
            of_aspect = [replace(check, state="incomparable") for check in of_aspect]
            why = reasons(found.networks, [aspect])
            said = f"--fail-on {aspect}: it could be compared for no network"
            incomparable.append(said + (f"; {why[0]}" if why else ""))
        checks += of_aspect
    checks += [Check(network=name, aspect=None, state="undecided") for name in _not_run(found)]
    return Passage(
        asked=gate.aspects if gate.asked else (),
        checks=tuple(checks),
        incomparable=tuple(incomparable),
    )


def _by_network(found: Reconciliation) -> dict[str, list[NetworkComparison]]:
    networks: dict[str, list[NetworkComparison]] = {}
    for one in found.networks:
        networks.setdefault(one.subject, []).append(one)
    return networks


def _state(
    networks: Sequence[NetworkComparison], aspect: Aspect, gate: Gate
) -> Literal["agrees", "differs", "undecided", "left out"]:
    """Return "differs" if any pair differs, else "agrees" if any agrees, else why it is open."""
    answers = {one.aspects[aspect].agrees for one in networks}
    if False in answers:
        return "differs"
    if True in answers:
        return "agrees"
    wanted = gate.asked or aspect == "verdict"
    open_ = wanted and _is_open(networks, aspect, asked=gate.asked)
    return "undecided" if open_ else "left out"


def _is_open(networks: Sequence[NetworkComparison], aspect: Aspect, *, asked: bool) -> bool:
    """Return whether the aspect counts as undecided.

    If the gate asked for it, it does unless there was nothing to compare; otherwise only an
    undecided verdict does, not a side without any verdict.
    """
    comparisons = [network.aspects[aspect] for network in networks]
    if asked:
        return not all(one.moot for one in comparisons)
    return any(one.why.startswith("undecided") for one in comparisons)


def _not_run(found: Reconciliation) -> list[str]:
    """Return the networks of a baseline that no other side ran: they may be missing by mistake."""
    missing: dict[str, None] = {}
    for side in found.sides:
        if side.origin == "baseline":
            for pair in found.pairs:
                alone = pair.only_first if pair.first == side.name else pair.only_second
                if side.name in (pair.first, pair.second):
                    missing |= dict.fromkeys(alone)
    return list(missing)
