"""The truth table of the verdict, row by row, and what follows from a verdict."""

from __future__ import annotations

from typing import Any

import pytest

from pibench import devices
from pibench.verdict import BORDERLINE_BAND, Decision, Observation, decide

MIB = 2**20
PI = devices.load("rpi3b")
VIRT_LIMIT = 1_004_972 * 1024  # MemTotal of QEMU's virt with 1024 MiB
OOM = ("Out of memory: Killed process 301 (caffe) total-vm:1500000kB",)
ENDED: dict[str, Any] = {"exit_status": 0, "swap_used_bytes": 0, "peak_rss_bytes": 500 * MIB}
OOM_KILLED: dict[str, Any] = {
    "exit_status": -9,
    "oom_kills": OOM,
    "swap_used_bytes": 0,
    "peak_rss_bytes": 930 * MIB,
    "reached_own_limit": True,
}
# Caffe's own words where malloc gave it nothing; the process then aborts.
REFUSED: dict[str, Any] = {
    "exit_status": -6,
    "signal": 6,
    "fatal_message": "syncedmem.hpp:33] Check failed: *ptr "
    "host allocation of size 1726272432 failed",
    "swap_used_bytes": 0,
    "peak_rss_bytes": 60 * MIB,
}
LIMITS = {"vm": VIRT_LIMIT, "container": PI.usable_bytes, "native": PI.usable_bytes}


def decided(target: Any = "vm", **seen: Any) -> Decision:
    seen.setdefault("memory_limit_bytes", LIMITS.get(target))
    return decide(Observation(target=target, **seen), PI)


ENFORCED_ROWS = [
    ("ended", ENDED, "fit", "ended with 0, peak 500 MiB of 918 MiB usable"),
    ("oom killed", OOM_KILLED, "no-fit", "killed by the kernel, out of memory under"),
    ("137", OOM_KILLED | {"exit_status": 137}, "no-fit", "killed by the kernel"),
    ("signal", OOM_KILLED | {"exit_status": None, "signal": 9}, "no-fit", "killed by the kernel"),
    ("counter", OOM_KILLED | {"oom_kills": (), "oom_counter": 1}, "no-fit", "killed by"),
    ("died after", OOM_KILLED | {"guest_died": True}, "no-fit", "killed by the kernel"),
    ("kill alone", OOM_KILLED | {"oom_kills": ()}, "inconclusive", "the kernel reported nothing"),
    ("counter 0", OOM_KILLED | {"oom_kills": (), "oom_counter": 0}, "inconclusive", "SIGKILL"),
    ("low limit", OOM_KILLED | {"memory_limit_bytes": 512 * MIB}, "inconclusive", "under 512 MiB"),
    ("0 and oom", ENDED | {"oom_kills": OOM}, "inconclusive", "but the kernel reports it killed"),
    ("timeout", ENDED | {"timed_out": True}, "inconclusive", "the deadline passed"),
    ("late kill", OOM_KILLED | {"timed_out": True}, "inconclusive", "the deadline passed"),
    ("died", ENDED | {"guest_died": True}, "inconclusive", "was lost"),
    (
        "died of memory, end unseen",
        {"exit_status": None, "peak_rss_bytes": None, "guest_died": True, "oom_kills": OOM},
        "inconclusive",
        "was lost after the kernel ran out of memory",
    ),
    (
        "unseen",
        ENDED | {"exit_status": None},
        "inconclusive",
        "the end of the process was not observed",
    ),
    (
        "abort",
        ENDED | {"exit_status": -6, "fatal_message": "F0101 net.cpp:1] Check failed"},
        "inconclusive",
        "Caffe aborted: F0101 net.cpp:1] Check failed",
    ),
    ("status 1", ENDED | {"exit_status": 1}, "inconclusive", "ended with status 1"),
    ("segfault", ENDED | {"exit_status": -11}, "inconclusive", "ended with SIGSEGV"),
    ("swap", ENDED | {"swap_used_bytes": 9 * MIB}, "inconclusive", "9 MiB of swap in use"),
    ("swap unread", ENDED | {"swap_used_bytes": None}, "inconclusive", "swap usage was not read"),
    ("refused", REFUSED, "no-fit", "the kernel refused a block of memory under"),
    ("refused, 134", REFUSED | {"exit_status": 134, "signal": None}, "no-fit", "refused a block"),
    ("refused low", REFUSED | {"memory_limit_bytes": 512 * MIB}, "inconclusive", "refused a block"),
    ("refused late", REFUSED | {"timed_out": True}, "inconclusive", "the deadline passed"),
    ("refused, died", REFUSED | {"guest_died": True}, "inconclusive", "was lost"),
    (
        "a size that failed a check of its own",
        REFUSED | {"fatal_message": "blob.cpp:33] Check failed: size 1726272432 overflows"},
        "inconclusive",
        "Caffe aborted: blob.cpp:33]",
    ),
    ("peak unread", ENDED | {"peak_rss_bytes": None}, "inconclusive", "peak RSS was not read"),
]


