"""Verdicts of processes of qemu-user over the unpacked root, in a cgroup or watched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pibench
from pibench import networks
from pibench.images.build import Builder
from pibench.networks.network import Network
from pibench.records.schema import Record
from pibench.records.store import RecordStore
from pibench.runner.options import RunOptions
from pibench.runner.runner import Runner
from pibench.targets.base import Outcome
from pibench.targets.memory_groups import OwnFolder, available_grouping, own_folder
from pibench.targets.sysroot import SysrootTarget
from tests.emulation.conftest import DEVICE, run

pytestmark = pytest.mark.emulation
MIB = 2**20
NAMES = ("SqueezeNet V1.1", "VGG 16", "DenseNet-201-floor")


def own_groups() -> list[Path]:
    """What this process left of its cgroups."""
    own = own_folder()
    return sorted(own.parent.glob(f"pibench-*-{os.getpid()}-*")) if own else []


def by_name(records: list[Record]) -> dict[str, Record]:
    return dict(zip((*NAMES, "VGG, shrunk"), records, strict=True))


def test_a_cgroup_ends_what_does_not_fit(builder, reference, vgg_with) -> None:
    if available_grouping() is None:
        pytest.skip("this user may make no cgroup")
    target = SysrootTarget(DEVICE, builder)
    loaded = [*map(networks.load, NAMES), vgg_with(256)]
    records = by_name(run(target, loaded, reference=reference))
    assert own_groups() == []
    verdicts = {name: record.verdict for name, record in records.items()}
    assert verdicts == dict(zip(records, ("fit", "no-fit", "no-fit", "fit"), strict=True))
    for record in records.values():
        limits = record.limits
        assert limits.enforced_by == "cgroup"
        room = limits.allowance.emulator_bytes + limits.allowance.probe_bytes
        wanted = (DEVICE.usable_bytes + room) // 4096 * 4096
        assert limits.asked.memory_bytes == limits.in_force.memory_bytes == wanted
        assert limits.in_force.swap_bytes == 0
        assert 10_000_000 < limits.allowance.emulator_bytes < 60_000_000
        assert record.environment.host.qemu_version.startswith("qemu-aarch64 version")
        assert record.environment.host.engine is None
    for name in ("VGG 16", "DenseNet-201-floor"):
        evidence = records[name].evidence
        assert (evidence.signal, evidence.oom_counter) == (9, 1)
        assert "killed by the kernel, out of memory under" in evidence.summary
        assert records[name].headroom_bytes < 0


def test_an_image_written_again_leaves_the_memory_as_it_was(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a restored cache is: recent kernels map more of a file that was just written.
    images = builder.sysroot().path.parent
    own = tmp_path / "images"
    own.mkdir()
    for path in images.iterdir():
        if path.suffix != ".lock" and not path.name.startswith("sysroot"):
            (own / path.name).symlink_to(path)
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path))
    ran = []
    for _ in range(2):
        (place,) = (path for path in images.glob("sysroot-*") if path.is_dir())
        shutil.rmtree(own / place.name, ignore_errors=True)
        shutil.copytree(place, own / place.name, symlinks=True)
        target = SysrootTarget(DEVICE, Builder(), processes_at_once=1)
        ran += run(target, [networks.load("SqueezeNet V1.1")])
    assert len(list((tmp_path / "calibrations").glob("sysroot-*.json"))) == 1
    assert ran[1].peak_rss_bytes == pytest.approx(ran[0].peak_rss_bytes, abs=MIB)


def test_a_watcher_ends_what_does_not_fit(builder, reference, vgg_with) -> None:
    target = SysrootTarget(DEVICE, builder, use_cgroup=False)
    loaded = [*map(networks.load, NAMES), vgg_with(256)]
    records = by_name(run(target, loaded, reference=reference))
    verdicts = {name: record.verdict for name, record in records.items()}
    assert verdicts == dict(zip(records, ("fit", "no-fit", "no-fit", "fit"), strict=True))
    for record in records.values():
        assert record.limits.enforced_by == "watcher"
        assert record.limits.asked.memory_bytes == DEVICE.usable_bytes
        # Only the watcher enforces that.
        assert record.limits.in_force.memory_bytes is None
    for name in ("VGG 16", "DenseNet-201-floor"):
        evidence = records[name].evidence
        assert evidence.signal == 9
        assert not evidence.oom_counter
        assert evidence.summary.startswith("stopped by the watcher at ")
        had_mib = int(evidence.summary.split()[5])
        assert DEVICE.usable_bytes < had_mib * MIB < DEVICE.usable_bytes + 250 * MIB
    assert records["SqueezeNet V1.1"].evidence.exit_status == 0


def test_a_forked_network_has_the_memory_of_one_that_was_started_by_itself(builder) -> None:
    """Its peak, what its group is charged, and the emulator's memory; each has its own limit."""
    if not isinstance(available_grouping(), OwnFolder):
        pytest.skip("this user may make no cgroup by hand")
    loaded = [networks.load(name) for name in ("SqueezeNet V1.1", "GoogleNet", "ResNet-101")]
    target = SysrootTarget(DEVICE, builder, processes_at_once=1)
    outcomes: dict[str, list[Outcome]] = {}

    def records_of(some: list[Network]) -> list[Record]:
        options = RunOptions(device=DEVICE.id, target="sysroot", compute="memory-only")
        return Runner(
            target=target,
            options=options,
            on_outcome=lambda one: outcomes.setdefault(one.job.name, []).append(one),
        ).run(some)

    # The first run reads files, which its group is charged for.
    records_of(loaded[:1])
    outcomes.clear()
    together = records_of(loaded)
    alone = [record for one in loaded for record in records_of([one])]
    assert own_groups() == []
    for forked, single in zip(together, alone, strict=True):
        assert "forked from the program" in " ".join(forked.evidence.notes)
        assert "forked" not in " ".join(single.evidence.notes)
        assert forked.verdict == single.verdict == "fit"
        assert forked.limits.asked == single.limits.asked
        assert forked.limits.in_force == single.limits.in_force
        # Small peaks move by this much with the length of the model's path.
        assert forked.peak_rss_bytes == pytest.approx(single.peak_rss_bytes, abs=0.6 * MIB)
        assert forked.baseline_rss_bytes == single.baseline_rss_bytes
        # A fork does not copy the emulator's pages of files, up to 7 MiB.
        assert 0 <= single.emulator_rss_bytes - forked.emulator_rss_bytes < 8 * MIB
    for pair in outcomes.values():
        charged = [int((one.result or {})["cgroup_memory"]["peak"]) for one in pair]
        assert len(charged) == 2
        # The peaks may differ as above, and the kernel charges 64 pages ahead on each of two CPUs.
        assert charged[0] == pytest.approx(charged[1], abs=(0.6 + 0.5) * MIB)


