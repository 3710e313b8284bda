"""The memory-only libraries against real ones: in guarded memory, by page faults, in records."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pibench import networks
from pibench.images import blas
from pibench.images.build import Builder
from pibench.images.loops_check import failure_of
from pibench.images.recipe import GNU_TRIPLET, Architecture
from pibench.images.rootfs import RootLoader
from pibench.probe import child
from pibench.probe.forks import SAME_PEAK_BYTES, ForkError, LoadedProgram
from pibench.probe.log import Frames, LogReader
from pibench.settings import asset
from pibench.target_kinds import kind_of
from pibench.targets.local import TwinTarget
from pibench.targets.sysroot import SysrootTarget
from pibench.targets.vm import VmTarget
from tests.emulation.conftest import DEVICE, run

pytestmark = pytest.mark.emulation
LIBRARIES = {
    "blas": ("usr/lib/{}/openblas-pthread/libblas.so.3", "lib/{}/libpthread.so.0"),
    "loops": ("usr/lib/{}/libcaffe.so.1.0.0",),
}
MIB = 2**20


def root_of(builder: Builder, architecture: Architecture) -> Path:
    image = builder.twin() if architecture == "amd64" else builder.sysroot()
    return image.content / "root"


def command_in(
    root: Path, architecture: Architecture, program: Path, preload: str
) -> tuple[list[str], dict[str, str]]:
    """How a program that is linked to the root's libraries runs here, and its environment."""
    loader = RootLoader(root, architecture)
    variables = {"LD_LIBRARY_PATH": loader.library_path, "LD_PRELOAD": preload}
    if architecture == "amd64":
        start = loader.command("usr/bin/caffe")[:-1]
        return [*start, str(program)], {"LD_PRELOAD": preload}
    emulator = next(filter(None, map(shutil.which, kind_of("sysroot").emulators)), None)
    if emulator is None:
        pytest.skip("there is no qemu-aarch64")
    options = [word for name, value in variables.items() for word in ("-E", f"{name}={value}")]
    return [emulator, *options, "-L", str(root), str(program)], {}


