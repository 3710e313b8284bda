"""Verdicts where a container, a cgroup or a watcher limited the process."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from pibench import devices
from pibench.verdict import Decision, Observation, decide

MIB = 2**20
PI = devices.load("rpi3b")
USABLE = PI.usable_bytes
ALLOWANCE = 60 * MIB


def decided(**seen: Any) -> Decision:
    fields: dict[str, Any] = {
        "target": "container",
        "exit_status": 0,
        "peak_rss_bytes": 500 * MIB,
        "swap_used_bytes": 0,
        "oom_counter": 0,
        "memory_limit_bytes": USABLE + ALLOWANCE,
        "allowance_bytes": ALLOWANCE,
        "enforced_by": "cgroup",
        "reached_own_limit": bool(seen.get("oom_counter")),
    }
    return decide(Observation(**fields | seen), PI)


# ---------------------------------------------------------------- three sides


def from_three_sides(*, killed: bool, counted: bool, engine: bool | None) -> Decision:
    return decided(
        exit_status=-9 if killed else 0,
        peak_rss_bytes=USABLE + 30 * MIB if killed else 500 * MIB,
        oom_counter=int(counted),
        container_oom_killed=engine,
        container_exit_code=0,
    )


AGREED = {(False, False, False): "fit", (True, True, True): "no-fit"}


@pytest.mark.parametrize(("killed", "counted", "engine"), list(product([False, True], repeat=3)))
def test_only_sides_that_agree_decide(killed: bool, counted: bool, engine: bool) -> None:
    decision = from_three_sides(killed=killed, counted=counted, engine=engine)
    assert decision.verdict == AGREED.get((killed, counted, engine), "inconclusive")
    summary = decision.evidence.summary
    if (killed, counted, engine) == (True, False, False):
        # They agree that memory was not the reason.
        assert "but the kernel reported nothing about memory" in summary
    elif decision.verdict == "inconclusive":
        assert summary.startswith("the evidence disagrees: the process ")
        assert f"OOMKilled {str(engine).lower()}" in summary
        assert f"counted {int(counted)} kills" in summary
        assert ("the process killed" in summary) is killed
        assert decision.headroom_bytes is None


def test_what_the_engine_does_not_report_contradicts_nothing() -> None:
    assert from_three_sides(killed=True, counted=True, engine=None).verdict == "no-fit"
    assert from_three_sides(killed=False, counted=False, engine=None).verdict == "fit"
    lost = from_three_sides(killed=False, counted=True, engine=None)
    assert lost.verdict == "inconclusive"


def test_the_engine_s_word_alone_does_not_decide_about_a_probe_that_died() -> None:
    died = decided(
        exit_status=None,
        peak_rss_bytes=None,
        oom_counter=None,
        guest_died=True,
        container_exit_code=137,
        container_oom_killed=True,
    )
    assert died.verdict == "inconclusive"
    assert died.evidence.summary == "the probe was lost"
    assert (died.evidence.container_exit_code, died.evidence.container_oom_killed) == (137, True)


def test_all_three_sides_are_in_the_evidence() -> None:
    evidence = from_three_sides(killed=True, counted=True, engine=True).evidence
    assert (evidence.exit_status, evidence.signal, evidence.oom_counter) == (-9, 9, 1)
    assert (evidence.container_exit_code, evidence.container_oom_killed) == (0, True)


# ---------------------------------------------------------------- the allowance


def killed_under(limit_bytes: int, allowance_bytes: int) -> Decision:
    return decided(
        exit_status=-9,
        oom_counter=1,
        peak_rss_bytes=limit_bytes,
        memory_limit_bytes=limit_bytes,
        allowance_bytes=allowance_bytes,
    )


def test_a_limit_is_judged_without_what_is_allowed_on_top() -> None:
    decision = killed_under(USABLE + ALLOWANCE, ALLOWANCE)
    assert decision.verdict == "no-fit"
    # A killed process was seen to hold more than the device has: the cap is higher by so much.
    assert decision.evidence.summary.endswith(
        f"under {USABLE / MIB:.0f} MiB "
        f"(the cap includes {ALLOWANCE / MIB:.0f} MiB for emulator and probe)"
    )
    assert decision.evidence.memory_limit_bytes == USABLE + ALLOWANCE


def test_the_emulator_must_not_have_taken_the_device_s_memory() -> None:
    # The device's own memory alone: of it the emulator took its share.
    decision = killed_under(USABLE, ALLOWANCE)
    assert decision.verdict == "inconclusive"
    assert "less than the" in decision.evidence.summary


def test_within_the_allowance_a_peak_is_judged_by_the_device() -> None:
    fits = decided(peak_rss_bytes=USABLE - 30 * MIB)
    assert fits.verdict == "fit"
    # The cgroup limited it to the device, so the band does not matter.
    close = decided(peak_rss_bytes=USABLE - 5 * MIB)
    assert close.verdict == "fit"
    above = decided(peak_rss_bytes=USABLE + 5 * MIB)
    assert above.verdict == "borderline"
    roomy = decided(peak_rss_bytes=USABLE - 5 * MIB, memory_limit_bytes=USABLE + 2 * ALLOWANCE)
    assert roomy.verdict == "borderline"


def test_headroom_is_that_on_the_device() -> None:
    decision = decided()
    assert decision.headroom_bytes == USABLE - 500 * MIB


# ---------------------------------------------------------------- whose limit a kill was for


OWN_KILL: dict[str, Any] = {
    "exit_status": -9,
    "oom_counter": 1,
    "peak_rss_bytes": USABLE + ALLOWANCE,
    "reached_own_limit": True,
}


@pytest.mark.parametrize("target", ["container", "sysroot"])
@pytest.mark.parametrize(
    ("seen", "message"),
    [
        # The group around it had less, or the machine ran out.
        ({"reached_own_limit": False}, "its own limit is 978 MiB, so another limit was reached"),
        ({"reached_own_limit": False, "peak_rss_bytes": 600 * MIB}, "killed out of memory, at 600"),
        ({"reached_own_limit": None}, "had reached its 978 MiB was not read"),
        # Page cache, or a program beside it, had filled the group.
        ({"peak_rss_bytes": 700 * MIB}, "at 700 MiB: other programs must have used the rest"),
        ({"peak_rss_bytes": None}, "at an unknown size: other programs must have used the rest"),
    ],
)
def test_a_kill_counts_only_at_the_group_s_own_limit(
    target: str, seen: dict[str, Any], message: str
) -> None:
    assert decided(target=target, **OWN_KILL).verdict == "no-fit"
    decision = decided(target=target, **OWN_KILL | seen)
    assert decision.verdict == "inconclusive"
    assert message in decision.evidence.summary
    assert decision.evidence.reached_own_limit is (OWN_KILL | seen)["reached_own_limit"]


def test_what_the_emulator_had_counts_towards_the_group_s_limit() -> None:
    seen = OWN_KILL | {"peak_rss_bytes": USABLE, "emulator_rss_bytes": ALLOWANCE}
    assert decided(**seen).verdict == "no-fit"


@pytest.mark.parametrize(
    ("reference_mib", "verdict"), [(600, "inconclusive"), (899, "inconclusive"), (905, "no-fit")]
)
def test_a_kill_of_what_fits_elsewhere_is_a_contradiction(reference_mib: int, verdict: str) -> None:
    fields: dict[str, Any] = {
        "target": "container", "swap_used_bytes": 0, "memory_limit_bytes": USABLE + ALLOWANCE,
        "allowance_bytes": ALLOWANCE, "enforced_by": "cgroup",
    }  # fmt: skip
    decision = decide(
        Observation(**fields | OWN_KILL), PI, reference_peak_bytes=reference_mib * MIB
    )
    assert decision.verdict == verdict
    contradicted = f"but the same network takes {reference_mib} MiB on the amd64 twin"
    assert (contradicted in decision.evidence.summary) is (verdict == "inconclusive")


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        # No device has such a block.
        ("host allocation of size 1726272432 failed", "no-fit"),
        ("host allocation of size 726272432 failed", "inconclusive"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "inconclusive"),
    ],
)
def test_a_larger_machine_refuses_for_reasons_of_its_own(words: str, verdict: str) -> None:
    decision = decided(exit_status=-6, signal=6, fatal_message=words)
    assert decision.verdict == verdict


# ---------------------------------------------------------------- a sysroot


def test_a_cgroup_enforces_for_a_sysroot_too() -> None:
    killed = {"exit_status": -9, "oom_counter": 1, "peak_rss_bytes": USABLE + 30 * MIB}
    assert decided(target="sysroot", **killed).verdict == "no-fit"
    alone = decided(target="sysroot", enforced_by="watcher", memory_limit_bytes=None, **killed)
    assert alone.verdict == "inconclusive"


def watched(**seen: Any) -> Decision:
    fields: dict[str, Any] = {
        "target": "sysroot",
        "enforced_by": "watcher",
        "memory_limit_bytes": None,
        "allowance_bytes": 0,
        "oom_counter": None,
    }
    return decided(**fields | seen)


def test_what_the_watcher_ended_beyond_the_device_does_not_fit() -> None:
    decision = watched(exit_status=-9, watcher_saw_bytes=USABLE + 20 * MIB)
    assert decision.verdict == "no-fit"
    assert decision.evidence.summary.startswith("stopped by the watcher at 93")
    assert "lower bound" in decision.peak_provenance.reason
    assert decision.headroom_bytes is None


def test_a_watcher_with_another_limit_than_the_device_decides_nothing() -> None:
    decision = watched(exit_status=-9, watcher_saw_bytes=USABLE - MIB)
    assert decision.verdict == "inconclusive"
    assert "usable" in decision.evidence.summary


def test_a_kill_that_the_watcher_knows_nothing_of_decides_nothing() -> None:
    decision = watched(exit_status=-9)
    assert decision.verdict == "inconclusive"
    assert "the kernel reported nothing" in decision.evidence.summary


def test_a_helper_that_the_watcher_ended_decides_nothing_on_the_network() -> None:
    decision = watched(watcher_saw_bytes=USABLE + 20 * MIB)
    assert decision.verdict == "inconclusive"
    assert decision.evidence.summary == "the watcher stopped a child process of it at 938 MiB"


def test_a_process_that_ended_before_the_watcher_struck_has_its_peak() -> None:
    seen = {"watcher_saw_bytes": USABLE + 100 * MIB, "peak_rss_bytes": USABLE + 120 * MIB}
    assert watched(**seen).verdict == "no-fit"


@pytest.mark.parametrize(
    ("peak_mib", "verdict"), [(500, "fit"), (899, "fit"), (918, "borderline"), (938, "no-fit")]
)
def test_what_the_watcher_let_pass_is_judged_by_its_peak(peak_mib: int, verdict: str) -> None:
    assert watched(peak_rss_bytes=peak_mib * MIB).verdict == verdict


def test_a_kill_at_the_deadline_is_not_the_watcher_s() -> None:
    late = watched(exit_status=-9, timed_out=True, watcher_saw_bytes=USABLE + MIB)
    assert late.verdict == "inconclusive"
    assert "deadline" in late.evidence.summary
