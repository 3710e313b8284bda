"""What is lost when a machine dies in the middle: the network in flight, and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from pibench import networks
from pibench.records.store import RecordStore
from pibench.runner.options import RunOptions
from pibench.runner.runner import Runner
from pibench.targets.vm import VmTarget
from tests.emulation.conftest import DEVICE

pytestmark = pytest.mark.emulation


def children_of(pid: int) -> list[int]:
    """The emulated machines that a process has started."""
    children = psutil.Process(pid).children(recursive=True)
    return [child.pid for child in children if child.name().startswith("qemu-system")]


def wait_until(holds, deadline_s: float = 240) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def test_a_machine_that_is_killed_costs_one_boot(builder, tmp_path) -> None:
    target = VmTarget(DEVICE, builder, machines_at_once=1)
    loaded = [networks.load(name) for name in ("SqueezeNet V1.1", "SqueezeNet V1.0", "NIN")]
    store = RecordStore(tmp_path / "records.jsonl")
    killed = []
    # The guest that other tests share does not belong to this test.
    others = set(children_of(os.getpid()))

    def kill_once(progress) -> None:
        if progress.message == "started" and progress.job.name == "SqueezeNet V1.0" and not killed:
            killed.extend(set(children_of(os.getpid())) - others)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    sweep = Runner(target=target, options=RunOptions(), store=store, on_progress=kill_once)
    records = sweep.run(loaded)
    assert killed
    assert [record.verdict for record in records] == ["fit", "fit", "fit"]
    assert len(store.read()) == 3
    assert set(children_of(os.getpid())) <= others


def test_a_network_over_its_time_is_inconclusive_and_the_next_one_runs(builder) -> None:
    target = VmTarget(DEVICE, builder, machines_at_once=1)
    request = RunOptions(compute="real", timeout_s=8)
    loaded = [networks.load(name) for name in ("SqueezeNet V1.1", "AlexNet")]
    records = Runner(target=target, options=request).run(loaded)
    assert records[1].verdict == "inconclusive"
    assert records[1].evidence.timed_out
    assert "deadline" in records[1].evidence.summary


def test_nothing_outlives_a_pibench_that_is_killed(tmp_path) -> None:
    out = tmp_path / "records.jsonl"
    command = [sys.executable, "-m", "pibench", "run", "SqueezeNet V1.1", "ResNet-101"]
    with subprocess.Popen([*command, "--jobs", "1", "--out", str(out)]) as pibench:
        try:
            wait_until(lambda: out.exists() and out.stat().st_size > 0)
            machines = children_of(pibench.pid)
            assert machines
        finally:
            pibench.kill()
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in machines))
    # The network that had ended is on record.
    assert [record.network for record in RecordStore(out).read()] == ["SqueezeNet V1.1"]
