"""From what a target saw to an observation, in the terms in which verdicts are decided."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pibench.crosscheck.verdict import Observation, provenance_kind
from pibench.records.schema import EMULATED_ELSEWHERE, ON_THE_METAL
from pibench.sweep.samples import Throttle, why_disturbed

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.records.schema import ProvenanceKind
    from pibench.targets.base import Outcome, Target

KIB = 1024
_CAFFE_PROCESS = re.compile(r"Killed process \d+ \((caffe|python3)")


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all records of one sweep share.

    `no_board` is set for one outcome (`of`): why what was reached as a board is none.
    """

    device: Device
    target: Target
    no_board: str | None = None

    def of(self, outcome: Outcome) -> Context:
        """The same for one outcome: a board may show itself to be an emulated one."""
        if self.target.name not in ON_THE_METAL:
            return self
        reason = (outcome.machine or {}).get("no_board")
        if (outcome.result or {}).get("emulator_rss_bytes") is not None:
            reason = "its programs are run by QEMU"
        return replace(self, no_board=reason)

    @property
    def emulated(self) -> bool:
        """Whether an emulator is in use; asked for once the target is prepared."""
        if self.target.name in ON_THE_METAL:
            return self.no_board is not None
        return self.target.environment()["qemu_version"] is not None

    @property
    def on_another_machine(self) -> bool:
        """Whether a program of this host emulates the network's, on a core that is not here."""
        return self.emulated and self.target.name in EMULATED_ELSEWHERE

    @property
    def kind(self) -> ProvenanceKind:
        """Where the numbers of its runs come from."""
        return provenance_kind(self.target.name, emulated=self.emulated)


def observation_of(outcome: Outcome, context: Context) -> Observation:
    """What was seen, in the terms in which verdicts are decided."""
    result = outcome.result
    context = context.of(outcome)
    held = _held(outcome, context)
    stand_in = (f"not measured on a board: {context.no_board}",) if context.no_board else ()
    if result is None:
        console = tuple(line for line in outcome.console_oom_lines if _CAFFE_PROCESS.search(line))
        return Observation(
            target=context.target.name,
            emulated=context.emulated,
            peak_rss_bytes=None,
            exit_status=None,
            # The kernel's own words: it has killed Caffe, though nobody is left to report it.
            signal=9 if console else None,
            oom_kills=console,
            guest_died=True,
            **held,
            notes=(outcome.died or "the target was lost", *stand_in, *outcome.notes),
        )
    return Observation(
        target=context.target.name,
        emulated=context.emulated,
        peak_rss_bytes=own_rss_bytes(result),
        emulator_rss_bytes=result["emulator_rss_bytes"],
        # The convention of Python's subprocess: a signal is a negative status.
        exit_status=-result["signal"] if result["signal"] else result["exit_status"],
        signal=result["signal"],
        oom_kills=_own_lines(result["oom_lines"] or [], result["pid"]),
        oom_counter=_own_counter(outcome),
        timed_out=result["timed_out"],
        fatal_message=result["fatal_message"],
        swap_used_bytes=result["swap_used_bytes"],
        **held,
        elapsed_seconds=result["elapsed_ms"] / 1000.0,
        notes=(*stand_in, *_notes(result, outcome.machine or {}), *outcome.notes),
    )


def own_rss_bytes(result: dict[str, Any]) -> int:
    """The peak RSS of a process, in bytes, without what of it is an emulator's.

    The two peak together: an emulator's own memory grows with the code and the
    memory that it has seen, and never shrinks.
    """
    return int(result["peak_rss_bytes"]) - (result["emulator_rss_bytes"] or 0)


def _held(outcome: Outcome, context: Context) -> dict[str, Any]:
    """What held the process, as fields of an observation."""
    machine, held = outcome.machine or {}, outcome.confinement
    if held is not None:
        return {
            "memory_limit_bytes": held.memory_bytes,
            "allowance_bytes": held.allowance_bytes,
            "enforced_by": held.enforced_by,
            "watcher_saw_bytes": held.watcher_saw_bytes,
            "container_exit_code": held.container_exit_code,
            "container_oom_killed": held.container_oom_killed,
        }
    limit_kib = machine.get("mem_total_kib")
    return {
        "memory_limit_bytes": limit_kib * KIB if limit_kib else None,
        "enforced_by": "kernel" if context.target.name == "vm" else None,
    }


def _own_counter(outcome: Outcome) -> int | None:
    """The count of OOM kills, where it can only mean this process or is all there is.

    A cgroup of its own counts nothing else. A machine's counts other programs
    too: next to a log that may be read it says nothing about a process that
    ended by itself.
    """
    result = outcome.result or {}
    if outcome.confinement is not None:
        count: int | None = result["cgroup_oom_kills"]
        return count
    alone = result["signal"] == signal.SIGKILL or result["oom_lines"] is None
    return result["oom_kills"] if alone else None


def _own_lines(lines: list[str], pid: int) -> tuple[str, ...]:
    """The kernel's lines about one process."""
    own = re.compile(rf"(process |pid=){pid}\b")
    return tuple(line for line in lines if own.search(line))


def _notes(result: dict[str, Any], machine: dict[str, Any]) -> tuple[str, ...]:
    notes = []
    if result["complaint"]:
        notes.append(f"Caffe said: {result['complaint']}")
    if result["oom_lines"] is None:
        notes.append("the kernel's log may not be read here; its OOM counter was")
    if result["exit_status"] not in (0, None) and result["log_tail"]:
        notes.append(f"last words: {result['log_tail'][-1]}")
    readings = result["readings"]
    why = why_disturbed(readings, 0, len(readings) - 1, Throttle.of(machine.get("throttle")))
    if why is not None:
        notes.append(f"while it ran, {why}")
    if machine.get("huge_pages"):
        notes.append(
            "the kernel gives transparent huge pages to all programs: peaks may be some MiB high"
        )
    return tuple(notes)
