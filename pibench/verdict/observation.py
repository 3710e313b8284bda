"""Observation of one run, from any target, in the terms that the verdict needs."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pibench.engines import registry
from pibench.target_kinds import TargetKind, kind_of

if TYPE_CHECKING:
    from pibench.records.schema import Enforcer, ProvenanceKind

KILLED: Final = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""Exit statuses of a process ended by SIGKILL: Python's and, from a shell or Docker, 137."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Observation of one run. Sizes are in bytes, None if not read.

    `emulated` is None if the target determines it. `oom_kills` are the
    kernel's log lines about the measured process only.
    `peak_rss_bytes` excludes the emulator's memory. `memory_limit_bytes` is the
    effective limit, not the requested one; `allowance_bytes` of it are for
    memory that the device would not need (an emulator). `enforced_by` is what limited the
    process; `reached_own_limit` is whether the process's own
    control group reached that limit, None if there is no such group
    or it was not read. `group_limit_bytes` is the tightest limit of the groups around
    the process if the whole machine represents the device, `address_space_bytes` a
    limit of its address space or data, `strict_overcommit` whether the kernel refuses memory
    that it may be unable to provide later. `emulator_died` is set if an emulator ended before
    its program started. `watcher_saw_bytes` is the process's memory when the watcher ended it.
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
    def kind(self) -> ProvenanceKind:
        """The provenance of the numbers of this run."""
        kind = self.target_kind
        usual = not kind.is_board
        return kind.provenance_of_run(emulated=usual if self.emulated is None else self.emulated)

    @property
    def target_kind(self) -> TargetKind:
        """What the target is."""
        return kind_of(self.target)

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

        With default overcommit, Linux refuses a block larger than all
        RAM and swap together; the engine then aborts.
        """
        return self.fatal_message is not None and registry.is_refused_allocation(
            self.engine, self.fatal_message
        )

    @property
    def refused_bytes(self) -> int | None:
        """The size of the refused block; None if there was none or it is unknown."""
        return registry.refused_bytes(self.engine, self.fatal_message or "")

    @property
    def whole_peak_bytes(self) -> int | None:
        """The peak including the emulator's memory, as the kernel counts it."""
        peak = self.peak_rss_bytes
        return None if peak is None else peak + (self.emulator_rss_bytes or 0)

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended the process."""
        return self.signal == signal.SIGKILL or self.exit_status in KILLED
