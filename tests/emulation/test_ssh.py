"""Target ssh against a real OpenSSH server in an arm64 guest, beside the container's records."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pibench import networks
from pibench.engines.base import Protocol
from pibench.images.build import Builder
from pibench.networks.network import Network
from pibench.records.schema import Record
from pibench.records.store import RecordStore
from pibench.runner.jobs import facts_of, job_of
from pibench.runner.options import RunOptions
from pibench.runner.record import Context, record_of
from pibench.targets.base import Outcome, Target
from pibench.targets.container import ContainerTarget
from pibench.targets.ssh import SshTarget
from pibench.targets.ssh.board import clean, look
from pibench.targets.ssh.connection import Login, parse
from tests.emulation.conftest import DEVICE
from tests.emulation.guests import Guest

pytestmark = pytest.mark.emulation
# More BLAS threads of an emulated board wait for each other on a host with few cores.
THREADS = 1
PROTOCOLS: tuple[Protocol, ...] = ("caffe-time", "inference")


@pytest.fixture(scope="module")
def login(guest: Guest, tmp_path_factory: pytest.TempPathFactory):
    """The guest's key and host key in a home of their own."""
    with pytest.MonkeyPatch.context() as patch:
        from pibench import settings

        home: Path = tmp_path_factory.mktemp("home")
        patch.setenv("PIBENCH_CACHE_DIR", str(settings.cache_dir()))
        patch.setenv("HOME", str(home))
        (home / ".ssh").mkdir(mode=0o700)
        (home / ".ssh/known_hosts").write_text(guest.known_hosts.read_text())
        # The user's own configuration counts: the board goes by a name here.
        (home / ".ssh/config").write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {guest.port}\n  User pi\n"
            f"  IdentityFile {guest.identity}\n"
            f"Host slice\n  HostName 127.0.0.1\n  Port {guest.port_slice}\n  User pi\n"
            f"  IdentityFile {guest.identity}\n"
        )
        yield Login(address=parse("ssh://board"))


def run_both(target: Target, network: Network) -> dict[str, Record]:
    """The network by both protocols in one go, as emulated every start takes its time."""
    works = [
        job_of(
            index,
            network,
            RunOptions(protocol=name, compute="real", threads=THREADS, repeats=1),
        )
        for index, name in enumerate(PROTOCOLS)
    ]
    outcomes: list[Outcome] = []
    target.prepare(works)
    target.run(works, outcomes.append, lambda _: None)
    context = Context(device=DEVICE, target=target)
    records = [record_of(facts_of(network, one.job), one, context, None) for one in outcomes]
    return {one.protocol: one for one in records}


@pytest.fixture(scope="module")
def steps() -> list[str]:
    """Progress messages for the user."""
    return []


@pytest.fixture(scope="module")
def over_ssh(login: Login, steps: list[str], detector: Network) -> dict[str, Record]:
    return run_both(SshTarget(login, Builder(steps.append)), detector)


@pytest.fixture(scope="module")
def in_container(container: ContainerTarget, detector: Network) -> dict[str, Record]:
    return run_both(container, detector)