@pytest.mark.parametrize("target", ["vm", "container", "native"])
@pytest.mark.parametrize(
    ("seen", "verdict", "message"),
    [row[1:] for row in ENFORCED_ROWS],
    ids=[row[0] for row in ENFORCED_ROWS],
)
def test_where_the_kernel_enforces(
    target: str, seen: dict[str, Any], verdict: str, message: str
) -> None:
    decision = decided(target, **seen)
    assert (decision.verdict, message in decision.evidence.summary) == (verdict, True), decision


@pytest.mark.parametrize("target", ["vm", "native"])
def test_a_machine_that_is_the_device_refuses_small_blocks_too(target: str) -> None:
    decision = decided(target, **REFUSED | {"fatal_message": "'std::bad_alloc'"})
    assert decision.verdict == "no-fit"
    limited = decided(
        target, **REFUSED | {"fatal_message": "'std::bad_alloc'", "address_space_bytes": 2**30}
    )
    assert limited.verdict == "inconclusive"
    assert "limited to 1024 MiB (ulimit -v or -d)" in limited.evidence.summary


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        # A server with other programs: they had 400 MiB.
        ({"peak_rss_bytes": 516 * MIB}, "at 516 MiB: other programs must have used the rest"),
        ({"peak_rss_bytes": None}, "at an unknown size"),
        # A slice of systemd, or a container, with less than the board.
        ({"group_limit_bytes": 300 * MIB}, "in a control group of 300 MiB"),
    ],
)
def test_on_a_board_a_kill_counts_only_if_the_network_had_the_memory(
    seen: dict[str, Any], message: str
) -> None:
    assert decided("native", **OOM_KILLED).verdict == "no-fit"
    assert decided("native", **OOM_KILLED, group_limit_bytes=2**30).verdict == "no-fit"
    decision = decided("native", **OOM_KILLED | seen)
    assert (decision.verdict, message in decision.evidence.summary) == ("inconclusive", True), (
        decision
    )


def test_an_emulator_that_ends_before_its_program_decides_nothing() -> None:
    seen = {"exit_status": -11, "signal": 11, "emulator_died": True, "peak_rss_bytes": None}
    decision = decided("sysroot", **seen)
    assert decision.verdict == "inconclusive"
    assert (
        decision.evidence.summary
        == "the emulator ended with SIGSEGV before the network had started"
    )


def test_a_kill_under_an_unknown_limit_decides_nothing() -> None:
    decision = decided("vm", **OOM_KILLED, memory_limit_bytes=None)
    assert decision.verdict == "inconclusive"
    assert decision.evidence.summary == "killed out of memory, under an unknown limit"
    decision = decided("native", **OOM_KILLED, memory_limit_bytes=None)
    assert decision.verdict == "inconclusive"
    assert "does not represent the device" in decision.evidence.summary


def test_a_refusal_under_an_unknown_limit_decides_nothing() -> None:
    decision = decided("vm", **REFUSED, memory_limit_bytes=None)
    assert decision.verdict == "inconclusive"
    assert decision.evidence.summary == "refused a block of memory, under an unknown limit"


def test_a_refused_networks_peak_is_a_lower_bound_and_its_headroom_the_twins() -> None:
    seen = Observation(target="vm", memory_limit_bytes=VIRT_LIMIT, **REFUSED)
    decision = decide(seen, PI, reference_peak_bytes=4000 * MIB)
    assert "lower bound" in decision.peak_provenance.reason
    assert decision.headroom_bytes == PI.usable_bytes - 4000 * MIB
    assert decision.headroom_provenance.kind == "twin"


PEAK_ROWS = [
    (500, "fit", "fit"),
    (889, "fit", "fit"),
    (899, "fit", "fit"),
    (901, "borderline", "borderline"),
    (918, "borderline", "borderline"),
    (936, "borderline", "borderline"),
    (938, "inconclusive", "no-fit"),
    (1064, "inconclusive", "no-fit"),
]


@pytest.mark.parametrize(("peak_mib", "enforced", "elsewhere"), PEAK_ROWS)
def test_the_band_around_the_usable_memory(peak_mib: int, enforced: str, elsewhere: str) -> None:
    seen = ENDED | {"peak_rss_bytes": peak_mib * MIB}
    assert decided("vm", **seen).verdict == enforced
    assert decided("twin", **seen).verdict == elsewhere
    assert decided("native", **seen, memory_limit_bytes=24 * 2**30).verdict == elsewhere


