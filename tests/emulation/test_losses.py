"""What is lost when a machine dies in the middle: the network in flight, and no other."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from pibench import networks
from pibench.records.store import RecordStore
from pibench.sweep.run import Sweep
from pibench.sweep.work import Request
from pibench.targets.vm import VmTarget
from tests.emulation.conftest import DEVICE

pytestmark = pytest.mark.emulation


def our_machines() -> list[int]:
    """The emulated machines that this process has started."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid=,comm="], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    rows = [line.split(None, 2) for line in listed]
    return [
        int(pid)
        for pid, parent, name in rows
        if int(parent) == os.getpid() and name.startswith("qemu-system")
    ]


def test_a_machine_that_is_killed_costs_one_boot(builder, tmp_path) -> None:
    target = VmTarget(DEVICE, builder, machines_at_once=1)
    loaded = [networks.load(name) for name in ("SqueezeNet V1.1", "SqueezeNet V1.0", "NIN")]
    store = RecordStore(tmp_path / "records.jsonl")
    killed = []

    def kill_once(progress) -> None:
        if progress.said == "started" and progress.work.name == "SqueezeNet V1.0" and not killed:
            killed.extend(our_machines())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    sweep = Sweep(target=target, request=Request(device=DEVICE), store=store, watched=kill_once)
    records = sweep.run(loaded)
    assert killed
    assert [record.verdict for record in records] == ["fit", "fit", "fit"]
    assert len(store.read()) == 3
    assert our_machines() == []


def test_a_network_over_its_time_is_inconclusive_and_the_next_one_runs(builder) -> None:
    target = VmTarget(DEVICE, builder, machines_at_once=1)
    request = Request(device=DEVICE, compute="real", timeout_s=8)
    loaded = [networks.load(name) for name in ("SqueezeNet V1.1", "AlexNet")]
    records = Sweep(target=target, request=request).run(loaded)
    assert records[1].verdict == "inconclusive"
    assert records[1].evidence.timed_out
    assert "deadline" in records[1].evidence.summary
