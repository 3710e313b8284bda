"""Decide whether a network fits the device, with the evidence for the verdict.

If the kernel enforces the device's memory (a VM, a container, the board
itself), its OOM killer decides. Otherwise (the amd64 twin, a sysroot, a
larger machine) the peak RSS is compared with the device's usable memory.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pibench.devices import BORDERLINE_BAND
from pibench.engines.registry import label_of
from pibench.records.schema import Evidence, Provenance

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.records.schema import Verdict
    from pibench.verdict.observation import Observation

MIB: Final = 2**20

GROWN_SHARE: Final = 0.95
"""The minimum fraction of its limit that a process must have used when its own limit killed it.

The rest of the limit belongs to the probe and the kernel: page tables, and file pages that
were not reclaimed. Networks killed at their own limit had 101 to 104 % of it (file pages are
counted where they were first read). A process killed because another one exhausted the memory
can have any size.
"""

BOARD_GROWN_SHARE: Final = 0.85
"""The same for the usable memory of a board, where the system runs its own programs."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The verdict and the fields of a record that follow from it."""

    verdict: Verdict
    evidence: Evidence
    headroom_bytes: int | None
    headroom_provenance: Provenance
    peak_provenance: Provenance


def decide(
    observation: Observation,
    device: Device,
    *,
    reference_peak_bytes: int | None = None,
    band: float = BORDERLINE_BAND,
    enforced: bool | None = None,
) -> Decision:
    """Decide the verdict of one run for a device.

    Args:
        observation: the run.
        device: the device.
        reference_peak_bytes: the peak RSS of the same network in the unconstrained amd64 twin.
            It gives the headroom of a no-fit, since the peak of a killed process is incomplete.
        band: the borderline range around the limit, as a fraction of the device's usable memory.
        enforced: whether the kernel limited the process to the device's memory; None derives it
            from the target (see `enforces`).
    """
    if enforced is None:
        enforced = enforces(observation, device, band=band)
    verdict, summary = (
        _unusable(observation)
        or (_from_kernel(observation, device, band) if enforced else None)
        or _from_watcher(observation, device)
        or _from_peak(observation, device, band, enforced=enforced)
    )
    contradiction = _contradiction(observation, device, verdict, reference_peak_bytes, band)
    if contradiction:
        verdict, summary = "inconclusive", f"{summary}, {contradiction}"
    headroom_bytes, headroom = _headroom(observation, device, verdict, reference_peak_bytes)
    return Decision(
        verdict=verdict,
        evidence=_evidence(observation, summary),
        headroom_bytes=headroom_bytes,
        headroom_provenance=headroom,
        peak_provenance=_peak_provenance(observation),
    )


def enforces(observation: Observation, device: Device, *, band: float = BORDERLINE_BAND) -> bool:
    """Return whether the kernel limited the process to about the device's memory.

    A VM, a container and a cgroup do; the twin and a watcher do not. A native machine does if it
    has no more memory than the device, within the band: the board.
    """
    kind = observation.target_kind
    if kind.is_board:
        limit = observation.memory_limit_bytes
        return limit is not None and limit <= device.usable_bytes * (1 + band)
    return kind.enforced_by is not None or observation.enforced_by == "cgroup"


