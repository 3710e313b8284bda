"""A bundle, and what a board would write about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pibench import devices, networks
from pibench.bundle.kit import Kit, write_kit
from pibench.probe.results import FORMAT, VERSION, line_of
from pibench.runner.options import RunOptions

MIB = 2**20
PI = devices.load("rpi3b")
POLLED = {"source": "get_throttled", "lag_s": 2.5, "occurred_since": "last look"}
MACHINE: dict[str, Any] = {
    "architecture": "aarch64",
    "blas": "OpenBLAS 0.3.13",
    "blas_core": "cortexa53",
    "board": "Raspberry Pi 3 Model B Rev 1.2",
    "caffe_lock": None,
    "caffe_origin": "system",
    "caffe_version": "caffe version 1.0.0",
    "cores": 4,
    "cores_usable": 4,
    "cpu": "0xd03",
    "governor": "ondemand",
    "huge_pages": False,
    "kernel": "5.10.103-v8+",
    "main_id_register": 0x410FD034,
    "mem_total_kib": 940_500,
    "python": "3.5.2",
    "swap_total_kib": 0,
    "throttle": POLLED,
    "unavailable": {},
}


def reading(time_s: float, **changes: Any) -> dict[str, Any]:
    fields = {
        "time_s": time_s, "throttled_bits": 0, "clock_hz": 1_200_000_000, "temperature_c": 50.0,
        "swapped_bytes": 0,
    }  # fmt: skip
    return fields | changes


def result(**changes: Any) -> dict[str, Any]:
    """Return what a board's probe reports about a successful `caffe time`."""
    fields = {
        "pid": 301,
        "exit_status": 0,
        "signal": None,
        "timed_out": False,
        "peak_rss_bytes": 130 * MIB,
        "emulator_rss_bytes": None,
        "swap_used_bytes": 0,
        "elapsed_ms": 1500.0,
        "oom_lines": [],
        "oom_kills": 0,
        "cgroup_oom_kills": None,
        "fatal_message": None,
        "complaint": None,
        "log_tail": [],
        "readings": [reading(10.0), reading(12.0), reading(15.0)],
        "baseline": {"exit_status": 0, "peak_rss_bytes": 57 * MIB, "emulator_rss_bytes": None},
        "caffe_time": {
            "layers": [["conv1", "forward", 12.5], ["conv1", "backward", 30.0]],
            "totals": {"forward": 812.75, "backward": 900.0},
        },
    }
    return fields | changes


def started(network: str) -> dict[str, Any]:
    return {"event": "start", "id": network, "unix_s": 1_700_000_000.0, "load_1_minute": 0.2}


def whole_run(kit: str) -> list[dict[str, Any]]:
    """The entries of a run of both networks."""
    return [
        {"event": "begin", "format": FORMAT, "version": VERSION, "kit": kit},
        {"event": "machine", "machine": MACHINE, "unix_s": 1_700_000_000.0},
        started("0"),
        {"event": "result", "id": "0", "result": result()},
        started("1"),
        {"event": "result", "id": "1", "result": result(peak_rss_bytes=90 * MIB)},
        {"event": "end", "finished": ["0", "1"]},
    ]


def lines_of(entries: list[dict[str, Any]], kit: str) -> list[bytes]:
    """Entries as a board writes them, their digests right."""
    lines, digest = [], kit
    for entry in entries:
        digest, line = line_of(digest, entry)
        lines.append(line)
    return lines


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(cache))


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Kit:
    """NIN and SqueezeNet V1.1 under caffe-time, for a board with a Caffe of its own."""
    loaded = [networks.load("NIN"), networks.load("SqueezeNet V1.1")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIBENCH_CACHE_DIR", str(cache))
        return write_kit(
            loaded,
            RunOptions(compute="real"),
            tmp_path_factory.mktemp("kit") / "pi-kit.tar.gz",
            root=None,
        )


@pytest.fixture
def results(kit: Kit, tmp_path: Path) -> Callable[..., Path]:
    """A file of results with these entries, of a whole run if none are given."""

    def write(entries: list[dict[str, Any]] | None = None) -> Path:
        path = tmp_path / "pi-results.jsonl"
        entries = whole_run(kit.digest) if entries is None else entries
        path.write_bytes(b"".join(lines_of(entries, kit.digest)))
        return path

    return write
