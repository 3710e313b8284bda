"""What a difference does to the exit code: `--fail-on verdict,ram=5%,latency=15%,outputs`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pibench.crosscheck.aspects import ASPECTS, Aspect
from pibench.crosscheck.reconcile import reasons
from pibench.errors import ExitCode, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.crosscheck.aspects import Comparison
    from pibench.crosscheck.reconcile import NetworkComparison, Reconciliation, Tolerances

WITH_SHARE: Final[tuple[Aspect, ...]] = ("ram", "latency")
_PART: Final = re.compile(r"^(?P<aspect>\w+)(?:=(?P<percent>[0-9]{1,9}(?:\.[0-9]{1,9})?) ?%)?$")
_HINT: Final = "for example: --fail-on verdict,ram=5%,latency=15%,outputs"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The aspects that decide. A gate that was asked for lets nothing pass uncompared."""

    aspects: tuple[Aspect, ...] = ASPECTS
    asked: bool = False


@dataclass(frozen=True, kw_only=True)
class Passage:
    """What the gate says: the exit code, what failed it, and what it could not decide.

    `asked` are the aspects that alone decide, none where no gate was asked for.
    """

    code: ExitCode
    asked: tuple[Aspect, ...]
    failed: tuple[str, ...]
    undecided: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.code == ExitCode.OK


def parse(text: str | None, tolerances: Tolerances) -> tuple[Gate, Tolerances]:
    """The gate that `--fail-on` asks for, and the tolerances with those that it names.

    Raises InvalidInputError for anything that it cannot mean.
    """
    if text is None:
        return Gate(), tolerances
    aspects: list[Aspect] = []
    for part in (part.strip() for part in text.split(",")):
        named = _PART.match(part)
        aspect = next((one for one in ASPECTS if named and one == named["aspect"]), None)
        if named is None or aspect is None:
            raise InvalidInputError(
                f"--fail-on {text}: {part!r} is none of {', '.join(ASPECTS)}", hint=_HINT
            )
        if named["percent"] is not None and aspect not in WITH_SHARE:
            raise InvalidInputError(
                f"--fail-on {text}: {aspect} takes no percentage"
                + (": outputs go by --atol and --rtol" if aspect == "outputs" else ""),
                hint=_HINT,
            )
        if named["percent"] is not None:
            share = float(named["percent"]) / 100
            tolerances = (
                replace(tolerances, ram=share)
                if aspect == "ram"
                else replace(tolerances, latency=share)
            )
        if aspect in aspects:
            raise InvalidInputError(f"--fail-on {text}: {aspect} twice", hint=_HINT)
        aspects.append(aspect)
    return Gate(aspects=tuple(aspects), asked=True), tolerances


def passage(found: Reconciliation, gate: Gate) -> Passage:
    """Whether what was found passes.

    1 where a gated aspect of a network differs on any two sides, else 4 where something
    is undecided. What that is depends: a gate that was asked for wants each of its aspects
    compared for every network (on some two sides), and of a baseline every network run;
    without one, verdicts alone are to be decided. Raises InvalidInputError where an aspect
    that was asked for could be compared for no network at all.
    """
    by_network = _by_network(found)
    failed, undecided = [], []
    for aspect in gate.aspects:
        answers = {
            name: _answer([network.aspects[aspect] for network in networks])
            for name, networks in by_network.items()
        }
        if gate.asked and all(answer is None for answer in answers.values()):
            why = reasons(found.networks, [aspect])
            raise InvalidInputError(
                f"--fail-on {aspect}: it could be compared for no network"
                + (f"; {why[0]}" if why else ""),
                hint="gate on what both sides tell",
            )
        failed += [f"{name}: {aspect}" for name, answer in answers.items() if answer is False]
        if gate.asked or aspect == "verdict":
            undecided += [
                f"{name}: {aspect}"
                for name, networks in by_network.items()
                if answers[name] is None and _is_open(networks, aspect, asked=gate.asked)
            ]
    undecided += _not_run(found)
    code = ExitCode.OK
    if failed:
        code = ExitCode.DISAGREEMENT
    elif undecided:
        code = ExitCode.INCONCLUSIVE
    asked = gate.aspects if gate.asked else ()
    return Passage(code=code, asked=asked, failed=tuple(failed), undecided=tuple(undecided))


def _by_network(found: Reconciliation) -> dict[str, list[NetworkComparison]]:
    networks: dict[str, list[NetworkComparison]] = {}
    for one in found.networks:
        name = one.network
        if one.first.protocol != "caffe-time" or one.first.batch != 1:
            name += f" ({one.first.protocol}, batch {one.first.batch})"
        networks.setdefault(name, []).append(one)
    return networks


def _answer(comparisons: Sequence[Comparison]) -> bool | None:
    """False if any two sides differ, true if any two were compared, else None."""
    answers = {one.agrees for one in comparisons}
    return False if False in answers else True if True in answers else None


def _is_open(networks: Sequence[NetworkComparison], aspect: Aspect, *, asked: bool) -> bool:
    """Whether there was something to compare; a side that gives no verdict at all is no doubt."""
    comparisons = [network.aspects[aspect] for network in networks]
    if asked:
        return not all(one.moot for one in comparisons)
    return any(one.why.startswith("undecided") for one in comparisons)


def _not_run(found: Reconciliation) -> list[str]:
    """Networks of a baseline that no other side has: they may have vanished unnoticed."""
    missing: dict[str, None] = {}
    for side in found.sides:
        if side.origin == "baseline":
            for pair in found.pairs:
                alone = pair.only_first if pair.first == side.name else pair.only_second
                if side.name in (pair.first, pair.second):
                    missing |= dict.fromkeys(f"{name}: of the baseline, not run" for name in alone)
    return list(missing)