def _unusable(seen: Observation) -> tuple[Verdict, str] | None:
    """Return the first reason why a run is unusable on any target; None if there is none."""
    unseen = seen.exit_status is None and not seen.killed
    # On the board's machine the guest can stall right after an OOM kill, so
    # a death whose cause was observed before still counts.
    died_unexplained = seen.guest_died and not (seen.killed and seen.out_of_memory)
    lost = f"the {'guest' if seen.target_kind.boundary == 'guest' else 'probe'} was lost"
    faults = (
        (bool(_disagreement(seen)), _disagreement(seen)),
        (seen.timed_out, "the deadline passed before the process ended"),
        (
            seen.fatal_message is not None and not seen.allocation_refused,
            f"{label_of(seen.engine)} aborted: {seen.fatal_message}",
        ),
        (died_unexplained, f"{lost}{_out_of_memory_note(seen)}"),
        (unseen, f"the end of the process was not observed{_out_of_memory_note(seen)}"),
        (
            seen.exit_status == 0 and seen.out_of_memory,
            "ended with 0, but the kernel reports it killed out of memory",
        ),
        (seen.emulator_died, f"the emulator {_ending(seen)} before the network had started"),
        (
            not seen.killed and (seen.watcher_saw_bytes or 0) > (seen.peak_rss_bytes or 0),
            f"the watcher stopped a child process of it at {_mib(seen.watcher_saw_bytes or 0)}",
        ),
        (
            seen.exit_status != 0 and not seen.killed and not seen.allocation_refused,
            _ending(seen),
        ),
        (
            seen.killed and not seen.out_of_memory and seen.watcher_saw_bytes is None,
            "killed (SIGKILL), but the kernel reported nothing about memory",
        ),
    )
    return next((("inconclusive", summary) for applies, summary in faults if applies), None)


def _disagreement(seen: Observation) -> str:
    """Describe contradictions between process exit, container Engine and cgroup counter.

    The Engine reports on the whole container, so its report may concern a helper
    process although the measured one exited with 0.
    """
    if seen.container_oom_killed is None or seen.guest_died:
        return ""
    engine, counter = seen.container_oom_killed, seen.out_of_memory
    if engine == counter and (seen.killed or not engine):
        return ""
    ended = "killed" if seen.killed else f"ended with {seen.exit_status}"
    return (
        f"the evidence disagrees: the process {ended}, the Engine reports OOMKilled "
        f"{str(engine).lower()}, the cgroup counted {seen.oom_counter or 0} kills"
    )


def _ending(seen: Observation) -> str:
    """Describe how the process ended; if by a signal, with its name."""
    number = seen.signal or (-seen.exit_status if seen.exit_status else 0)
    try:
        return f"ended with {signal.Signals(number).name}"
    except ValueError:
        return f"ended with status {seen.exit_status}"


def _out_of_memory_note(seen: Observation) -> str:
    return " after the kernel ran out of memory" if seen.out_of_memory else ""


def _from_kernel(seen: Observation, device: Device, band: float) -> tuple[Verdict, str] | None:
    """Return the verdict of a kernel with an enforced limit; None if the process exited with 0."""
    if not seen.killed and not seen.allocation_refused:
        return None
    limit = seen.device_limit_bytes
    what = "refused a block of memory" if seen.allocation_refused else "killed out of memory"
    if limit is None:
        return "inconclusive", f"{what}, under an unknown limit"
    if limit < device.usable_bytes * (1 - band):
        return "inconclusive", (
            f"{what} under {_mib(limit)}, less than the {_mib(device.usable_bytes)} of the device"
        )
    doubt = _doubt_about_refusal(seen, device) or _doubt_about_kill(seen, device)
    if doubt:
        return "inconclusive", f"{what}, {doubt}"
    under = f"under {_mib(limit)}"
    if seen.allowance_bytes:
        # The peak of a killed process may exceed the device's part of the limit.
        under += f" (the cap includes {_mib(seen.allowance_bytes)} for emulator and probe)"
    if seen.allocation_refused:
        return "no-fit", f"the kernel refused a block of memory {under}"
    return "no-fit", f"killed by the kernel, out of memory {under}"


def _doubt_about_kill(seen: Observation, device: Device) -> str:
    """Explain why a kill may not be due to the device's limit; empty if it is."""
    if seen.allocation_refused:
        return ""
    if seen.target_kind.boundary == "group":
        return _doubt_about_own_group(seen) or _doubt_about_size(
            seen, GROWN_SHARE * (seen.memory_limit_bytes or 0)
        )
    if seen.target_kind.is_board:
        group = seen.group_limit_bytes
        if group is not None and group < device.usable_bytes:
            return f"in a control group of {_mib(group)}, less than the device has"
        return _doubt_about_size(seen, BOARD_GROWN_SHARE * device.usable_bytes)
    # Nothing else runs in the guest.
    return ""