def test_both_ways_measure_the_same(builder) -> None:
    loaded = [networks.load("NIN")]
    grouped, watched = (
        run(SysrootTarget(DEVICE, builder, use_cgroup=use), loaded)[0] for use in (True, False)
    )
    assert watched.network_rss_bytes == pytest.approx(grouped.network_rss_bytes, rel=0.02)
    assert watched.peak_rss_bytes == pytest.approx(grouped.peak_rss_bytes, rel=0.02)


def as_nobody() -> list[str]:
    """A Python with pibench that an unprivileged user may run; skips where there is none."""
    if os.geteuid() != 0:
        pytest.skip("every other test shows it")
    found = [sys.executable, *filter(None, [shutil.which("python3", path="/usr/bin:/bin")])]
    libraries = f"{Path(pibench.__file__).parent.parent}:{sysconfig.get_path('purelib')}"
    for python in found:
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        # By a shell: what setpriv runs itself it may still find as root.
        command = [*nobody, "sh", "-c", 'exec "$@"', "sh", "env", f"PYTHONPATH={libraries}", python]
        tried = subprocess.run(
            [*command, "-m", "pibench", "schema"], check=False, capture_output=True, cwd="/"
        )
        if tried.returncode == 0:
            return command
    pytest.skip("another user may not read this checkout")


@pytest.fixture
def cache_of_nobody(builder) -> Iterator[Path]:
    """The images that a sysroot takes, readable and writable for an unprivileged user."""
    # pytest's own folder is closed to others.
    cache = Path(tempfile.mkdtemp(prefix="pibench-test-"))
    images = cache / "images"
    images.mkdir()
    needed = (builder.sysroot().content, builder.twin().content, builder.blas("arm64").parent)
    for content in needed:
        copy = ["cp", "-a", "--reflink=auto", str(content.parent), str(images)]
        subprocess.run(copy, check=True)
    subprocess.run(["chown", "-R", "65534:65534", str(cache)], check=True)
    yield cache
    shutil.rmtree(cache)


def test_neither_root_nor_a_cgroup_is_needed(cache_of_nobody: Path) -> None:
    out = cache_of_nobody / "records.jsonl"
    arguments = ["run", "SqueezeNet V1.1", "VGG 16", "--target", "sysroot", "--out", str(out)]
    done = subprocess.run(
        [*as_nobody(), "-m", "pibench", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd="/",
        env=os.environ | {"PIBENCH_CACHE_DIR": str(cache_of_nobody)},
    )
    assert done.returncode == 0, done.stderr
    records = RecordStore(out).read()
    assert {record.network: record.verdict for record in records} == {
        "SqueezeNet V1.1": "fit",
        "VGG 16": "no-fit",
    }
    assert {record.limits.enforced_by for record in records} == {"watcher"}


def test_a_cgroup_that_a_dead_process_left_is_swept(builder) -> None:
    own = own_folder()
    if own is None or not os.access(own.parent, os.W_OK):
        pytest.skip("this user may make no cgroup by hand")
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    # A process's number means something in its own namespace alone.
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    left, foreign = (
        own.parent / f"pibench-{space}-{gone.pid}-0" for space in (namespace, namespace + 1)
    )
    left.mkdir()
    foreign.mkdir()
    SysrootTarget(DEVICE, builder).prepare([])
    assert not left.exists()
    assert foreign.exists()
    foreign.rmdir()
