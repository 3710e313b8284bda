"""Convert a target's outcome to an observation, in the terms in which verdicts are decided."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pibench.runner.samples import Throttle, why_disturbed
from pibench.target_kinds import TargetKind, kind_of
from pibench.verdict.observation import Observation

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.records.schema import Enforcer, ProvenanceKind
    from pibench.targets.base import Outcome, Target

KIB = 1024
_CAFFE_PROCESS = re.compile(r"Killed process \d+ \((caffe|python3)")


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all records of one sweep share.

    `no_board` is set for one outcome (`of`): why the supposed board is not one.
    """

    device: Device
    target: Target
    no_board: str | None = None

    def of(self, outcome: Outcome) -> Context:
        """Return the context for one outcome: a board may turn out to be emulated."""
        if not self.target_kind.is_board:
            return self
        reason = (outcome.machine or {}).get("no_board")
        if (outcome.result or {}).get("emulator_rss_bytes") is not None:
            reason = "its programs are run by QEMU"
        return replace(self, no_board=reason)

    @property
    def target_kind(self) -> TargetKind:
        """What the target is."""
        return kind_of(self.target.name)

    @property
    def enforced_by(self) -> Enforcer | None:
        """What limits the memory where the whole machine stands for the device."""
        return self.target_kind.enforced_by if self.target_kind.is_whole_machine else None

    @property
    def emulated(self) -> bool:
        """Whether an emulator is in use; valid once the target is prepared."""
        if self.target_kind.is_board:
            return self.no_board is not None
        return self.target.environment()["qemu_version"] is not None

    @property
    def on_another_machine(self) -> bool:
        """Whether the network runs on a core that a program of this host emulates."""
        return self.emulated and self.target_kind.emulation == "other-hosts"

    @property
    def kind(self) -> ProvenanceKind:
        """The provenance of the numbers of its runs."""
        return self.target_kind.provenance_of_run(emulated=self.emulated)


def observation_of(outcome: Outcome, context: Context) -> Observation:
    """Return the observation of an outcome, in the terms in which verdicts are decided."""
    result = outcome.result
    context = context.of(outcome)
    held = _held(outcome, context)
    virt_detect = (f"not measured on a board: {context.no_board}",) if context.no_board else ()
    if result is None:
        console = tuple(line for line in outcome.console_oom_lines if _CAFFE_PROCESS.search(line))
        return Observation(
            target=context.target.name,
            emulated=context.emulated,
            peak_rss_bytes=None,
            exit_status=None,
            # From the kernel's log: it has killed Caffe, and nothing was left to report it.
            signal=9 if console else None,
            oom_kills=console,
            guest_died=True,
            **held,
            notes=(outcome.died or "the target was lost", *virt_detect, *outcome.notes),
        )
    return Observation(
        target=context.target.name,
        emulated=context.emulated,
        peak_rss_bytes=own_rss_bytes(result),
        emulator_rss_bytes=result["emulator_rss_bytes"],
        # The convention of Python's subprocess: a signal is a negative status.
        exit_status=-result["signal"] if result["signal"] else result["exit_status"],
        signal=result["signal"],
        oom_kills=_own_lines(result, context),
        oom_counter=_own_counter(outcome, context),
        timed_out=result["timed_out"],
        fatal_message=result["fatal_message"],
        address_space_bytes=(outcome.machine or {}).get("address_space_bytes"),
        strict_overcommit=(outcome.machine or {}).get("overcommit") == "2",
        emulator_died=context.on_another_machine and _is_emulators_death(result),
        swap_used_bytes=result["swap_used_bytes"],
        **held,
        elapsed_seconds=result["elapsed_ms"] / 1000.0,
        notes=(*virt_detect, *_notes(result, outcome.machine or {}), *outcome.notes),
    )


def own_rss_bytes(result: dict[str, Any]) -> int | None:
    """Return the peak RSS of a process in bytes, without an emulator's share of it.

    The two peak together: an emulator's own memory grows with the code and the
    memory that it has seen, and never shrinks. None for an emulator that ended
    before it had the memory that it always takes.
    """
    own = int(result["peak_rss_bytes"]) - (result["emulator_rss_bytes"] or 0)
    return own if own >= 0 else None


def _is_emulators_death(result: dict[str, Any]) -> bool:
    """Return whether a signal ended an emulator before the program that it runs wrote a line.

    It reports the signals of that program itself ("qemu: uncaught target signal").
    """
    ended = result["signal"] not in (None, signal.SIGKILL)
    return ended and not result["log_tail"]


def _held(outcome: Outcome, context: Context) -> dict[str, Any]:
    """Return the limits of the process, as fields of an observation."""
    machine, held = outcome.machine or {}, outcome.memory_limits
    if held is not None:
        return {
            "memory_limit_bytes": held.memory_bytes,
            "allowance_bytes": held.allowance_bytes,
            "enforced_by": held.enforced_by,
            "reached_own_limit": (outcome.result or {}).get("reached_own_limit"),
            "group_limit_bytes": machine.get("memory_limit_bytes"),
            "watcher_saw_bytes": held.watcher_saw_bytes,
            "container_exit_code": held.container_exit_code,
            "container_oom_killed": held.container_oom_killed,
        }
    limit_kib = machine.get("mem_total_kib")
    return {
        "memory_limit_bytes": limit_kib * KIB if limit_kib else None,
        # A slice or a pod around the process may have less than the machine.
        "group_limit_bytes": machine.get("memory_limit_bytes"),
        "enforced_by": context.enforced_by,
    }


def _own_counter(outcome: Outcome, context: Context) -> int | None:
    """Return the count of OOM kills, where it can only be about this process.

    A control group of its own counts nothing else. A machine counts the kills of all programs:
    its count is evidence only where the machine is the device, and for a process that was killed.
    """
    result = outcome.result or {}
    count: int | None = None
    if outcome.memory_limits is not None:
        count = result["cgroup_oom_kills"]
    elif context.target_kind.is_whole_machine and result["signal"] == signal.SIGKILL:
        count = result["oom_kills"]
    return count


def _own_lines(result: dict[str, Any], context: Context) -> tuple[str, ...]:
    """Return the kernel's lines about the network's process.

    In a container the kernel's process numbers differ from the probe's, so a line with the
    same number may be about any program: for a process that ended by itself it is.
    """
    if not context.target_kind.is_whole_machine and result["signal"] != signal.SIGKILL:
        return ()
    own = re.compile(rf"(process |pid=){result['pid']}\b")
    return tuple(line for line in result["oom_lines"] or () if own.search(line))


def _notes(result: dict[str, Any], machine: dict[str, Any]) -> tuple[str, ...]:
    notes = []
    if result["complaint"]:
        notes.append(f"Caffe said: {result['complaint']}")
    if result["oom_lines"] is None:
        notes.append("the kernel's log may not be read here")
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
