"""What was seen of one run, from whichever target, in the terms in which verdicts are decided."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pibench.records.schema import EMULATED_ELSEWHERE, ON_THE_METAL

if TYPE_CHECKING:
    from pibench.records.schema import Enforcer, ProvenanceKind, Target

KIND_BY_TARGET: Final[dict[Target, ProvenanceKind]] = {
    "vm": "emulated",
    "container": "emulated",
    "sysroot": "emulated",
    "twin": "twin",
    "native": "measured",
    "ssh": "measured",
}


def provenance_kind(target: Target, *, emulated: bool) -> ProvenanceKind:
    """Where a run's numbers come from.

    On an arm64 host some targets need no emulator, and what is reached as a
    board may be an emulated one.
    """
    if target in EMULATED_ELSEWHERE and not emulated:
        return "measured"
    if target in ON_THE_METAL and emulated:
        return "emulated"
    return KIND_BY_TARGET[target]


SINGLE_GROUP: Final = ("container", "sysroot")
"""Targets where a control group of its own stands for the device's memory."""

KILLED: Final = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""Exit statuses of a process that SIGKILL ended: Python's and, behind a shell or Docker, 137."""

_REFUSED: Final = re.compile(r"host allocation of size (\d+) failed|std::bad_alloc")
"""Caffe's own check (include/caffe/syncedmem.hpp), and C++'s for small blocks."""


def is_refused_allocation(fatal_message: str) -> bool:
    """Whether Caffe's last words are about memory that it did not get, and not about the model."""
    return bool(_REFUSED.search(fatal_message))


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What was seen of one run. Sizes in bytes, None where nothing was read.

    `emulated` is None where the target says it all. `oom_kills` are the
    kernel's lines about the measured process only.
    `peak_rss_bytes` is without the emulator's share. `memory_limit_bytes` is
    what was in force, not what was asked for; `allowance_bytes` of it are for
    what the device would not have to hold (an emulator). `enforced_by` says who
    held the process to that limit; `reached_own_limit` whether the process's own
    control group came to the end of that limit, None where there is no such group
    or it was not read. `group_limit_bytes` is the tightest limit of the groups around
    the process where the whole machine stands for the device, `address_space_bytes` a
    limit of its address space or data, `strict_overcommit` whether the kernel refuses what it
    may not have later. `emulator_died` is set where an emulator ended before
    its program began. `watcher_saw_bytes` is what the process had when the watcher ended it.
    """

    target: Target
    peak_rss_bytes: int | None
    exit_status: int | None
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
        """Where the numbers of this run come from."""
        usual = self.target not in ON_THE_METAL
        return provenance_kind(
            self.target, emulated=usual if self.emulated is None else self.emulated
        )

    @property
    def device_limit_bytes(self) -> int | None:
        """What of the limit in force stands for the device's own memory."""
        limit = self.memory_limit_bytes
        return None if limit is None else limit - self.allowance_bytes

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel itself says that it killed for want of memory."""
        return bool(self.oom_kills) or bool(self.oom_counter)

    @property
    def allocation_refused(self) -> bool:
        """Whether the kernel refused Caffe a block of memory rather than kill it later.

        Linux does so, by its default overcommit, for a block larger than all
        RAM and swap together; Caffe then aborts.
        """
        return self.fatal_message is not None and is_refused_allocation(self.fatal_message)

    @property
    def refused_bytes(self) -> int | None:
        """How large the refused block was; None where there was none or it is not known."""
        found = _REFUSED.search(self.fatal_message or "")
        return int(found[1]) if found and found[1] else None

    @property
    def whole_peak_bytes(self) -> int | None:
        """The peak with the emulator's share, as the kernel counts it."""
        peak = self.peak_rss_bytes
        return None if peak is None else peak + (self.emulator_rss_bytes or 0)

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended the process."""
        return self.signal == signal.SIGKILL or self.exit_status in KILLED
