"""Whole records: one to be changed field by field, and a run of the paper's 26 networks."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

from pibench import devices, networks
from pibench.records.schema import (
    RESULT_FIELDS,
    Environment,
    Evidence,
    HostEnvironment,
    LayerTime,
    Limits,
    LimitSet,
    Provenance,
    Record,
)
from pibench.verdict import Observation, decide

MIB = 2**20


NO_EMULATOR = Provenance(kind="unavailable", reason="no emulator was seen in the process")


def record(**changes: Any) -> Record:
    """A valid record; keyword arguments replace its fields."""
    fields: dict[str, Any] = {
        "network": "AlexNet",
        "network_sha256": "a" * 64,
        "network_source": "zoo",
        "parameter_count": 60_965_224,
        "weights_file_bytes": 243_860_896,
        "device": "rpi3b",
        "target": "vm",
        "machine": "virt",
        "protocol": "caffe-time",
        "compute": "real",
        "verdict": "fit",
        "evidence": Evidence(summary="ended with 0", exit_status=0),
        "peak_rss_bytes": 554 * MIB,
        "baseline_rss_bytes": 57 * MIB,
        "emulator_rss_bytes": None,
        "network_rss_bytes": 497 * MIB,
        "headroom_bytes": 364 * MIB,
        "latency_ms": 3200.0,
        "layers": (LayerTime(name="conv1", type="Convolution", forward_ms=12.5),),
        "environment": Environment(
            host=HostEnvironment(
                pibench_version="0.1.0",
                python_version="3.11.7",
                kernel="Linux 6.1.0",
                architecture="x86_64",
            )
        ),
        "provenance": {name: Provenance(kind="emulated") for name in RESULT_FIELDS}
        | {
            "outputs": Provenance(kind="unavailable", reason="caffe time keeps no outputs"),
            "emulator_rss_bytes": NO_EMULATOR,
        },
    }
    fields |= changes
    if "verdict" not in changes and fields["evidence"].exit_status != 0:
        # What did not come to its end never fits.
        fields["verdict"] = "inconclusive"
    return Record(**fields)


PAPER_RUN = Path(__file__).with_name("paper_run.csv")
PI = devices.load("rpi3b")
VIRT_LIMIT_BYTES = 1_004_972 * 1024
BASELINE_BYTES = 57 * MIB


def _run_of(line: dict[str, str]) -> Record:
    """A network in the VM with real compute: ended, or killed at 900 MiB."""
    ended = bool(line["vm_peak_mib"])
    peak_bytes = int(line["vm_peak_mib"] or 900) * MIB
    seen = Observation(
        target="vm",
        exit_status=0 if ended else -9,
        oom_kills=() if ended else ("Out of memory: Killed process 301 (caffe)",),
        peak_rss_bytes=peak_bytes,
        swap_used_bytes=0,
        memory_limit_bytes=VIRT_LIMIT_BYTES,
    )
    decision = decide(seen, PI, reference_peak_bytes=int(line["twin_peak_mib"]) * MIB)
    nothing = Provenance(kind="unavailable", reason="emulated time is never a Pi time")
    limits = LimitSet(memory_bytes=VIRT_LIMIT_BYTES, swap_bytes=0, cores=4, threads=4)
    return record(
        network=line["network"],
        parameter_count=int(line["parameters"]),
        weights_file_bytes=1000 * int(line["weights_file_kb"]),
        verdict=decision.verdict,
        evidence=decision.evidence,
        peak_rss_bytes=peak_bytes,
        baseline_rss_bytes=BASELINE_BYTES,
        network_rss_bytes=peak_bytes - BASELINE_BYTES,
        headroom_bytes=decision.headroom_bytes,
        latency_ms=None,
        layers=(),
        limits=Limits(in_force=limits),
        provenance={name: Provenance(kind="emulated") for name in RESULT_FIELDS}
        | {name: Provenance(kind="computed") for name in ("parameter_count", "weights_file_bytes")}
        | dict.fromkeys(("latency_ms", "layers", "outputs"), nothing)
        | {
            "headroom_bytes": decision.headroom_provenance,
            "peak_rss_bytes": decision.peak_provenance,
            "emulator_rss_bytes": NO_EMULATOR,
        },
    )


def paper_run() -> list[Record]:
    """All 26 networks as they came out of the VM, in the paper's order."""
    with PAPER_RUN.open(encoding="utf-8", newline="") as file:
        return [_run_of(line) for line in csv.DictReader(file)]


def of_the_zoo(one: Record) -> Record:
    """The record with the hash that its network has in the zoo: it can be planned then."""
    return one.model_copy(update={"network_sha256": _sha256(one.network)})


@cache
def _sha256(name: str) -> str:
    return networks.load(name).sha256


def probe_reading(time_s: float, **changes: Any) -> dict[str, Any]:
    """What a machine without a Raspberry Pi's files reports about its state."""
    fields = {
        "time_s": time_s, "throttled_bits": None, "clock_hz": None, "temperature_c": None,
        "swapped_bytes": 0,
    }  # fmt: skip
    return fields | changes


def probe_result(**changes: Any) -> dict[str, Any]:
    """A `result` of the probe: `caffe time` that ended well."""
    fields = {
        "pid": 301,
        "exit_status": 0,
        "signal": None,
        "timed_out": False,
        "peak_rss_bytes": 300 * MIB,
        "emulator_rss_bytes": None,
        "swap_used_bytes": 0,
        "elapsed_ms": 1500.0,
        "user_ms": 1400.0,
        "oom_lines": [],
        "oom_kills": 0,
        "fatal_message": None,
        "complaint": None,
        "log_tail": [],
        "readings": [probe_reading(10.0), probe_reading(12.0), probe_reading(15.0)],
        "cgroup_oom_kills": None,
        "baseline": {"exit_status": 0, "peak_rss_bytes": 57 * MIB, "emulator_rss_bytes": None},
        "caffe_time": {
            "layers": [
                ["conv1", "forward", 12.5],
                ["conv1", "backward", 30.0],
                ["conv1_split", "forward", 0.5],
            ],
            "totals": {"forward": 812.75, "backward": 900.0},
        },
    }
    return fields | changes