def reconciled(tmp_path: Path, metrics: str, *records: Record) -> str:
    """What `pibench reconcile` says of two records that are to agree in some metrics."""
    files = []
    for record in records:
        files.append(tmp_path / f"{record.target}.jsonl")
        RecordStore(files[-1]).append(record)
    done = subprocess.run(
        [sys.executable, "-m", "pibench", "reconcile", *files, "--fail-on", metrics],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_both_have_the_same_verdict_and_ram(over_ssh, in_container, tmp_path: Path) -> None:
    first_side, second_side = over_ssh["caffe-time"], in_container["caffe-time"]
    assert first_side.verdict == second_side.verdict == "fit"
    assert first_side.network_rss_bytes == pytest.approx(second_side.network_rss_bytes, rel=0.03)
    reconciled(tmp_path, "verdict,ram=3%", first_side, second_side)


def test_both_compute_the_same(over_ssh, in_container, tmp_path: Path) -> None:
    first_side, second_side = over_ssh["inference"], in_container["inference"]
    assert first_side.verdict == second_side.verdict == "fit"
    assert first_side.outputs
    assert first_side.network_rss_bytes == pytest.approx(second_side.network_rss_bytes, rel=0.03)
    reconciled(tmp_path, "verdict,ram=3%,outputs", first_side, second_side)


def test_a_record_states_whose_caffe_ran_and_that_qemu_is_not_a_board(over_ssh, builder) -> None:
    for record in over_ssh.values():
        guest = record.environment.guest
        assert guest.caffe_origin == "root"
        assert guest.image_lock_digest == builder.lock.digest("arm64")
        assert guest.architecture == "aarch64"
        assert guest.main_id_register.startswith("0x410fd03")
        assert {record.provenance[name].kind for name in ("peak_rss_bytes", "latency_ms")} == {
            "emulated"
        }
        assert "not measured on a board" in record.evidence.notes[0]
        assert record.environment.host.qemu_version is None


@pytest.mark.usefixtures("over_ssh")
def test_another_engine_goes_to_a_board_that_lacks_it(login: Login, small: Network) -> None:
    target = SshTarget(login, Builder())
    options = RunOptions(protocol="inference", engine="ncnn", threads=THREADS, repeats=0)
    work = job_of(0, small, options)
    outcomes: list[Outcome] = []
    target.prepare([work])
    target.run([work], outcomes.append, lambda _: None)
    context = Context(device=DEVICE, target=target)
    record = record_of(facts_of(small, work), outcomes[0], context, None)
    assert (record.verdict, record.engine) == ("fit", "ncnn")
    assert record.environment.guest.caffe_origin == "root"
    assert record.outputs


@pytest.mark.usefixtures("over_ssh")
def test_that_caffe_is_copied_and_stays_is_reported(steps: list[str]) -> None:
    reported = [step for step in steps if "has no Caffe of its own" in step]
    assert len(reported) == 1
    assert "pibench board clean ssh://board" in reported[0]


@pytest.mark.usefixtures("over_ssh")
def test_a_kill_in_a_slice_of_the_board_decides_nothing(builder) -> None:
    """The guest stands for a board with just its memory; its kernel has groups of version 2."""
    target = SshTarget(Login(address=parse("ssh://slice")), builder)
    network = networks.load("VGG 16")
    works = [job_of(0, network, RunOptions(compute="real", threads=THREADS))]
    outcomes: list[Outcome] = []
    target.prepare(works)
    target.run(works, outcomes.append, lambda _: None)
    (outcome,) = outcomes
    machine, result = outcome.machine or {}, outcome.result or {}
    assert machine["memory_limit_bytes"] == 300 * 2**20
    assert (machine["cgroup_memory"]["version"], result["cgroup_memory"]["version"]) == (2, 2)
    assert (result["signal"], result["reached_own_limit"], result["cgroup_oom_kills"]) == (
        9,
        True,
        1,
    )
    board = replace(DEVICE, usable_bytes=machine["mem_total_kib"] * 1024)
    record = record_of(
        facts_of(network, outcome.job), outcome, Context(device=board, target=target), None
    )
    assert record.verdict == "inconclusive"
    assert "in a control group of 300 MiB" in record.evidence.summary


def test_layers_of_forks_are_brought_along(over_ssh, in_container) -> None:
    for records in (over_ssh, in_container):
        for record in records.values():
            notes = " ".join(record.fork_layers)
            assert "Permute: SSD-fork layer, implemented by pibench" in notes


async def found_and_cleaned(login: Login, builder):
    found = await look(login, builder, "inference", None)
    return found, await clean(login, None)


@pytest.mark.usefixtures("over_ssh")
def test_what_is_kept_is_seen_and_removed(login: Login, builder, guest: Guest) -> None:
    assert guest.sh("ls .cache/pibench/roots").split() == [builder.carried().key]
    assert guest.sh("ls .cache/pibench/runs") == ""
    found, removed = asyncio.run(found_and_cleaned(login, builder))
    assert found.problems == []
    assert found.facts["root_is_there"]
    assert removed == (1, 0)
    assert guest.sh("ls -A .cache") == ""
