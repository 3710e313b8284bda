"""Decide from a run, with the evidence, whether a network fits the device.

If the kernel enforces the device's memory (a VM, a container, the board itself), its OOM killer
decides. Otherwise (the amd64 twin, a sysroot, a larger machine) the peak RSS is compared with the
device's usable memory.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pibench.devices import BORDERLINE_BAND, MIB
from pibench.engines import registry
from pibench.records.schema import Evidence, Provenance
from pibench.target_kinds import TargetKind, kind_of

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.records.schema import Enforcer, ProvenanceKind, Verdict

GROWN_SHARE: Final = 0.95
"""The minimum fraction of its limit that a process must have used when its own limit killed it.

The rest of the limit belongs to the probe and the kernel: page tables, and file pages that
were not reclaimed. Networks killed at their own limit had 101 to 104 % of it (file pages are
counted where they were first read). A process killed because another one exhausted the memory
can have any size.
"""

BOARD_GROWN_SHARE: Final = 0.85
"""The same for the usable memory of a board, where the system runs its own programs."""

KILLED: Final = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""Exit statuses of a process ended by SIGKILL: Python's and, from a shell or Docker, 137."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Observation of one run. Sizes are in bytes, None if not read.

    `emulated` is None if the target determines it. `oom_kills` are the kernel's log lines about the
    measured process only. `peak_rss_bytes` excludes the emulator's memory. `memory_limit_bytes` is
    the effective limit, not the requested one; `allowance_bytes` of it are for memory that the
    device would not need (an emulator). `enforced_by` is what limited the process;
    `reached_own_limit` is whether the process's own control group reached that limit, None if there
    is no such group or it was not read. `group_limit_bytes` is the tightest limit of the groups
    around the process if the whole machine represents the device, `address_space_bytes` a limit of
    its address space or data, `strict_overcommit` whether the kernel refuses memory that it may be
    unable to provide later. `emulator_died` is set if an emulator ended before its program started.
    `watcher_saw_bytes` is the process's memory when the watcher ended it.
    """

    target: str
    peak_rss_bytes: int | None
    exit_status: int | None
    engine: str = "caffe"
    emulated: bool | None = None
    signal: int | None = None
    oom_kills: tuple[str, ...] = ()
    oom_counter: int | None = None
    timed_out: bool = False
    guest_died: bool = False
    fatal_message: str | None = None
    swap_used_bytes: int | None = None
    memory_limit_bytes: int | None = None
    emulator_rss_bytes: int | None = None
    allowance_bytes: int = 0
    enforced_by: Enforcer | None = None
    reached_own_limit: bool | None = None
    address_space_bytes: int | None = None
    strict_overcommit: bool = False
    group_limit_bytes: int | None = None
    emulator_died: bool = False
    watcher_saw_bytes: int | None = None
    container_exit_code: int | None = None
    container_oom_killed: bool | None = None
    elapsed_seconds: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def target_kind(self) -> TargetKind:
        """What the target is."""
        return kind_of(self.target)

    @property
    def provenance_kind(self) -> ProvenanceKind:
        """The provenance of the numbers of this run."""
        kind = self.target_kind
        emulated = self.emulated if self.emulated is not None else not kind.is_board
        return kind.provenance_of_run(emulated=emulated)

    @property
    def device_limit_bytes(self) -> int | None:
        """The part of the effective limit that represents the device's own memory."""
        limit = self.memory_limit_bytes
        return None if limit is None else limit - self.allowance_bytes

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel reported an out-of-memory kill."""
        return bool(self.oom_kills) or bool(self.oom_counter)

    @property
    def allocation_refused(self) -> bool:
        """Whether the kernel refused a block of memory to the engine instead of killing it later.

        With default overcommit, Linux refuses a block larger than all RAM and swap together; the
        engine then aborts.
        """
        return self.fatal_message is not None and registry.is_refused_allocation(
            self.engine, self.fatal_message
        )

    @property
    def whole_peak_bytes(self) -> int | None:
        """The peak including the emulator's memory, as the kernel counts it."""
        peak = self.peak_rss_bytes
        return None if peak is None else peak + (self.emulator_rss_bytes or 0)

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended the process."""
        return self.signal == signal.SIGKILL or self.exit_status in KILLED


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The verdict and the fields of a record that follow from it."""

    verdict: Verdict
    evidence: Evidence
    headroom_bytes: int | None
    headroom_provenance: Provenance
    peak_provenance: Provenance