def test_under_the_devices_own_limit_the_kernel_decides_inside_the_band() -> None:
    seen = ENDED | {"peak_rss_bytes": 910 * MIB}
    assert decided("vm", **seen, memory_limit_bytes=PI.usable_bytes).verdict == "fit"
    assert decided("vm", **seen, memory_limit_bytes=VIRT_LIMIT).verdict == "borderline"


@pytest.mark.parametrize(
    ("network", "peak_mib", "verdict"),
    [
        ("ResNet-101", 884, "fit"),
        ("DenseNet-169", 847, "fit"),
        ("Inception-v4", 1025, "no-fit"),
        ("DenseNet-201", 1064, "no-fit"),
        ("DenseNet-201, floor", 983, "no-fit"),
    ],
)
def test_the_networks_next_to_the_limit_on_the_twin(
    network: str, peak_mib: int, verdict: str
) -> None:
    decision = decided("twin", exit_status=0, peak_rss_bytes=peak_mib * MIB)
    assert decision.verdict == verdict, network
    assert decision.headroom_bytes == PI.usable_bytes - peak_mib * MIB
    assert decision.headroom_provenance.kind == "twin"


@pytest.mark.parametrize("target", ["twin", "sysroot"])
@pytest.mark.parametrize(
    "seen",
    [
        OOM_KILLED,
        OOM_KILLED | {"oom_kills": ()},
        ENDED | {"timed_out": True},
        ENDED | {"exit_status": -6, "fatal_message": "F"},
        REFUSED,
        ENDED | {"swap_used_bytes": MIB},
        ENDED | {"peak_rss_bytes": None},
        ENDED | {"exit_status": None},
    ],
)
def test_elsewhere_only_a_clean_end_counts(target: str, seen: dict[str, Any]) -> None:
    assert decided(target, **seen).verdict == "inconclusive"


def test_a_fit_has_its_headroom_from_its_own_peak() -> None:
    decision = decided(**ENDED)
    assert decision.headroom_bytes == PI.usable_bytes - 500 * MIB
    assert decision.headroom_provenance.kind == "emulated"
    assert decision.peak_provenance.kind == "emulated"
    assert "lower bound" not in decision.peak_provenance.reason


def test_a_no_fit_has_its_headroom_from_the_twin_or_not_at_all() -> None:
    without = decided(**OOM_KILLED)
    assert without.headroom_bytes is None
    assert without.headroom_provenance.kind == "unavailable"
    assert "no peak of the amd64 twin" in without.headroom_provenance.reason
    assert "lower bound" in without.peak_provenance.reason

    seen = Observation(target="vm", memory_limit_bytes=VIRT_LIMIT, **OOM_KILLED)
    given = decide(seen, PI, reference_peak_bytes=1486 * MIB)
    assert given.headroom_bytes == PI.usable_bytes - 1486 * MIB
    assert given.headroom_provenance.kind == "twin"
    doubtful = decide(seen, PI, reference_peak_bytes=500 * MIB)
    assert "alone it would fit" in doubtful.headroom_provenance.reason


def test_an_inconclusive_run_has_no_headroom() -> None:
    decision = decided(**ENDED | {"timed_out": True})
    assert decision.headroom_bytes is None
    assert decision.headroom_provenance.kind == "unavailable"


def test_a_peak_nobody_read_is_unavailable() -> None:
    decision = decided(**ENDED | {"peak_rss_bytes": None})
    assert decision.peak_provenance.kind == "unavailable"


def test_the_evidence_contains_all_observations() -> None:
    evidence = decided(**OOM_KILLED, elapsed_seconds=12.5, notes=("one boot",)).evidence
    assert (evidence.exit_status, evidence.signal) == (-9, 9)
    assert evidence.oom_kills == OOM
    assert evidence.memory_limit_bytes == VIRT_LIMIT
    assert evidence.elapsed_seconds == 12.5
    assert evidence.notes == ("one boot",)


def test_a_cgroup_enforces_the_memory_on_any_target() -> None:
    limited = decided("twin", enforced_by="cgroup", exit_status=0, peak_rss_bytes=884 * MIB)
    assert limited.verdict == "inconclusive"  # swap was not read
    assert BORDERLINE_BAND == 0.02


def test_a_block_refused_past_the_device_s_memory_never_fits() -> None:
    refused = "syncedmem.hpp:33] Check failed: *ptr host allocation of size 1726272432 failed"
    device = devices.load("rpi3b")
    verdicts = {
        peak_mib: decide(
            Observation(
                target="twin",
                peak_rss_bytes=peak_mib * 2**20,
                exit_status=-6,
                signal=6,
                fatal_message=refused,
                swap_used_bytes=0,
            ),
            device,
        ).verdict
        for peak_mib in (300, 9000)
    }
    assert verdicts == {300: "inconclusive", 9000: "no-fit"}
