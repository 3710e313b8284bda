"""Studies against what befalls them: kill -9, a lost Engine, worker, machine, disk and image."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from docker import from_env
from pibench.process import run
from pibench.sweeps.journal import Journal
from pibench.targets.container.engine import OWNER_LABEL, is_orphan
from tests.emulation.engines import OwnEngine

pytestmark = pytest.mark.emulation

KILLS = 12
NETWORK = "SqueezeNet V1.1"


def wait_until(holds, deadline_s: float = 120) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def sweep(*words: object, **env: str) -> subprocess.Popen[str]:
    """`pibench sweep`, with nothing taken from other studies."""
    return subprocess.Popen(
        [sys.executable, "-m", "pibench", "sweep", *map(str, words), "--fresh"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env},
    )


def finished(*words: object, **env: str) -> str:
    """The same to its end, which has to be a good one."""
    with sweep(*words, **env) as pibench:
        out, output = pibench.communicate(timeout=400)
    assert pibench.returncode == 0, output
    return out


def axes(folder: Path, targets: str, batches: int) -> list[object]:
    numbers = ",".join(map(str, range(1, batches + 1)))
    return ["--networks", NETWORK, "--batch", numbers, "--target", targets, "--out", folder]


def keys(folder: Path) -> Counter[str]:
    """How many records each cell has; every line of the journal has to be whole."""
    lines = Journal(folder).store.path.read_bytes().splitlines()
    assert not Journal(folder).read().damaged
    return Counter(json.loads(line)["cell"]["key"] for line in lines)


def mounted() -> set[str]:
    return set(Path("/proc/mounts").read_text().splitlines())


def orphans() -> list[str]:
    """Containers whose pibench has ended."""
    with contextlib.closing(from_env()) as client:
        found = client.api.containers(all=True, filters={"label": OWNER_LABEL})
    return [one["Id"] for one in found if is_orphan(one["Labels"][OWNER_LABEL])]


def emulators() -> set[int]:
    """Emulators that run, orphans included; not those of tests in another worker."""
    own = psutil.Process()
    workers = own.parent().children() if "PYTEST_XDIST_WORKER" in os.environ else []
    others = [worker for worker in workers if worker.pid != own.pid]
    theirs = {one.pid for worker in others for one in worker.children(recursive=True)}
    running = psutil.process_iter(["name"])
    return {one.pid for one in running if "qemu" in one.info["name"]} - theirs


@pytest.mark.usefixtures("container")
def test_a_dozen_kills_lose_no_cell_and_leave_nothing(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # A short name: sockets are made there, whose paths have 108 bytes.
    temporary: Path = tmp_path_factory.mktemp("k")
    env = {"TMPDIR": str(temporary)}
    chance = random.Random(0)  # noqa: S311
    mounts, machines = mounted(), emulators()
    kills = studies = 0
    while kills < KILLS:
        folder = tmp_path / f"study-{studies}"
        studies += 1
        targets = "twin,container,sysroot" + (",vm" if studies == 1 else "")
        asked: list[object] = axes(folder, targets, 2)
        ended = False
        while kills < KILLS and not ended:
            with sweep(*asked, **env) as pibench:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pibench.communicate(timeout=chance.uniform(0.2, 4.0))
                ended = pibench.returncode is not None
                pibench.kill()
            kills += not ended
            if (folder / "study.json").exists():
                asked = ["--resume", "--out", folder]
        finished(*asked, **env)
        count = keys(folder)
        assert len(count) == (8 if studies == 1 else 6)
        assert set(count.values()) == {1}
    print(f"{kills} kills in {studies} studies: every cell has one record")
    assert orphans() == []
    wait_until(lambda: emulators() <= machines)
    wait_until(lambda: mounted() <= mounts)
    assert [path.name for path in temporary.iterdir() if path.name.startswith("pibench-")] == []


def test_a_machine_that_is_killed_is_booted_again(tmp_path: Path) -> None:
    with sweep(*axes(tmp_path / "s", "vm", 1)) as pibench:

        def machine_is_killed() -> bool:
            # Between the guest that writes the snapshot and the one that runs, there is none;
            # one without a kernel only tells its version.
            for child in psutil.Process(pibench.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if child.name().startswith("qemu-system") and "-kernel" in child.cmdline():
                        time.sleep(1)
                        child.kill()
                        return True
            return False

        wait_until(machine_is_killed)
        _, output = pibench.communicate(timeout=300)
    assert pibench.returncode == 0, output
    (record,) = Journal(tmp_path / "s").records()
    assert record.verdict == "fit"
    print("1 QEMU killed: booted again, 1 of 1 cells fit")


def test_an_engine_that_is_killed_costs_no_record(own_engine: OwnEngine, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with sweep(*axes(folder, "container", 5), "--jobs", 1) as pibench:
        wait_until(lambda: Journal(folder).read().verdicts)
        own_engine.signal(signal.SIGKILL)
        _, output = pibench.communicate(timeout=200)
    assert pibench.returncode == 3, output
    assert "cells failed one after another" in output.splitlines()[-1]
    assert "pibench sweep --resume --out" in output.splitlines()[-1]
    assert "Traceback" not in output
    own_engine.start()
    finished("--resume", "--out", folder)
    assert {record.verdict for record in Journal(folder).records()} == {"fit"}
    assert len(Journal(folder).read().verdicts) == 5
    print("1 Docker Engine killed: exit 3, resumed once it ran again, 5 of 5 cells fit")


def test_a_worker_that_is_killed_costs_no_cell(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    dask = [sys.executable, "-m", "dask"]
    where = tmp_path / "scheduler.json"

    def started(*words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*dask, *words, "--scheduler-file", str(where), "--no-dashboard"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env,
        )  # fmt: skip

    def worker() -> subprocess.Popen[bytes]:
        return started("worker", "--no-nanny", "--nthreads", "1", "--resources", "twin=1")

    with contextlib.ExitStack() as running:
        processes = [started("scheduler", "--port", "0", "--host", "127.0.0.1")]
        running.callback(lambda: [one.kill() or one.wait() for one in processes])
        wait_until(where.exists)
        processes += [worker(), worker()]
        address = json.loads(where.read_text())["address"]
        with sweep(*axes(tmp_path / "s", "twin", 8), "--dask", address) as pibench:
            wait_until(lambda: len(Journal(tmp_path / "s").read().verdicts) >= 2)
            processes[1].kill()
            _, output = pibench.communicate(timeout=200)
        assert pibench.returncode == 0, output
    count = keys(tmp_path / "s")
    assert (len(count), set(count.values())) == (8, {1})
    print("1 of 2 Dask workers killed: 8 of 8 cells have one record")


def test_a_full_disk_ends_a_study_that_then_goes_on(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    small = tmp_path / "small"
    small.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", small], deadline_s=10)
    try:
        with sweep(*axes(small / "s", "twin", 8)) as pibench:
            _, output = pibench.communicate(timeout=200)
        assert pibench.returncode == 3, output
        assert "No space left on device" in output.splitlines()[-1]
        before = keys(small / "s")
        assert 0 < len(before) < 8
        run(["mount", "-o", "remount,size=1m", small], deadline_s=10)
        finished("--resume", "--out", small / "s")
        count = keys(small / "s")
        assert (len(count), set(count.values())) == (8, {1})
        assert set(before) <= set(count)
        print(f"1 disk full: exit 3 with {len(before)} of 8 records, resumed, 8 have one record")
    finally:
        run(["umount", small], deadline_s=10)


def test_a_flipped_byte_in_an_image_is_seen_and_repaired(builder, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    original = builder.twin().path
    shutil.copytree(original, cache / "images" / original.name, symlinks=True)
    library = next((cache / "images" / original.name).rglob("libcaffe.so.1.0.0"))
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    library.write_bytes(content)
    with sweep(*axes(tmp_path / "s", "twin", 1), PIBENCH_CACHE_DIR=str(cache)) as pibench:
        _, output = pibench.communicate(timeout=300)
    assert pibench.returncode == 0, output
    assert "the image twin was damaged on the disk and is built again" in output
    (record,) = Journal(tmp_path / "s").records()
    assert record.verdict == "fit"
    # A run of one network does not look at the images unless it fails.
    library.write_bytes(content[: len(content) // 2])
    done = subprocess.run(
        [sys.executable, "-m", "pibench", "run", "NIN", "--target=twin", "--quiet"],
        env={**os.environ, "PIBENCH_CACHE_DIR": str(cache)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "the image twin was damaged on the disk: run it again" in done.stderr
    print("1 byte of an image flipped: detected, built again, 1 of 1 cells fit")


def test_an_inconclusive_cell_is_tried_twice_and_left_for_the_next_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    asked = ["--networks", "ResNet-101", "--target", "twin", "--compute", "real", "--out", folder]
    with sweep(*asked, "--timeout", 1) as pibench:
        _, output = pibench.communicate(timeout=200)
    assert pibench.returncode == 4, output
    (record,) = Journal(folder).records()
    assert record.verdict == "inconclusive"
    assert record.cell.attempt == 2


def test_no_cell_depends_on_its_neighbours(tmp_path: Path) -> None:
    networks = ["--networks", "NIN,VGG 16", "--target", "twin,sysroot"]
    peaks: list[dict[str, tuple[str, int]]] = []
    for jobs in (1, 4):
        folder = tmp_path / f"jobs-{jobs}"
        finished(*networks, "--jobs", jobs, "--out", folder)
        peaks.append(
            {
                record.cell.key: (record.verdict, record.peak_rss_bytes)
                for record in Journal(folder).records()
                if record.cell and record.peak_rss_bytes
            }
        )
    alone, together = peaks
    assert alone.keys() == together.keys()
    assert len(alone) == 4
    worst = max(abs(alone[key][1] / together[key][1] - 1) for key in alone)
    assert all(alone[key][0] == together[key][0] for key in alone)
    assert worst < 0.01
    print(f"4 cells alone and at once: the same verdicts, peaks within {worst:.1%}")
