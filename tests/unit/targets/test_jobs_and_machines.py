"""Sharing of work, the job's folder, the machines' command lines, the sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pibench import devices, process
from pibench.targets import sandbox
from pibench.targets.base import Job, LayerBlob
from pibench.targets.emulation import cpu_report_program
from pibench.targets.job import (
    CPU_REPORT,
    Libraries,
    Programs,
    byte_code_of_probe,
    write_job,
)
from pibench.targets.vm import snapshot
from pibench.targets.vm.machine import (
    JOB_DISK_BYTES,
    MACHINES,
    Files,
    accelerator_for,
    aio_for,
    command_line,
)
from pibench.targets.worker_pool import partition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pibench.target_kinds import Machine as MachineName


def piece(name: str, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "id": name,
        "name": name,
        "prototxt": f'name: "{name}"\n',
        "weights": None,
        "protocol": "caffe-time",
        "compute": "real",
        "threads": 4,
        "timeout_s": 60.0,
    }
    return Job(**fields | changes)


# ---------------------------------------------------------------- sharing


@given(st.lists(st.integers(min_value=1, max_value=10**9), max_size=30), st.integers(1, 9))
def test_shares_contain_every_piece_once_and_are_balanced(costs: list[int], parts: int) -> None:
    work = [piece(str(index), cost_bytes=cost) for index, cost in enumerate(costs)]
    shares = partition(work, parts)
    assert sorted(int(p.id) for pieces in shares for p in pieces) == list(range(len(costs)))
    assert len(shares) == min(parts, len(costs))
    sums = [sum(p.cost_bytes for p in pieces) for pieces in shares]
    assert not sums or max(sums) - min(sums) <= max(costs)
    for pieces in shares:
        assert [p.cost_bytes for p in pieces] == sorted(p.cost_bytes for p in pieces)


def test_what_is_killed_costs_no_more_than_what_fills_the_machine() -> None:
    work = [piece(str(index), cost_bytes=cost) for index, cost in enumerate((9, 8, 1, 1, 1))]
    shares = partition(work, 2, most_bytes=3)
    assert [sum(min(p.cost_bytes, 3) for p in pieces) for pieces in shares] == [5, 4]
    costs = [[p.cost_bytes for p in pieces] for pieces in shares]
    assert costs == [[1, 1, 9], [1, 8]]
    assert [len(pieces) for pieces in partition(work, 2)] == [2, 3]


# ---------------------------------------------------------------- the job's folder

PROGRAMS = Programs(program=["/usr/bin/caffe"], python=["/usr/bin/python3"])


def test_layers_whose_values_are_asked_for_are_in_a_file(tmp_path: Path) -> None:
    blob = LayerBlob(name="y", shape=(1, 2), inside="r", index=1, layer="r", type="ReLU")
    path = write_job(tmp_path / "job", [piece("0", layers=(blob,))], PROGRAMS, Libraries())
    (item,) = json.loads(path.read_text())["items"]
    (listed,) = json.loads((path.parent / item["layers"]).read_text())
    assert listed.items() >= {
        "name": "y", "inside": "r", "top": 0, "index": 1, "layer": "r", "type": "ReLU",
    }.items()  # fmt: skip
    assert listed["shape"] == [1, 2]


def test_the_job_contains_all_that_the_probe_reads(tmp_path: Path) -> None:
    work = [piece("0", compute="memory-only"), piece("1", protocol="inference", seed=7, repeats=3)]
    path = write_job(tmp_path / "job", work, PROGRAMS, Libraries())
    job = json.loads(path.read_text())
    (programs,) = job["programs"]
    assert programs["program"] == ["/usr/bin/caffe"]
    assert (programs["address_space_bytes"], programs["env"]) == (None, {})
    first, second = job["items"]
    assert first["compute"] == "memory-only"
    assert (path.parent / first["model"]).read_text() == 'name: "0"\n'
    assert second == {
        "id": "1",
        "model": "models/1.prototxt",
        "layers": None,
        "weights": None,
        "protocol": "inference",
        "compute": "real",
        "threads": 4,
        "timeout_s": 60.0,
        "iterations": 1,
        "warmup": 1,
        "repeats": 3,
        "seed": 7,
        "inputs": None,
        "ends": None,
        "keep": [],
        "preload": [],
        "env": {},
    }
    assert (path.parent / "probe/run.py").read_text().startswith("#!/usr/bin/env python3")


def test_the_memory_only_blas_comes_along(tmp_path: Path) -> None:
    blas = tmp_path / "libpibench_blas.so"
    blas.write_bytes(b"ELF")
    work = [piece("0", compute="memory-only")]
    job = write_job(tmp_path / "job", work, PROGRAMS, Libraries(memory_only=blas))
    assert (job.parent / "libpibench_blas.so").read_bytes() == b"ELF"
    written = json.loads(job.read_text())
    assert [item["preload"] for item in written["items"]] == [["libpibench_blas.so"]]
    assert written["why_no_loops"] is None


def test_so_do_the_stand_ins_for_loops_beside_it_or_the_reason_why_not(tmp_path: Path) -> None:
    blas, loops = tmp_path / "libpibench_blas.so", tmp_path / "libpibench_loops.so"
    for library in (blas, loops):
        library.write_bytes(library.name.encode())
    libraries = Libraries(memory_only=blas)
    work = [piece("0", compute="memory-only")]
    job = write_job(tmp_path / "with", work, PROGRAMS, libraries)
    (item,) = json.loads(job.read_text())["items"]
    assert item["preload"] == ["libpibench_blas.so", "libpibench_loops.so"]
    assert (job.parent / "libpibench_loops.so").read_bytes() == b"libpibench_loops.so"
    loops.unlink()
    (tmp_path / "why_no_loops.txt").write_text("their check failed\n")
    job = write_job(tmp_path / "without", work, PROGRAMS, libraries)
    written = json.loads(job.read_text())
    assert written["items"][0]["preload"] == ["libpibench_blas.so"]
    assert written["why_no_loops"] == "their check failed"


def test_the_layers_of_forks_are_preloaded_after_the_blas_where_a_network_has_some(
    tmp_path: Path,
) -> None:
    blas, forks = tmp_path / "libpibench_blas.so", tmp_path / "libpibench_layers.so"
    for library in (blas, forks):
        library.write_bytes(b"ELF")
    work = [piece("0", compute="memory-only", fork_layers=True), piece("1")]
    libraries = Libraries(memory_only=blas, fork_layers=forks)
    job = write_job(tmp_path / "job", work, PROGRAMS, libraries)
    items = json.loads(job.read_text())["items"]
    assert [item["preload"] for item in items] == [[blas.name, forks.name], []]


def test_everybody_may_read_the_job_with_any_umask(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"w" * 10)
    weights.chmod(0o600)
    job = write_job(tmp_path / "job", [piece("0", weights=weights)], PROGRAMS, Libraries())
    for path in [job.parent, *job.parent.rglob("*")]:
        wanted = 0o555 if path.is_dir() else 0o444
        assert path.stat().st_mode & wanted == wanted, path


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_the_users_weights_keep_their_rights(mode: int, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"w" * 10)
    weights.chmod(mode)
    write_job(tmp_path / "job", [piece("0", weights=weights)], PROGRAMS, Libraries())
    assert weights.stat().st_mode & 0o777 == mode


def test_readable_weights_get_a_second_name_rather_than_a_copy(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"w" * 10)
    weights.chmod(0o644)
    link = tmp_path / "link"
    link.symlink_to(weights)
    job = write_job(tmp_path / "job", [piece("0", weights=link)], PROGRAMS, Libraries())
    (item,) = json.loads(job.read_text())["items"]
    assert (job.parent / item["weights"]).samefile(weights)
    assert not (job.parent / item["weights"]).is_symlink()


def test_weights_of_another_file_system_are_copied(tmp_path: Path) -> None:
    other = Path("/dev/shm")  # noqa: S108
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system here")
    with tempfile.NamedTemporaryFile(dir=other) as weights:
        weights.write(b"w" * 10)
        weights.flush()
        Path(weights.name).chmod(0o644)
        pieces = [piece("0", weights=Path(weights.name))]
        job = write_job(tmp_path / "job", pieces, PROGRAMS, Libraries())
    (item,) = json.loads(job.read_text())["items"]
    assert item["weights"] == "models/0.caffemodel"
    assert (job.parent / item["weights"]).read_bytes() == b"w" * 10


# ---------------------------------------------------------------- machines


def arguments(
    name: MachineName, saved: Path | None = None, *, reserve_mib: float = 0
) -> dict[str, list[str]]:
    """The options of QEMU's command line, each with its values in order."""
    machine, device = MACHINES[name], devices.load("rpi3b").with_reserve(reserve_mib)
    files = Files(
        kernel=Path("/i/vmlinuz"),
        initrd=Path("/i/initrd.gz"),
        device_tree=Path("/i/board.dtb") if machine.device_tree else None,
        root_disk=Path("/i/root.ext4"),
        job_disk=None if machine.one_card else Path("/t/job.ext4"),
        qmp_socket=Path("/t/qmp"),
        console_socket=Path("/t/console"),
        snapshot=saved,
    )
    program, *rest = command_line(machine, device, files, "tcg,thread=single")
    assert program == "qemu-system-aarch64"
    found: dict[str, list[str]] = {}
    for argument in rest:
        if argument.startswith("-"):
            values = found.setdefault(argument, [])
        else:
            values.append(argument)
    return found


