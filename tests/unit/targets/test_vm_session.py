"""What one boot after another comes to: who is blamed for a dead guest, and what runs again.

The boots are scripted, since such deaths cannot be caused at will in a machine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from pibench import cache, devices
from pibench.errors import HostError
from pibench.targets.base import Job, Outcome, Progress
from pibench.targets.vm import Boot, VmTarget, snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pibench.images.build import Builder
    from pibench.targets.probe_session import ProbeSession

Event = dict[str, Any]
HELLO: Event = {"event": "hello", "machine": {"mem_total_kib": 1_004_972}}
OOM = "Out of memory: Killed process {} (caffe) total-vm:1500000kB"


def work(*names: str) -> list[Job]:
    return [
        Job(
            id=str(index),
            name=name,
            prototxt="",
            weights=None,
            protocol="caffe-time",
            compute="memory-only",
            threads=4,
            timeout_s=60,
            cost_bytes=index + 1,
        )
        for index, name in enumerate(names)
    ]


def start(piece: int) -> Event:
    return {"event": "start", "id": str(piece)}


def result(piece: int, **changes: Any) -> Event:
    fields = {"exit_status": 0, "signal": None, "pid": 300 + piece, "piece": piece}
    return {"event": "result", "id": str(piece), "result": fields | changes}


class Machines:
    """Boots as scripted: each the events that come, and how the boot ends."""

    def __init__(self, *boots: tuple[list[Event], Boot]) -> None:
        self.boots = list(boots)
        self.given: list[list[str]] = []
        self.outcomes: list[Outcome] = []
        self.progress: list[Progress] = []

    def run(self, pieces: list[Job], **options: Any) -> None:
        given, boots = self.given, self.boots

        class Scripted(VmTarget):
            async def boot_once(self, work: Sequence[Job], session: ProbeSession) -> Boot:
                given.append([piece.name for piece in work])
                events, end = boots.pop(0)
                for event in events:
                    if not self.goes_on(session, event):
                        return Boot()
                return end

        target = Scripted(
            devices.load("rpi3b"), cast("Builder", None), **{"machines_at_once": 1} | options
        )
        target.run(pieces, self.outcomes.append, self.progress.append)
        assert not self.boots, "a boot was left over"

    def seen(self) -> list[tuple[str, Any]]:
        """Each network with the number of the result it was given, or how it died."""
        return [
            (outcome.job.name, outcome.result["piece"] if outcome.result else outcome.died)
            for outcome in self.outcomes
        ]


def test_a_boot_that_ends_well_is_the_only_one() -> None:
    machines = Machines(([HELLO, start(0), result(0), start(1), result(1)], Boot()))
    machines.run(work("A", "B"))
    assert machines.seen() == [("A", 0), ("B", 1)]
    assert machines.outcomes[0].machine == HELLO["machine"]
    assert [(p.job.name if p.job else None, p.message) for p in machines.progress] == [
        ("A", "started"),
        ("B", "started"),
    ]


def test_a_dead_guest_costs_the_network_in_flight_alone_and_at_the_second_time() -> None:
    died = Boot(died="the guest sent nothing for 120 s")
    machines = Machines(
        ([HELLO, start(0), result(0), start(1)], died),
        ([HELLO, start(1)], died),
        ([HELLO, start(2), result(2)], Boot()),
    )
    machines.run(work("A", "B", "C"))
    assert machines.seen() == [("A", 0), ("B", died.died), ("C", 2)]
    assert machines.given == [["A", "B", "C"], ["B", "C"], ["C"]]
    assert "the guest sent nothing for 120 s; booting again" in [
        p.message for p in machines.progress
    ]
    assert machines.outcomes[1].machine == HELLO["machine"]


def test_a_network_that_runs_at_the_second_boot_has_its_result() -> None:
    machines = Machines(
        ([HELLO, start(0)], Boot(died="gone")), ([HELLO, start(0), result(0)], Boot())
    )
    machines.run(work("A"))
    assert machines.seen() == [("A", 0)]


def test_a_guest_that_never_comes_up_is_given_up_network_by_network() -> None:
    machines = Machines(*[([], Boot(died="no kernel"))] * 4)
    machines.run(work("A", "B"))
    assert machines.seen() == [("A", "no kernel"), ("B", "no kernel")]
    assert machines.outcomes[0].machine is None


def test_a_death_after_the_last_result_costs_nothing() -> None:
    machines = Machines(([HELLO, start(0), result(0)], Boot(died="gone")))
    machines.run(work("A"))
    assert machines.seen() == [("A", 0)]


def test_the_kernels_word_about_a_kill_is_an_outcome_at_once() -> None:
    line = OOM.format(301)
    machines = Machines(
        ([HELLO, start(0)], Boot(died="the guest stalled", oom_lines=[line])),
        ([HELLO, start(1), result(1)], Boot()),
    )
    machines.run(work("A", "B"))
    assert machines.seen() == [("A", "the guest stalled"), ("B", 1)]
    assert machines.outcomes[0].console_oom_lines == (line,)


def test_a_kill_that_has_its_result_is_not_held_against_the_next_network() -> None:
    killed = result(0, signal=9, exit_status=None, pid=301)
    earlier = OOM.format(301)
    machines = Machines(
        ([HELLO, start(0), killed, start(1)], Boot(died="stalled", oom_lines=[earlier])),
        ([HELLO, start(1), result(1)], Boot()),
    )
    machines.run(work("A", "B"))
    assert machines.seen() == [("A", 0), ("B", 1)]

    own = OOM.format(307)
    machines = Machines(
        ([HELLO, start(0), killed, start(1)], Boot(died="stalled", oom_lines=[earlier, own]))
    )
    machines.run(work("A", "B"))
    assert machines.outcomes[1].console_oom_lines == (own,)


def test_a_lost_frame_never_gives_a_result_to_another_network() -> None:
    machines = Machines(
        # The result of A did not survive the console.
        ([HELLO, start(0), start(1), result(1), start(2), result(2)], Boot()),
        ([HELLO, start(0), result(0)], Boot()),
    )
    machines.run(work("A", "B", "C"))
    assert machines.seen() == [("B", 1), ("C", 2), ("A", 0)]
    assert machines.given[1] == ["A"]


def test_a_death_is_held_against_the_network_that_had_started() -> None:
    line = OOM.format(305)
    machines = Machines(
        ([HELLO, start(0), start(1)], Boot(died="stalled", oom_lines=[line])),
        ([HELLO, start(0), result(0)], Boot()),
    )
    machines.run(work("A", "B"))
    assert machines.seen() == [("B", "stalled"), ("A", 0)]


def test_a_probe_whose_results_are_lost_again_and_again_is_given_up() -> None:
    machines = Machines(*[([HELLO, start(0)], Boot())] * 2)
    machines.run(work("A"))
    assert machines.seen() == [("A", "the probe ended without a result")]


def test_a_result_that_comes_twice_counts_once() -> None:
    machines = Machines(([HELLO, start(0), result(0), result(0), start(1), result(1)], Boot()))
    machines.run(work("A", "B"))
    assert machines.seen() == [("A", 0), ("B", 1)]


@pytest.mark.parametrize(
    ("machine", "given"), [("virt", [["A", "B"]]), ("raspi3b", [["A", "B"], ["B"]])]
)
def test_the_boards_machine_boots_anew_after_a_kill(machine: str, given: list[list[str]]) -> None:
    killed = result(0, signal=9, exit_status=None)
    rest = [start(1), result(1)]
    boots = (
        [([HELLO, start(0), killed, *rest], Boot())]
        if machine == "virt"
        else [([HELLO, start(0), killed], Boot()), ([HELLO, *rest], Boot())]
    )
    machines = Machines(*boots)
    machines.run(work("A", "B"), machine=machine)
    assert machines.seen() == [("A", 0), ("B", 1)]
    assert machines.given == given


def test_machines_at_once_share_the_networks() -> None:
    # The dearer network is first in line for a machine; each machine's work is its own.
    machines = Machines(
        ([HELLO, start(1), result(1)], Boot()), ([HELLO, start(0), result(0)], Boot())
    )
    machines.run(work("A", "B"), machines_at_once=5)
    assert sorted(machines.seen()) == [("A", 0), ("B", 1)]
    assert sorted(machines.given) == [["A"], ["B"]]


def test_a_machine_that_cannot_start_ends_the_others() -> None:
    cancelled: list[str] = []

    class Failing(VmTarget):
        async def boot_once(self, work: Sequence[Job], session: ProbeSession) -> Boot:  # noqa: ARG002
            if work[0].name == "A":
                await asyncio.sleep(0.01)
                raise HostError("QEMU does not start")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(work[0].name)
                raise
            return Boot()

    target = Failing(devices.load("rpi3b"), cast("Builder", None), machines_at_once=2)
    with pytest.raises(HostError, match="QEMU does not start"):
        target.run(work("A", "B"), lambda _: None, lambda _: None)
    assert cancelled == ["B"]


KNOWN: dict[str, dict[str, Any]] = {
    "engine": {"engine_version": "1.0.0", "blas": "OpenBLAS", "blas_core": None},
    "baseline": {
        "exit_status": 0, "peak_rss_bytes": 9, "emulator_rss_bytes": None, "mapped": ["/bin/sh"],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "damaged",
    [
        [],
        {},
        {"engine": []},
        {"engine": {"blas": 3}},
        {"engine": {**KNOWN["engine"], "blas": 3}},
        {"baseline": None},
        {"baseline": {"exit_status": 0}},
        {"baseline": {**KNOWN["baseline"], "mapped": "/bin/sh"}},
        {"baseline": {**KNOWN["baseline"], "mapped": [1]}},
        {"baseline": {**KNOWN["baseline"], "peak_rss_bytes": "9"}},
        {"other": 1},
    ],
)
def test_a_damaged_file_of_known_programs_is_like_none(tmp_path: Path, damaged: Any) -> None:
    path = tmp_path / "vm.json"
    cache.keep_values(path, KNOWN, "is lost")
    assert snapshot.known_programs(path) is not None
    whole = isinstance(damaged, list) or not damaged
    cache.keep_values(path, damaged if whole else {**KNOWN, **damaged}, "is lost")
    assert snapshot.known_programs(path) is None
