"""Verdicts in containers of the real Engine, the cap that they rest on, and what refuses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pibench import networks
from pibench.crosscheck.claims import check_claims, summary
from pibench.images.archive import container_tag
from pibench.records.schema import Record
from pibench.records.store import RecordStore
from pibench.targets import container as container_target
from pibench.targets.container import ContainerTarget
from pibench.targets.container.cell import CapNotInForceError
from pibench.targets.container.engine import connect
from tests.emulation.conftest import DEVICE, run
from tests.emulation.engines import WITHOUT_MEMORY_CGROUP, OwnEngine, own_containers, owned_by

pytestmark = pytest.mark.emulation
MIB = 2**20
PAPER = tuple(entry.name for entry in networks.catalog_entries() if entry.in_paper)
FLOOR = "DenseNet-201-floor"


@pytest.fixture(scope="module")
def records(container, reference, vgg_with) -> dict[str, Record]:
    """All of the paper, the designers' DenseNet-201, and VGG 16 as it is and made to fit."""
    loaded = [networks.load(name) for name in (*PAPER, FLOOR)]
    made = run(container, [*loaded, vgg_with(256)], reference=reference)
    return dict(zip((*PAPER, FLOOR, "VGG, shrunk"), made, strict=True))


def test_all_of_the_paper_comes_out_as_printed(records) -> None:
    total = summary(check_claims(records[name] for name in records if name in PAPER))
    assert (total["verdict"].agreed, total["verdict"].total) == (26, 26), total
    assert total["ram_mb"].compared == 15
    assert total["ram_mb"].mean_absolute_error_pct is not None
    assert total["ram_mb"].mean_absolute_error_pct <= 4


def test_a_network_that_fits_has_its_peak_without_the_emulator_s_share(records) -> None:
    for name in ("SqueezeNet V1.1", "VGG, shrunk"):
        fitting = records[name]
        assert fitting.verdict == "fit"
        assert (fitting.evidence.exit_status, fitting.evidence.signal) == (0, None)
        assert fitting.evidence.oom_counter == 0
        assert 10 * MIB < fitting.emulator_rss_bytes < 60 * MIB
        assert fitting.headroom_bytes == DEVICE.usable_bytes - fitting.peak_rss_bytes
        assert fitting.provenance["peak_rss_bytes"].kind == "emulated"
        assert "of the emulator" in fitting.provenance["peak_rss_bytes"].reason


def test_networks_that_take_little_share_a_container(records, container) -> None:
    shared = [
        name for name, record in records.items() if record.evidence.container_exit_code is None
    ]
    assert len(shared) >= 10
    assert all(records[name].verdict == "fit" for name in shared)
    assert any("was forked" in note for note in records[shared[0]].evidence.notes)
    # By itself it has the same peak, and the Engine's word.
    (alone,) = run(container, [networks.load(shared[0])])
    assert alone.evidence.container_exit_code == 0
    assert alone.evidence.container_oom_killed is False
    assert alone.peak_rss_bytes == pytest.approx(records[shared[0]].peak_rss_bytes, abs=MIB)


WINDOWS = """
name: "windows"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 1500 dim: 1500 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 1 kernel_size: 11 } }
"""
"""Takes 170 MiB, and 3.0 GiB for what its convolution unrolls."""


def test_what_does_not_end_well_among_others_runs_by_itself(
    container, reference, tmp_path: Path
) -> None:
    path = tmp_path / "windows.prototxt"
    path.write_text(WINDOWS)
    names = ("SqueezeNet V1.1", "NIN", "GoogleNet", "AlexNet")
    loaded = [networks.load(str(path)), *(networks.load(name) for name in names)]
    killed, *others = run(container, loaded, reference=reference)
    assert killed.verdict == "no-fit"
    assert killed.evidence.container_exit_code is not None
    assert [record.verdict for record in others] == ["fit"] * 4


def test_a_kill_is_reported_by_three_sides(records) -> None:
    # Under Docker's own 1 GiB the floor variant was seen to pass.
    for name in ("VGG 16", FLOOR, "Inception-V4"):
        killed = records[name]
        assert killed.verdict == "no-fit", killed.evidence
        assert (killed.evidence.exit_status, killed.evidence.signal) == (-9, 9)
        assert killed.evidence.container_oom_killed is True
        assert killed.evidence.oom_counter >= 1
        # The probe outlived its child.
        assert killed.evidence.container_exit_code == 0
        assert killed.headroom_bytes < 0
        assert killed.provenance["headroom_bytes"].kind == "twin"