def test_virt_has_what_the_board_has() -> None:
    found = arguments("virt")
    assert found["-machine"] == ["virt"]
    assert found["-cpu"] == ["cortex-a53"]
    assert found["-smp"] == ["4"]
    assert found["-m"] == ["1024M"]
    assert [drive for drive in found["-drive"] if "readonly=on" not in drive] == []
    assert [device.partition(",")[0] for device in found["-device"]] == ["virtio-blk-pci"] * 2
    assert "file=/i/root.ext4" in found["-drive"][0]
    assert "file=/t/job.ext4" in found["-drive"][1]
    assert "console=ttyAMA0,115200" in found["-append"][0].split()


@pytest.mark.parametrize(("machine", "seen_mib"), [("virt", 1024), ("raspi3b", 1024 - 64)])
def test_a_reserve_is_taken_from_what_the_kernel_sees(machine: MachineName, seen_mib: int) -> None:
    assert "mem=" not in arguments(machine)["-append"][0]
    found = arguments(machine, reserve_mib=100.5)["-append"][0].split()
    assert f"mem={int((seen_mib - 100.5) * 1024)}K" in found


@pytest.mark.parametrize(
    ("computes", "accelerator"),
    [
        (["memory-only"], "tcg,thread=single"),
        (["memory-only", "real"], "tcg,thread=multi"),
        (["real"], "tcg,thread=multi"),
    ],
)
def test_the_cores_have_threads_of_their_own_where_they_compute(
    computes: list[Any], accelerator: str
) -> None:
    assert accelerator_for(computes) == accelerator