@pytest.mark.parametrize(
    # Real products take minutes emulated.
    ("name", "architecture"),
    [("blas", "amd64"), ("loops", "amd64"), ("loops", "arm64")],
)
def test_nothing_beside_the_operands_is_touched(
    name: str, architecture: Architecture, builder: Builder, tmp_path: Path
) -> None:
    root = root_of(builder, architecture)
    triplet = GNU_TRIPLET[architecture]
    program = tmp_path / "check"
    names = (*LIBRARIES[name], "lib/{}/libc.so.6")
    subprocess.run(
        [
            "gcc" if architecture == "amd64" else f"{triplet}-gcc",
            *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-nodefaultlibs"),
            *("-Wl,--allow-shlib-undefined", "-o", str(program)),
            str(asset(blas.SOURCES) / f"check_memory_only_{name}.c"),
            *(str(root / library.format(triplet)) for library in names),
        ],
        check=True,
    )
    built = builder.blas(architecture)
    stand_ins = f"{built}:{built.with_name(blas.LOOPS_LIBRARY)}"
    for preload in ("", stand_ins):
        command, env = command_in(root, architecture, program, preload)
        done = subprocess.run(
            command, env={**os.environ, **env}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


# After which text of the source, and the touch that is left out there.
MUTANTS = {
    "the mask of a pooling layer": ("REAL(set_int_fn", "touch_vector(y, n, 1, WRITE);"),
    "the columns": ("im2col_cpu(const", "touch_vector(columns, count, 1, WRITE);"),
    "what ReLU writes": ("REAL(forward_fn, RELU", "write_data(top->begin[0]);"),
    "the diff that ReLU writes": ("REAL(backward_fn, RELU", "write_diff(below);"),
    "random weights": ("REAL(random_fn", "touch_vector(y, n, 1, WRITE);"),
    "what a vector function writes": ("REAL(binary_fn", "touch_vector(y, n, 1, WRITE);"),
}


@pytest.mark.parametrize("missing", [None, *MUTANTS])
def test_a_stand_in_that_leaves_pages_out_is_not_used(
    missing: str | None, builder: Builder, tmp_path: Path
) -> None:
    sources = tmp_path / "blas"
    shutil.copytree(asset(blas.SOURCES), sources)
    source = sources / "memory_only_loops.c"
    text = source.read_text()
    if missing is not None:
        place, touch = MUTANTS[missing]
        before, found, after = text.partition(place)
        assert found
        assert touch in after
        source.write_text(before + found + after.replace(touch, "if (0) " + touch, 1))
    root = root_of(builder, "amd64")
    loops = blas.compile_library("amd64", root, source, tmp_path)
    # A child's peak for getrusage begins with what its parent had: here more than Caffe takes.
    ballast = b"x" * (300 << 20)
    failure = failure_of("amd64", root, builder.blas("amd64"), loops, lambda: tmp_path)
    del ballast
    if missing is None:
        assert failure is None
    else:
        assert failure is not None
        assert " in place of " in failure


@pytest.mark.parametrize("name", ["twin", "sysroot", "virt"])
def test_a_record_states_the_tier_that_was_in_effect(
    name: str, request: pytest.FixtureRequest, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = SysrootTarget(DEVICE, builder) if name == "sysroot" else request.getfixturevalue(name)
    loaded = [networks.load("SqueezeNet V1.1")]
    (both,) = run(target, loaded)
    assert both.memory_only_tier == "loops"
    assert not any("stand-ins" in note for note in both.evidence.notes)
    monkeypatch.setenv("PIBENCH_MEMORY_ONLY_TIER", "blas")
    (first,) = run(target, loaded)
    assert first.memory_only_tier == "blas"
    assert any("PIBENCH_MEMORY_ONLY_TIER=blas" in note for note in first.evidence.notes)
    assert both.peak_rss_bytes is not None
    assert first.peak_rss_bytes is not None
    assert abs(both.peak_rss_bytes - first.peak_rss_bytes) <= 2.5 * MIB


def test_the_second_tier_peaks_as_real_compute_does(twin: TwinTarget) -> None:
    loaded = [networks.load(name) for name in ("SqueezeNet V1.1", "GoogleNet", "MobileNet")]
    real = run(twin, loaded, compute="real")
    for one, other in zip(real, run(twin, loaded), strict=True):
        assert other.memory_only_tier == "loops"
        assert one.memory_only_tier is None
        assert one.peak_rss_bytes is not None
        # Whether each thread touches a buffer of its own varies by run, in steps of about 2 MB.
        assert other.peak_rss_bytes == pytest.approx(one.peak_rss_bytes, abs=2.5 * MIB)


def caffe_time(name: str, folder: Path) -> list[str]:
    model = folder / "model.prototxt"
    model.write_text(networks.load(name).prototxt)
    return ["time", "-model", str(model), "-iterations", "1"]


def watched(start: Callable[[], Any]) -> dict[str, Any]:
    return child.watch_child(start, 60, LogReader(), Frames(io.BytesIO()), "1", poll_s=0.02)


def test_a_loaded_program_is_forked_for_each_network(builder: Builder, tmp_path: Path) -> None:
    """Memory is compared in the VM: what a process here has of a file depends on its page cache."""
    root, library = root_of(builder, "amd64"), builder.blas("amd64")
    program = RootLoader(root, "amd64").command("usr/bin/caffe")
    loops = blas.loops_beside(library)[0]
    library = library.with_name(blas.FORKS_LIBRARY)
    env = {"LD_PRELOAD": f"{library}:{loops}", "OPENBLAS_NUM_THREADS": "4", "GLOG_minloglevel": "2"}
    loaded = LoadedProgram({}, program, env, guest=False)
    try:
        for name in ("SqueezeNet V1.1", "GoogleNet", "AlexNet"):
            command = program + caffe_time(name, tmp_path)
            alone, forked = [], []
            for _ in range(3):
                alone.append(watched(partial(child.Started, command, env, lambda: None)))
                forked.append(watched(partial(loaded.fork, command)))
            assert {one["exit_status"] for one in (*alone, *forked)} == {0}
            times = [min(one["user_ms"] for one in each) for each in (alone, forked)]
            assert times[1] < times[0]
        # What a network does to its process costs the next one nothing.
        bad = watched(lambda: loaded.fork([*program, "time", "-model", "/nothing"]))
        assert bad["exit_status"] != 0
        assert watched(lambda: loaded.fork(command))["exit_status"] == 0
        with pytest.raises(ForkError, match="too long"):
            loaded.fork([*program, "x" * 5000])
    finally:
        loaded.end()
    # Without the library caffe prints its usage and ends.
    broken = LoadedProgram({}, program, {}, guest=False)
    with pytest.raises(ForkError):
        broken.fork(command)
    broken.end()


def test_a_record_states_that_its_process_was_forked(virt: VmTarget) -> None:
    loaded = [networks.load(name) for name in ("SqueezeNet V1.1", "GoogleNet")]
    target = VmTarget(DEVICE, virt.builder, machines_at_once=1)
    for record, one in zip(run(target, loaded), loaded, strict=True):
        (alone,) = run(target, [one])
        assert "forked from the program" in " ".join(record.evidence.notes)
        assert "forked" not in " ".join(alone.evidence.notes)
        assert record.peak_rss_bytes == pytest.approx(alone.peak_rss_bytes, abs=SAME_PEAK_BYTES)
        assert record.baseline_rss_bytes == alone.baseline_rss_bytes