def test_the_cap_in_the_record_is_the_device_s(records) -> None:
    cores = min(4, len(os.sched_getaffinity(0)))
    for record in records.values():
        limits = record.limits
        assert limits.enforced_by == "cgroup"
        room = limits.allowance.emulator_bytes + limits.allowance.probe_bytes
        wanted = (DEVICE.usable_bytes + room) // 4096 * 4096
        assert limits.asked.memory_bytes == limits.in_force.memory_bytes == wanted
        assert limits.asked.swap_bytes == limits.in_force.swap_bytes == 0
        # Asked for what the device has, given what this machine has.
        assert (limits.asked.cores, limits.in_force.cores) == (4, cores)
        assert (limits.asked.threads, limits.in_force.threads) == (4, cores)
        assert 10_000_000 < limits.allowance.emulator_bytes < 60_000_000
        assert 0 <= limits.allowance.emulator_error_bytes < 15_000_000
        guest = record.environment.guest
        assert guest.architecture == "aarch64"
        # Arm's implementer code, and Cortex-A53's part number.
        assert int(guest.main_id_register, 16) & 0xFF00FFF0 == 0x4100D030
        assert guest.container_image_id.startswith("sha256:")
        assert "cgroup v" in record.environment.host.engine
        assert record.environment.host.qemu_version.startswith("qemu-aarch64 version")


@pytest.mark.usefixtures("records")
def test_a_container_is_left_by_none_of_them() -> None:
    client, _ = connect()
    assert owned_by(client, os.getpid()) == []


def test_a_killed_helper_of_a_program_that_ends_with_0_decides_nothing(
    container, monkeypatch
) -> None:
    program = (
        "import os\n"
        "helper = os.fork()\n"
        "if helper == 0:\n"
        "    b'x' * (3 << 30)\n"
        "    os._exit(0)\n"
        "os.waitpid(helper, 0)\n"
    )
    caffe = [container_target.PYTHON, "-I", "-S", "-c", program]
    monkeypatch.setattr(
        container_target, "PROGRAMS", replace(container_target.PROGRAMS, program=caffe)
    )
    (record,) = run(container, [networks.load("SqueezeNet V1.1")])
    assert record.verdict == "inconclusive"
    assert record.evidence.summary == (
        "the evidence disagrees: the process ended with 0, the Engine reports OOMKilled true, "
        "the cgroup counted 1 kills"
    )
    assert record.evidence.container_exit_code == 0


# ---------------------------------------------------------------- the image


def test_the_image_is_arm64_and_handed_over_once(own_engine: OwnEngine, builder) -> None:
    root = builder.sysroot()
    tag = container_tag(root)
    reported: list[str] = []
    reporting_builder = type(builder)(reported.append)
    handing_over = "handing the image to the Engine"
    with own_engine.client() as client:
        ids = []
        for repeat in range(3):
            ContainerTarget(DEVICE, reporting_builder).prepare([])
            ids.append(client.images.get(tag).id)
            assert client.images.get(tag).attrs["Architecture"] == "arm64"
            assert reported.count(handing_over) == (1, 1, 2)[repeat]
            if repeat == 1:
                client.images.remove(tag, force=True)
        # The same root has the same name everywhere.
        assert len(set(ids)) == 1


# ---------------------------------------------------------------- refused


@pytest.fixture
def engine_without_memory_cgroup(own_engine: OwnEngine) -> OwnEngine:
    if not Path("/sys/fs/cgroup/memory").is_mount():
        pytest.skip("version 2 has one hierarchy for all controllers: none can be taken away")
    own_engine.stop()
    own_engine.start(*WITHOUT_MEMORY_CGROUP)
    yield own_engine
    own_engine.stop()


def test_an_engine_that_discards_the_cap_is_refused(
    engine_without_memory_cgroup: OwnEngine, builder, container, tmp_path: Path
) -> None:
    del container  # The emulator's memory is known: only the cap prevents the run.
    with pytest.raises(CapNotInForceError, match="the container has no limit"):
        run(ContainerTarget(DEVICE, builder), [networks.load("SqueezeNet V1.1")])
    out = tmp_path / "records.jsonl"
    done = pibench("run", "SqueezeNet V1.1", "--target", "container", "--out", out)
    assert done.returncode == 3
    line = done.stderr.splitlines()[-1]
    assert line.startswith("pibench: the memory limit is not in force: ")
    assert "on a Raspberry Pi add cgroup_enable=memory to /boot/cmdline.txt" in line
    assert "Traceback" not in done.stderr
    assert RecordStore(out).read() == []
    with engine_without_memory_cgroup.client() as client:
        assert own_containers(client) == []


def test_an_engine_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/none"
    done = pibench("run", "SqueezeNet V1.1", "--target", "container", DOCKER_HOST=host)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert host in line
    assert "DOCKER_HOST" in line


# ---------------------------------------------------------------- the command line


def test_auto_states_what_it_chose_and_why(tmp_path: Path) -> None:
    # As on a machine without the system emulator.
    for folder in ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        for program in Path(folder).iterdir():
            if program.name != "qemu-system-aarch64" and not (tmp_path / program.name).exists():
                (tmp_path / program.name).symlink_to(program)
    arguments = ("run", "SqueezeNet V1.1", "--target", "auto", "--json")
    done = pibench(*arguments, PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == (
        "pibench: target container: the Engine's cgroup limits it to the device's memory "
        "and cores; not possible here: vm (pibench doctor)"
    )
    (record,) = json.loads(done.stdout)
    assert (record["target"], record["verdict"]) == ("container", "fit")


def pibench(*arguments: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pibench", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=300, env=os.environ | environment,
    )  # fmt: skip