def test_a_machine_continues_from_a_snapshot(tmp_path: Path) -> None:
    found = arguments("virt", saved=tmp_path / "a guest's, saved")
    assert "-S" in found
    (source,) = found["-incoming"]
    (tmp_path / "a guest's, saved").write_text("state")
    command = ["sh", "-c", source.removeprefix("exec:")]
    assert process.run(command, deadline_s=10).stdout == "state"
    assert "-incoming" not in arguments("virt")


def test_every_guest_sees_a_disk_of_the_same_size(tmp_path: Path) -> None:
    disk = tmp_path / "job.ext4"
    disk.write_bytes(b"job" * 1000)
    assert snapshot.pad(disk)
    assert disk.stat().st_size == JOB_DISK_BYTES
    assert disk.stat().st_blocks * 512 < 1 << 20
    with disk.open("r+b") as file:
        file.truncate(JOB_DISK_BYTES + 1)
    assert not snapshot.pad(disk)


def test_the_board_is_as_qemu_knows_it() -> None:
    found = arguments("raspi3b")
    assert found["-machine"] == ["raspi3b"]
    assert found["-dtb"] == ["/i/board.dtb"]
    assert found["-drive"] == ["if=sd,file=/i/root.ext4,format=raw,aio=threads"]
    assert found["-serial"] == ["null", "chardev:console"]
    # CPU, cores and memory are the machine's own.
    assert not {"-cpu", "-smp", "-m"} & set(found)
    assert "console=ttyS1,115200" in found["-append"][0].split()