def _doubt_about_own_group(seen: Observation) -> str:
    """Explain the doubt if the process's own cgroup was not at its limit; empty if it was."""
    limit, peak = _mib(seen.memory_limit_bytes or 0), seen.whole_peak_bytes
    if seen.reached_own_limit is None:
        return f"and whether its own control group had reached its {limit} was not read"
    if seen.reached_own_limit:
        return ""
    at = f"at {_mib(peak)}" if peak is not None else "at an unknown size"
    around = seen.group_limit_bytes
    cause = "of a control group around it, or of the machine"
    if around is not None and around < (seen.memory_limit_bytes or 0):
        cause = f"a control group around pibench allows {_mib(around)}"
    return f"{at}: its own limit is {limit}, so another limit was reached ({cause})"


def _doubt_about_size(seen: Observation, enough_bytes: float) -> str:
    """Explain the doubt if the process was too small to have exhausted the memory; else empty."""
    peak = seen.whole_peak_bytes
    if peak is not None and peak >= enough_bytes:
        return ""
    at = "at an unknown size" if peak is None else f"at {_mib(peak)}"
    return f"{at}: other programs must have used the rest of the memory"


def _doubt_about_refusal(seen: Observation, device: Device) -> str:
    """Explain why a refused block may not be due to the device's memory; empty if it is."""
    if not seen.allocation_refused:
        return ""
    if (seen.refused_bytes or 0) > device.ram_bytes:
        return ""
    if seen.address_space_bytes is not None:
        limit = _mib(seen.address_space_bytes)
        return f"and its memory is limited to {limit} (ulimit -v or -d)"
    if seen.strict_overcommit:
        return "by a kernel that grants no more than it has (vm.overcommit_memory=2)"
    if seen.target_kind.boundary == "group":
        return "by a machine that has more memory than the device"
    return ""


def _contradiction(
    seen: Observation,
    device: Device,
    verdict: Verdict,
    reference_peak_bytes: int | None,
    band: float,
) -> str:
    """Explain how a kill contradicts the peak of an unconstrained run of the same network.

    On a machine equivalent to the device the kill is conclusive. A cgroup is on a machine that
    also runs other programs.
    """
    if verdict != "no-fit" or seen.target_kind.boundary != "group":
        return ""
    if reference_peak_bytes is None:
        # Page cache may have brought the group to its limit. A process killed for its own memory
        # exceeds the device's, since file pages are counted where they were read.
        confirmed = not seen.killed or (seen.peak_rss_bytes or 0) >= device.usable_bytes
        watched = seen.watcher_saw_bytes is not None
        return "" if confirmed or watched else "and no peak of the amd64 twin confirms it"
    if reference_peak_bytes >= device.usable_bytes * (1 - band):
        return ""
    return f"but the same network takes {_mib(reference_peak_bytes)} on the amd64 twin"


def _from_watcher(seen: Observation, device: Device) -> tuple[Verdict, str] | None:
    """Return the verdict for a process that pibench's watcher ended; None if it did not."""
    if seen.watcher_saw_bytes is None or not seen.killed:
        return None
    had, usable = _mib(seen.watcher_saw_bytes), _mib(device.usable_bytes)
    if seen.watcher_saw_bytes > device.usable_bytes:
        return "no-fit", f"stopped by the watcher at {had} of {usable} usable"
    return "inconclusive", f"stopped by the watcher at {had}, and {usable} are usable"