def decide(
    observation: Observation, device: Device, *, reference_peak_bytes: int | None = None
) -> Decision:
    """Decide the verdict of one run for a device.

    Args:
        observation: the run.
        device: the device.
        reference_peak_bytes: the peak RSS of the same network in the unconstrained amd64 twin.
            It gives the headroom of a no-fit, since the peak of a killed process is incomplete.
    """
    enforced = _enforces(observation, device)
    verdict, summary = (
        _unusable(observation)
        or (_from_kernel(observation, device) if enforced else None)
        or _from_watcher(observation, device)
        or _from_peak(observation, device, enforced=enforced)
    )
    contradiction = _contradiction(observation, device, reference_peak_bytes)
    if verdict == "no-fit" and contradiction:
        verdict, summary = "inconclusive", f"{summary}, {contradiction}"
    headroom_bytes, headroom = _headroom(observation, device, verdict, reference_peak_bytes)
    signal_number = observation.signal or -min(observation.exit_status or 0, 0) or None
    known = {key: one for key, one in vars(observation).items() if key in Evidence.model_fields}
    return Decision(
        verdict=verdict,
        evidence=Evidence(**known | {"summary": summary, "signal": signal_number}),
        headroom_bytes=headroom_bytes,
        headroom_provenance=headroom,
        peak_provenance=_peak_provenance(observation),
    )


def _enforces(observation: Observation, device: Device) -> bool:
    """Return whether the kernel limited the process to about the device's memory.

    A VM, a container and a cgroup do; the twin and a watcher do not. A native machine does if it
    has no more memory than the device, within the band: the board.
    """
    kind = observation.target_kind
    if kind.is_board:
        limit = observation.memory_limit_bytes
        return limit is not None and limit <= device.usable_bytes * (1 + BORDERLINE_BAND)
    return kind.enforced_by is not None or observation.enforced_by == "cgroup"


def _unusable(seen: Observation) -> tuple[Verdict, str] | None:
    """Return the first reason why a run is unusable on any target; None if there is none."""
    unseen = seen.exit_status is None and not seen.killed
    # On the board's machine the guest can stall right after an OOM kill, so a death whose cause was
    # observed before still counts.
    died_unexplained = seen.guest_died and not (seen.killed and seen.out_of_memory)
    lost = f"the {'guest' if seen.target_kind.boundary == 'guest' else 'probe'} was lost"
    note = " after the kernel ran out of memory" if seen.out_of_memory else ""
    disagreement = _disagreement(seen)
    faults = (
        (disagreement, disagreement),
        (seen.timed_out, "the deadline passed before the process ended"),
        (
            seen.fatal_message is not None and not seen.allocation_refused,
            f"{registry.label_of(seen.engine)} aborted: {seen.fatal_message}",
        ),
        (died_unexplained, f"{lost}{note}"),
        (unseen, f"the end of the process was not observed{note}"),
        (
            seen.exit_status == 0 and seen.out_of_memory,
            "ended with 0, but the kernel reports it killed out of memory",
        ),
        (seen.emulator_died, f"the emulator {_ending(seen)} before the network had started"),
        (
            not seen.killed and (seen.watcher_saw_bytes or 0) > (seen.peak_rss_bytes or 0),
            f"the watcher stopped a child process of it at {_mib(seen.watcher_saw_bytes or 0)}",
        ),
        (not (seen.exit_status == 0 or seen.killed or seen.allocation_refused), _ending(seen)),
        (
            seen.killed and not seen.out_of_memory and seen.watcher_saw_bytes is None,
            "killed (SIGKILL), but the kernel reported nothing about memory",
        ),
    )
    return next((("inconclusive", summary) for applies, summary in faults if applies), None)