def refusing_qemu(folder: Path) -> None:
    """A QEMU that was built without io_uring, or whose kernel forbids it."""
    qemu = folder / "qemu-system-aarch64"
    qemu.write_text('#!/bin/sh\ncase "$*" in *io_uring*) exit 1;; esac\n')
    qemu.chmod(0o755)


def test_a_card_is_read_by_io_uring_where_qemu_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "a, disk"
    disk.write_bytes(bytes(512))
    board, virt = MACHINES["raspi3b"], MACHINES["virt"]
    assert aio_for(virt, disk) == "threads"
    refusing_qemu(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert aio_for(board, disk) == "threads"
    (tmp_path / "qemu-system-aarch64").write_text("#!/bin/sh\n")
    assert aio_for(board, disk) == "io_uring"


@pytest.mark.parametrize("name", ["virt", "raspi3b"])
def test_every_machine_waits_has_no_network_and_no_way_to_start_again(name: MachineName) -> None:
    found = arguments(name)
    assert {"-S", "-no-reboot", "-nodefaults", "-no-user-config", "-nographic"} <= set(found)
    assert not {"-netdev", "-net", "-nic", "-monitor", "-fsdev", "-virtfs"} & set(found)
    assert not [d for d in found.get("-device", []) if "net" in d or "vhost" in d]
    assert found["-qmp"] == ["unix:/t/qmp,server=on,wait=off"]
    assert "transparent_hugepage=never" in found["-append"][0].split()


# ---------------------------------------------------------------- sandbox


@pytest.fixture
def fake_bwrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A bwrap that takes its options and runs the rest; the test fills it in."""
    path = tmp_path / "bin" / "bwrap"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    sandbox.available.cache_clear()
    yield path
    sandbox.available.cache_clear()


@pytest.mark.usefixtures("fake_bwrap")
def test_with_bwrap_there_is_no_network_and_nothing_to_write_to() -> None:
    found = sandbox.sandboxed(["python3", "probe.py"])
    assert found[0] == "bwrap"
    assert found[-3:] == ["--", "python3", "probe.py"]
    text = " ".join(found)
    for option in ("--unshare-net", "--die-with-parent", "--ro-bind / /"):
        assert option in text
    assert "--bind" not in found
    assert "--dev-bind" not in found


@pytest.mark.parametrize("script", ["exit 1", "kill -9 $$"])
def test_a_bwrap_that_may_not_make_namespaces_is_left_alone(script: str, fake_bwrap: Path) -> None:
    fake_bwrap.write_text(f"#!/bin/sh\n{script}\n")
    assert sandbox.sandboxed(["a", "b"]) == ["a", "b"]


def test_without_bwrap_the_command_line_stays_as_it_is(
    fake_bwrap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_bwrap.unlink()
    monkeypatch.setenv("PATH", str(fake_bwrap.parent))
    assert sandbox.sandboxed(["a", "b"]) == ["a", "b"]


def test_the_byte_code_of_the_probe_is_used(tmp_path: Path) -> None:
    byte_code = byte_code_of_probe([sys.executable])
    job = write_job(tmp_path / "job", [], PROGRAMS, Libraries(), byte_code=byte_code)
    script = (
        f"import sys; sys.path.insert(0, {str(job.parent)!r}); "
        "import probe.job; print(probe.job.__cached__)"
    )
    command = [sys.executable, "-I", "-S", "-v", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    cached = done.stdout.strip()
    assert f"code object from '{cached}'" in done.stderr
    # A file that differs from its byte code wins: an engine's part of the probe is replaced.
    (job.parent / "probe/job.py").write_text("raise SystemExit('replaced')\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "replaced" in done.stderr


def test_a_python_that_cannot_compile_leaves_the_probe_without_byte_code() -> None:
    assert byte_code_of_probe(["false"]) == {}


def test_the_cpu_report_comes_along_and_may_be_started(tmp_path: Path) -> None:
    programs = replace(PROGRAMS, cpu_report=CPU_REPORT)
    job = write_job(tmp_path / "job", [piece("0")], programs, Libraries())
    report = job.parent / "cpu-report"
    assert report.read_bytes() == cpu_report_program()
    assert report.stat().st_mode & 0o777 == 0o755