def _from_peak(
    seen: Observation, device: Device, band: float, *, enforced: bool
) -> tuple[Verdict, str]:
    """Return the verdict of a process that exited with 0, or was killed without a limit."""
    peak, usable, limit = seen.peak_rss_bytes, device.usable_bytes, seen.device_limit_bytes
    if not enforced and seen.allocation_refused and (peak or 0) > usable * (1 + band):
        # The refused block comes on top of a peak that already exceeds the device's memory.
        return (
            "no-fit",
            f"at {_mib(peak or 0)} of {_mib(usable)} usable, its next allocation was refused",
        )
    doubt = _doubt_about_peak(seen, enforced=enforced)
    if peak is None or doubt:
        return "inconclusive", doubt
    summary = f"ended with 0, peak {_mib(peak)} of {_mib(usable)} usable"
    limited_to_device = enforced and limit is not None and limit <= usable
    if abs(usable - peak) <= band * usable and not (limited_to_device and peak <= usable):
        return "borderline", f"{summary}, within {band:.0%}"
    if peak <= usable:
        return "fit", summary
    if enforced:
        under = "an unknown limit" if limit is None else f"a limit of {_mib(limit)}"
        return "inconclusive", (
            f"{summary}: it ran under {under}; --target vm --machine raspi3b decides"
        )
    over = f"peak {_mib(peak)}, over the {_mib(usable)} usable on the device"
    return "no-fit", f"{over}; this target does not limit the process, which ended with 0"


def _doubt_about_peak(seen: Observation, *, enforced: bool) -> str:
    """Explain why the peak of this run cannot be used; empty if it can."""
    if seen.allocation_refused:
        return "refused a block of memory on a machine that does not represent the device"
    if seen.killed:
        return "killed out of memory on a machine that does not represent the device"
    if seen.swap_used_bytes:
        return f"ended with 0, but with {_mib(seen.swap_used_bytes)} of swap in use"
    if enforced and seen.swap_used_bytes is None:
        return "ended with 0, but swap usage was not read"
    return "ended with 0, but its peak RSS was not read" if seen.peak_rss_bytes is None else ""


def _headroom(
    seen: Observation, device: Device, verdict: Verdict, reference_peak_bytes: int | None
) -> tuple[int | None, Provenance]:
    """Return usable memory minus the peak, in bytes, from a peak that was not cut short."""
    if seen.exit_status == 0 and not _unusable(seen) and seen.peak_rss_bytes is not None:
        reason = "usable memory of the device minus the peak RSS"
        if seen.swap_used_bytes:
            reason += ", which leaves out what was swapped"
        kind = seen.kind
        return device.usable_bytes - seen.peak_rss_bytes, Provenance(kind=kind, reason=reason)
    if verdict != "no-fit":
        reason = "the run did not end normally, so its peak is not conclusive"
        return None, Provenance(kind="unavailable", reason=reason)
    if reference_peak_bytes is None:
        reason = "the kernel limited the peak, and no peak of the amd64 twin was given"
        return None, Provenance(kind="unavailable", reason=reason)
    headroom = device.usable_bytes - reference_peak_bytes
    reason = "usable memory of the device minus the peak of the same network on the amd64 twin"
    if headroom >= 0:
        reason += "; by that peak alone it would fit"
    return headroom, Provenance(kind="twin", reason=reason)


def _peak_provenance(seen: Observation) -> Provenance:
    if seen.peak_rss_bytes is None:
        return Provenance(kind="unavailable", reason="the peak RSS of the process was not read")
    if seen.killed:
        reason = "lower bound: the process was killed while it still grew"
    elif seen.exit_status != 0:
        reason = "lower bound: the process did not finish"
    else:
        reason = "ru_maxrss of the process, or more if its page tables reported more"
    if seen.emulator_rss_bytes:
        reason += f", less {_mib(seen.emulator_rss_bytes)} of the emulator"
    return Provenance(kind=seen.kind, reason=reason)


def _evidence(seen: Observation, summary: str) -> Evidence:
    number = -seen.exit_status if seen.exit_status is not None and seen.exit_status < 0 else None
    return Evidence(
        summary=summary,
        exit_status=seen.exit_status,
        signal=seen.signal or number,
        oom_kills=seen.oom_kills,
        oom_counter=seen.oom_counter,
        timed_out=seen.timed_out,
        guest_died=seen.guest_died,
        fatal_message=seen.fatal_message,
        swap_used_bytes=seen.swap_used_bytes,
        memory_limit_bytes=seen.memory_limit_bytes,
        reached_own_limit=seen.reached_own_limit,
        container_exit_code=seen.container_exit_code,
        container_oom_killed=seen.container_oom_killed,
        elapsed_seconds=seen.elapsed_seconds,
        notes=seen.notes,
    )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.0f} MiB"
