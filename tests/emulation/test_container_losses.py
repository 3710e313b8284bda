"""What is lost when an Engine stops or pibench is ended: the network in flight, and no more."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker.errors import APIError

from pibench import networks
from pibench.images.archive import container_tag
from pibench.images.build import Builder
from pibench.records.store import RecordStore
from pibench.runner.options import RunOptions
from pibench.runner.runner import Runner
from pibench.targets.container import ContainerTarget, cell, engine
from pibench.targets.container.engine import OWNER_LABEL, EngineLostError, owner_label
from tests.emulation.conftest import DEVICE, run
from tests.emulation.engines import OwnEngine, own_containers, owned_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker import DockerClient
    from pibench.records.schema import Record

pytestmark = pytest.mark.emulation


def wait_until(holds: Callable[[], object], deadline_s: float = 120) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def started(*specs: str | Path, out: Path | None = None) -> subprocess.Popen[str]:
    """`pibench run` of networks in containers, in their order: one at a time, as it is timed."""
    command = [sys.executable, "-m", "pibench", "run", *map(str, specs), "--target", "container"]
    options = ["--compute", "real", *(["--out", str(out)] if out else [])]
    return subprocess.Popen(
        [*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def is_running(client: DockerClient, pid: int) -> bool:
    """Whether a container of that process runs a network (and not only its probe)."""
    for container in owned_by(client, pid):
        # The first is the one that measures the emulator; it may have ended meanwhile.
        with contextlib.suppress(APIError):
            # Not cut to the COLUMNS that the Engine may have inherited.
            processes = client.api.top(container, "-efww")["Processes"] or []
            if any(".prototxt" in " ".join(process) for process in processes):
                return True
    return False


@pytest.mark.usefixtures("container")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_an_engine_that_ends_in_mid_run_costs_the_network_in_flight(
    how: signal.Signals, own_engine: OwnEngine, quick: Path, slow: Path, tmp_path: Path
) -> None:
    builder = Builder()
    ContainerTarget(DEVICE, builder).prepare([])
    out = tmp_path / "records.jsonl"
    # An Engine that is stopped gives containers ten seconds.
    with started(quick, slow, out=out) as pibench:
        wait_until(lambda: out.exists() and out.stat().st_size > 0)
        with own_engine.client() as client:
            wait_until(lambda: is_running(client, pibench.pid))
        own_engine.signal(how)
        _, output = pibench.communicate(timeout=60)
    assert pibench.returncode == 3, output
    line = output.splitlines()[-1]
    assert line.startswith("pibench: the Engine did not answer while a container ran: ")
    assert "pibench doctor says more" in line
    assert "Traceback" not in output
    before, lost = RecordStore(out).read()
    assert (before.network, lost.network) == ("quick", "slow")
    assert (before.verdict, lost.verdict) == ("fit", "inconclusive")
    assert lost.evidence.guest_died
    assert (lost.evidence.container_exit_code, lost.evidence.container_oom_killed) == (None, None)
    assert "the Engine did not answer" in lost.evidence.notes[0]

    own_engine.start()
    (record,) = run(ContainerTarget(DEVICE, builder), [networks.load("SqueezeNet V1.1")])
    assert record.verdict == "fit"
    with own_engine.client() as client:
        assert own_containers(client) == []


@pytest.mark.usefixtures("container")
def test_an_engine_that_hangs_is_given_up_in_time(
    own_engine: OwnEngine, builder, slow: Path, monkeypatch
) -> None:
    # The probe reports something every five seconds.
    monkeypatch.setattr(cell, "SILENCE_DEADLINE_S", 7.0)
    monkeypatch.setattr(engine, "CALL_TIMEOUT_S", 4.0)
    target = ContainerTarget(DEVICE, builder)
    target.prepare([])
    pid = int((own_engine.folder / "pid").read_text())
    records: list[Record] = []
    sweep = Runner(
        target=target,
        options=RunOptions(),
        on_record=records.append,
        on_progress=lambda _: os.kill(pid, signal.SIGSTOP),
    )
    begun = time.monotonic()
    try:
        with pytest.raises(EngineLostError, match="did not answer"):
            sweep.run([networks.load(str(slow))])
    finally:
        os.kill(pid, signal.SIGCONT)
    assert time.monotonic() - begun < 60
    (record,) = records
    assert record.verdict == "inconclusive"
    # What was asked of it while it hung it may do now.
    with own_engine.client() as client:
        for container in owned_by(client, os.getpid()):
            with contextlib.suppress(APIError):
                client.api.remove_container(container, force=True)
        wait_until(lambda: owned_by(client, os.getpid()) == [])


@pytest.mark.usefixtures("container")
def test_the_next_start_sweeps_what_a_dead_owner_left_and_nothing_else(
    own_engine: OwnEngine, builder, slow: Path
) -> None:
    ContainerTarget(DEVICE, builder).prepare([])
    elsewhere = json.loads(owner_label()[OWNER_LABEL]) | {"host": "f" * 16, "pid": 1}
    with own_engine.client() as client:
        image = container_tag(builder.sysroot())
        stay = [
            client.api.create_container(image, labels=labels, platform="linux/arm64")["Id"]
            for labels in (
                owner_label(),
                {},
                {"org.pibench.other": "x"},
                {OWNER_LABEL: json.dumps(elsewhere)},
                {OWNER_LABEL: "not a pibench owner"},
            )
        ]
        try:
            with started(slow) as pibench:
                wait_until(lambda: is_running(client, pibench.pid))
                pibench.kill()
            (left,) = owned_by(client, pibench.pid)
            ContainerTarget(DEVICE, builder).prepare([])
            found = {container["Id"] for container in client.api.containers(all=True)}
            assert left not in found
            assert set(stay) <= found
        finally:
            for container in stay:
                client.api.remove_container(container, force=True)


@pytest.mark.usefixtures("container")
def test_a_container_that_somebody_removes_runs_again(
    own_engine: OwnEngine, builder, slow: Path
) -> None:
    ContainerTarget(DEVICE, builder).prepare([])
    removed: list[str] = []
    with own_engine.client() as client, started(slow) as pibench:
        wait_until(lambda: is_running(client, pibench.pid))
        (first,) = owned_by(client, pibench.pid)
        client.api.remove_container(first, force=True)
        removed.append(first)
        wait_until(lambda: is_running(client, pibench.pid))
        (second,) = owned_by(client, pibench.pid)
        assert second not in removed
        pibench.send_signal(signal.SIGINT)
        pibench.communicate(timeout=30)
    assert os.WEXITSTATUS(pibench.returncode << 8) == 130