def _disagreement(seen: Observation) -> str:
    """Describe contradictions between process exit, container Engine and cgroup counter.

    The Engine reports on the whole container, so its report may concern a helper process although
    the measured one exited with 0.
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


def _from_kernel(seen: Observation, device: Device) -> tuple[Verdict, str] | None:
    """Return the verdict of a kernel with an enforced limit; None if the process exited with 0."""
    if not seen.killed and not seen.allocation_refused:
        return None
    limit = seen.device_limit_bytes
    what = "refused a block of memory" if seen.allocation_refused else "killed out of memory"
    if limit is None:
        return "inconclusive", f"{what}, under an unknown limit"
    if limit < device.usable_bytes * (1 - BORDERLINE_BAND):
        return "inconclusive", (
            f"{what} under {_mib(limit)}, less than the {_mib(device.usable_bytes)} of the device"
        )
    doubt = (_doubt_about_refusal if seen.allocation_refused else _doubt_about_kill)(seen, device)
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
    if seen.target_kind.boundary == "group":
        enough_bytes = GROWN_SHARE * (seen.memory_limit_bytes or 0)
        return _doubt_about_own_group(seen) or _doubt_about_size(seen, enough_bytes)
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
    at = "at an unknown size" if peak is None else f"at {_mib(peak)}"
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
    refused_bytes = registry.refused_bytes(seen.engine, seen.fatal_message or "")
    if (refused_bytes or 0) > device.ram_bytes:
        return ""
    if seen.address_space_bytes is not None:
        return f"and its memory is limited to {_mib(seen.address_space_bytes)} (ulimit -v or -d)"
    if seen.strict_overcommit:
        return "by a kernel that grants no more than it has (vm.overcommit_memory=2)"
    if seen.target_kind.boundary == "group":
        return "by a machine that has more memory than the device"
    return ""


def _contradiction(seen: Observation, device: Device, reference_peak_bytes: int | None) -> str:
    """Explain how a kill contradicts the peak of an unconstrained run of the same network.

    On a machine equivalent to the device the kill is conclusive. A cgroup is on a machine that
    also runs other programs.
    """
    if seen.target_kind.boundary != "group":
        return ""
    if reference_peak_bytes is None:
        # Page cache may have brought the group to its limit. A process killed for its own memory
        # exceeds the device's, since file pages are counted where they were read.
        confirmed = not seen.killed or (seen.peak_rss_bytes or 0) >= device.usable_bytes
        watched = seen.watcher_saw_bytes is not None
        return "" if confirmed or watched else "and no peak of the amd64 twin confirms it"
    band = BORDERLINE_BAND + registry.build_difference(seen.engine)
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


def _from_peak(seen: Observation, device: Device, *, enforced: bool) -> tuple[Verdict, str]:
    """Return the verdict of a process that exited with 0, or was killed without a limit."""
    peak, usable, limit = seen.peak_rss_bytes, device.usable_bytes, seen.device_limit_bytes
    if not enforced and seen.allocation_refused and (peak or 0) > usable * (1 + BORDERLINE_BAND):
        # The refused block comes on top of a peak that already exceeds the device's memory.
        at = f"at {_mib(peak or 0)} of {_mib(usable)} usable"
        return "no-fit", f"{at}, its next allocation was refused"
    doubt = _doubt_about_peak(seen, enforced=enforced) or _doubt_about_build(seen, usable)
    if peak is None or doubt:
        return "inconclusive", doubt
    summary = f"ended with 0, peak {_mib(peak)} of {_mib(usable)} usable"
    near = abs(usable - peak) <= BORDERLINE_BAND * usable
    # The kernel has limited the process to the device's memory: what ended within it fits.
    proven = enforced and limit is not None and peak <= usable and limit <= usable
    if near and not proven:
        return "borderline", f"{summary}, within {BORDERLINE_BAND:.0%}"
    if peak <= usable:
        return "fit", summary
    if enforced:
        under = "an unknown limit" if limit is None else f"a limit of {_mib(limit)}"
        return "inconclusive", (
            f"{summary}: it ran under {under}; --target vm --machine raspi3b decides"
        )
    over = f"peak {_mib(peak)}, over the {_mib(usable)} usable on the device"
    return "no-fit", f"{over}; this target does not limit the process, which ended with 0"


def _doubt_about_build(seen: Observation, usable: int) -> str:
    """Explain why the peak of an engine's build for amd64 does not decide; empty if it does."""
    if seen.target_kind.architecture != "amd64" or seen.peak_rss_bytes is None:
        return ""
    share, peak = registry.build_difference(seen.engine), seen.peak_rss_bytes
    if not share or abs(usable - peak) > share * peak:
        return ""
    return (
        f"ended with 0, peak {_mib(peak)} of {_mib(usable)} usable, but the board's build can "
        f"differ from {registry.label_of(seen.engine)}'s amd64 build by {share:.0%}; "
        "--target vm decides"
    )


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
        headroom = device.usable_bytes - seen.peak_rss_bytes
        return headroom, Provenance(kind=seen.provenance_kind, reason=reason)
    if verdict != "no-fit":
        reason = "the run did not end normally, so its peak is not conclusive"
        return None, Provenance.missing(reason)
    if reference_peak_bytes is None:
        reason = "the kernel limited the peak, and no peak of the amd64 twin was given"
        return None, Provenance.missing(reason)
    headroom = device.usable_bytes - reference_peak_bytes
    reason = "usable memory of the device minus the peak of the same network on the amd64 twin"
    if headroom >= 0:
        reason += "; by that peak alone it would fit"
    return headroom, Provenance(kind="twin", reason=reason)


def _peak_provenance(seen: Observation) -> Provenance:
    if seen.peak_rss_bytes is None:
        return Provenance.missing("the peak RSS of the process was not read")
    if seen.killed:
        reason = "lower bound: the process was killed while it still grew"
    elif seen.exit_status != 0:
        reason = "lower bound: the process did not finish"
    else:
        reason = "ru_maxrss of the process, or more if its page tables reported more"
    if seen.emulator_rss_bytes:
        reason += f", less {_mib(seen.emulator_rss_bytes)} of the emulator"
    return Provenance(kind=seen.provenance_kind, reason=reason)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.0f} MiB"
