"""The probe's reading of logs and limits, and that it needs nothing which a board lacks."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pibench
from pibench.engines.registry import BUILT_IN
from pibench.probe import child, job, machine, programs
from pibench.probe import log as probe_log
from pibench.probe.engines import caffe, pycaffe

FOLDER = Path(pibench.__file__).parent / "probe"
SOURCES = sorted(FOLDER.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_probe_imports_nothing_that_a_board_lacks(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add((node.module or ".").partition(".")[0])
    standard = {
        *(
            "argparse",
            "binascii",
            "contextlib",
            "ctypes",
            "errno",
            "fcntl",
            "glob",
            "hashlib",
            "importlib",
        ),
        *("importlib", "json", "mmap", "os", "platform", "re", "resource", "select", "shutil"),
        *(
            "signal",
            "stat",
            "struct",
            "subprocess",
            "sys",
            "tarfile",
            "tempfile",
            "threading",
            "time",
        ),
        "zlib",
    }
    engines = {"caffe", *(engine.module for engine in BUILT_IN if engine.module)}
    # An engine's own module is imported by its own part of the probe alone.
    assert imported <= standard | {"numpy", "probe"} | (
        engines if "engines" in path.parts else set()
    )
    at_the_top = {
        alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
    }
    assert not at_the_top & {"numpy", *engines}


# ---------------------------------------------------------------- logs

# What `caffe time` writes, in its own layout (tools/caffe.cpp).
GOLDEN = """\
I1122 07:43:52.100000  8470 net.cpp:86] Creating Layer conv1
I1122 07:43:52.200000  8470 net.cpp:257] Network initialization done.
I1122 07:43:52.300000  8470 caffe.cpp:355] Initial loss: 0
I1122 07:43:53.869260  8470 caffe.cpp:377] *** Benchmark begins ***
I1122 07:43:53.869270  8470 caffe.cpp:378] Testing for 1 iterations.
I1122 07:43:53.869280  8470 caffe.cpp:406] Iteration: 1 forward-backward time: 1602 ms.
I1122 07:43:53.869285  8470 caffe.cpp:393] Average time per layer:
I1122 07:43:53.869290  8470 caffe.cpp:397]       data\tforward: 0.001 ms.
I1122 07:43:53.869297  8470 caffe.cpp:400]       data\tbackward: 0.002 ms.
I1122 07:43:53.869300  8470 caffe.cpp:397]      conv1\tforward: 1.25 ms.
I1122 07:43:53.869305  8470 caffe.cpp:400]      conv1\tbackward: 1.2e-05 ms.
I1122 07:43:53.869308  8470 caffe.cpp:397] inception_3a/relu 5x5 (b)\tforward: 12 ms.
I1122 07:43:53.869308  8470 caffe.cpp:397] a_very_long_name_of_a_layer\tforward: 1.5e+03 ms.
I1122 07:43:53.869320  8470 caffe.cpp:405] Average Forward pass: 812.75 ms.
I1122 07:43:53.869321  8470 caffe.cpp:407] Average Backward pass: 789 ms.
I1122 07:43:53.869325  8470 caffe.cpp:409] Average Forward-Backward: 1602 ms.
I1122 07:43:53.869330  8470 caffe.cpp:411] Total Time: 1602 ms.
I1122 07:43:53.869340  8470 caffe.cpp:412] *** Benchmark ends ***
"""


def read(text: str, size: int = 1 << 20) -> Any:
    log = caffe.LogReader()
    content = text.encode()
    for begin in range(0, len(content), size):
        log.feed(content[begin : begin + size])
    return log


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_the_times_of_caffe_time(size: int) -> None:
    log = read(GOLDEN, size)
    assert log.layers == [
        ["data", "forward", 0.001],
        ["data", "backward", 0.002],
        ["conv1", "forward", 1.25],
        ["conv1", "backward", 1.2e-05],
        ["inception_3a/relu 5x5 (b)", "forward", 12.0],
        ["a_very_long_name_of_a_layer", "forward", 1500.0],
    ]
    assert log.totals == {"forward": 812.75, "backward": 789.0}
    assert (log.fatal, log.complaint, log.payload) == (None, None, None)
    assert log.tail[-1].endswith("*** Benchmark ends ***")


def test_of_fatal_words_the_first_count() -> None:
    log = read(
        "F1122 07:43:53.869290  8470 layer_factory.hpp:81] Check failed: registry.count(type) == 1"
        " (0 vs. 1) Unknown layer type: Mish\n"
        "*** Check failure stack trace: ***\n"
        "F1122 07:43:53.869291  8470 other.cpp:1] later\n",
    )
    assert log.fatal.startswith("layer_factory.hpp:81] Check failed: registry.count(type) == 1")
    assert log.fatal.endswith("Unknown layer type: Mish")


def test_an_exception_that_nobody_catches_is_fatal() -> None:
    log = read("terminate called after throwing an instance of 'std::bad_alloc'\n  what()\n")
    assert log.fatal == "'std::bad_alloc'"


def test_the_parsers_complaint_is_kept_beside_the_fatal_words() -> None:
    log = read(
        "[libprotobuf ERROR google/protobuf/text_format.cc:307] Error parsing text-format "
        'caffe.NetParameter: 5:3: Message type "caffe.LayerParameter" has no field named "mish".\n'
        "F1122 07:43:53.869290  8470 upgrade_proto.cpp:90] Check failed: ReadProtoFromTextFile\n",
    )
    assert log.complaint.startswith("Error parsing text-format caffe.NetParameter: 5:3:")
    assert log.fatal.startswith("upgrade_proto.cpp:90]")


def test_a_long_log_keeps_its_last_lines_only() -> None:
    log = read("".join("line {} {}\n".format(i, "x" * 1000) for i in range(100)))
    assert len(log.tail) == probe_log.LOG_LINES
    assert log.tail[-1].startswith("line 99 x")
    assert max(map(len, log.tail)) <= 400
    assert len(read("F1122 07:43:53.8  1 " + "x" * 5000 + "\n").fatal) == 1000


def test_a_line_without_end_is_not_kept() -> None:
    log = caffe.LogReader()
    for _ in range(40):
        log.feed(b"x" * (1 << 18))
        assert len(log.rest) <= probe_log.MAX_LINE_BYTES
    log.feed(b"\nPIBENCH-RESULT {}\n")
    assert log.payload == "{}"


def test_a_result_may_be_a_long_line() -> None:
    log = caffe.LogReader()
    line = b"PIBENCH-RESULT " + b"x" * (3 << 20) + b"\n"
    for start in range(0, len(line), 65536):
        log.feed(line[start : start + 65536])
    assert log.payload == "x" * (3 << 20)


def test_nobody_of_the_same_user_may_look_into_the_probe() -> None:
    if os.geteuid() == 0:
        pytest.skip("root may look into anything")
    program = (
        "import os, sys\n"
        "from pibench.probe.child import keep_out, process_control\n"
        "keep_out(process_control())\n"
        "if os.fork() == 0:\n"
        "    try:\n"
        "        open('/proc/{}/fd/1'.format(os.getppid()), 'wb')\n"
        "    except PermissionError:\n"
        "        os._exit(0)\n"
        "    os._exit(1)\n"
        "sys.exit(os.wait()[1] != 0)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_bytes_that_are_no_text_do_no_harm() -> None:
    log = caffe.LogReader()
    log.feed(b"\xff\xfe name\nPIBENCH-RESULT {}\n")
    assert log.tail == ["\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} name"]
    assert log.payload == "{}"


# ---------------------------------------------------------------- commands

ITEM = {
    "id": "1", "model": "models/1.prototxt", "weights": None, "protocol": "caffe-time",
    "compute": "real", "threads": 4, "timeout_s": 1, "iterations": 2, "warmup": 0, "repeats": 3,
    "seed": 5, "inputs": None, "keep": [], "preload": [],
}  # fmt: skip
JOB = {
    "engine": "caffe",
    "program": ["ld.so", "caffe"],
    "python": ["python3"],
    "other_blas": [],
    "env": {"A": "b"},
}


def test_caffe_time_runs_by_the_papers_command() -> None:
    command, env = caffe.command_of(JOB, ITEM, "/job")
    assert command == [
        *("ld.so", "caffe", "time", "-model", "/job/models/1.prototxt", "-iterations", "2")
    ]
    assert env == {
        "A": "b", "OPENBLAS_NUM_THREADS": "4", "OMP_NUM_THREADS": "4", "GLOG_logtostderr": "1",
    }  # fmt: skip
    assert JOB["env"] == {"A": "b"}


def test_libraries_are_preloaded_in_their_order() -> None:
    libraries = ["atlas/libatlas.so.3", "atlas/libblas.so.3"]
    _, env = caffe.command_of(JOB, ITEM | {"preload": libraries}, "/job")
    assert env["LD_PRELOAD"] == "/job/atlas/libatlas.so.3:/job/atlas/libblas.so.3"
    _, env = caffe.command_of(JOB, ITEM, "/job")
    assert "LD_PRELOAD" not in env


def test_a_set_up_is_variables_of_the_program_and_its_baseline_is_its_own() -> None:
    item = ITEM | {"env": {"MALLOC_MMAP_THRESHOLD_": "4194304"}}
    _, env = caffe.command_of(JOB, item, "/job")
    assert env["MALLOC_MMAP_THRESHOLD_"] == "4194304"
    assert job.kind_of(item) != job.kind_of(ITEM)


def test_memory_only_compute_logs_errors_and_the_start_alone() -> None:
    _, env = caffe.command_of(JOB, ITEM | {"compute": "memory-only"}, "/job")
    assert env["GLOG_minloglevel"] == "2"
    assert env["PIBENCH_BLAS_REPORT"] == "start"


@pytest.mark.parametrize("is_emulated", [True, False])
def test_an_emulated_program_stops_at_its_end(
    is_emulated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QEMU_CPU", raising=False)
    job = JOB | {"env": {"QEMU_CPU": "cortex-a53"} if is_emulated else {}}
    _, env = caffe.command_of(job, ITEM | {"compute": "memory-only"}, "/job")
    assert ("PIBENCH_STOP_AT_EXIT" in env) == is_emulated


@pytest.mark.parametrize(
    ("prints", "tier"),
    [("", "blas"), ("memory-only loops: in effect", "loops"), ("loops: in effect", "blas")],
)
def test_the_program_itself_reports_the_tier(prints: str, tier: str, tmp_path: Path) -> None:
    program = [sys.executable, "-c", f"import sys; print({prints!r}); sys.exit(3)"]
    item = ITEM | {"compute": "memory-only", "timeout_s": 60}
    job_ = JOB | {"program": program}
    watched = job.Watched(job_, str(tmp_path), probe_log.Frames(io.BytesIO()), guest=False)
    ended = watched.run(item)
    assert ended["memory_only_tier"] == tier
    assert ("memory-only loops: in effect" in ended["log_tail"]) is False
    assert "memory_only_tier" not in watched.run(item | {"compute": "real"})


def test_the_same_program_with_no_network_waits_at_an_empty_pipe(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    os.mkfifo(tmp_path / "models/none")
    reader = f"print('PIBENCH-RESULT ' + open({str(tmp_path / 'models/none')!r}).read() + '{{}}')"
    spec = JOB | {"program": [sys.executable, "-c", reader]}
    watched = job.Watched(spec, str(tmp_path), probe_log.Frames(io.BytesIO()), guest=False)
    ended = watched.run_bare(ITEM)
    assert (ended["exit_status"], ended["signal"]) == (0, None)
    assert ended["peak_rss_bytes"] > 2**20
    assert "inference" not in ended


def test_a_program_that_never_opens_its_network_is_not_a_baseline(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    os.mkfifo(tmp_path / "models/none")
    spec = JOB | {"program": [sys.executable, "-c", "raise SystemExit(3)"]}
    watched = job.Watched(spec, str(tmp_path), probe_log.Frames(io.BytesIO()), guest=False)
    assert watched.run_bare(ITEM)["exit_status"] == 3


def test_inference_gets_its_weights_and_seed() -> None:
    item = ITEM | {"protocol": "inference", "weights": "models/1.caffemodel"}
    command, _ = caffe.command_of(JOB, item, "/job")
    assert [command[0], command[2]] == ["python3", "--inference"]
    assert json.loads(command[3]) == {
        "model": "/job/models/1.prototxt", "weights": "/job/models/1.caffemodel", "warmup": 0,
        "repeats": 3, "seed": 5, "inputs": None, "values": True, "keep": [],
    }  # fmt: skip
    item |= {"inputs": "models/1.npz", "keep": ["conv1"], "compute": "memory-only"}
    spec = json.loads(caffe.command_of(JOB, item, "/job")[0][3])
    assert (spec["inputs"], spec["keep"], spec["values"]) == ("/job/models/1.npz", ["conv1"], False)


def test_an_emulator_of_the_host_gets_the_guest_loader_s_variables() -> None:
    env = {"LD_PRELOAD": "/b.so", "LD_LIBRARY_PATH": "/lib", "OMP_NUM_THREADS": "4"}
    command, rest = programs.place_environment({"env_option": "-E"}, ["qemu", "caffe"], env)
    assert command == ["qemu", "-E", "LD_LIBRARY_PATH=/lib", "-E", "LD_PRELOAD=/b.so", "caffe"]
    assert rest == {"OMP_NUM_THREADS": "4"}
    thresholds = {"MALLOC_TRIM_THRESHOLD_": "8"}
    command, rest = programs.place_environment({"env_option": "-E"}, ["qemu", "caffe"], thresholds)
    assert (command, rest) == (["qemu", "-E", "MALLOC_TRIM_THRESHOLD_=8", "caffe"], {})
    assert programs.place_environment({}, ["caffe"], env) == (["caffe"], env)


# ---------------------------------------------------------------- the emulator's share

SMAPS = """\
5500000000-5500020000 r-xp 00000000 00:01 5  /usr/bin/caffe
Rss:                 100 kB
Anonymous:             0 kB
7f95172ff000-7f9517400000 rw-p 00000000 00:00 0
Size:               1028 kB
Rss:                  28 kB
7f9517400000-7f951f3ff000 rwxp 00000000 00:00 0
Rss:               12288 kB
7f9517400000-7f951f4ff000 rwxp 00000000 00:00 0
Rss:               12290 kB
7ffc9c5d3000-7ffc9c5f4000 rw-p 00000000 00:00 0  [stack]
Rss:                   4 kB
"""


GUEST = "".join(
    f"55{i:08x}-55{i + 1:08x} rw-p 00000000 00:00 0\nRss: 4 kB\nVmFlags: rd\n" for i in range(3000)
)


def emulated_rss_kib(proc: Path, smaps: str) -> tuple[int, int | None] | None:
    """What is found in a /proc with one process, which QEMU runs: its size, and QEMU's share."""
    (proc / "7").mkdir()
    (proc / "7/exe").symlink_to("/usr/bin/qemu-aarch64-static")
    (proc / "7/smaps").write_text(smaps)
    found: tuple[int, int | None] | None = child.emulated_rss_kib(7, str(proc))
    return found


@pytest.mark.parametrize("guest", ["", GUEST], ids=["small", "large"])
def test_the_emulators_memory_lies_above_the_guests(tmp_path: Path, guest: str) -> None:
    # A mapping that grew while it was read counts once.
    share = 28 + 12290 + 4
    # Those of the large one begin where the program's first mapping does.
    program = 100 + max(guest.count("Rss: 4 kB") - 1, 0) * 4
    assert emulated_rss_kib(tmp_path, guest + SMAPS) == (share + program, share)


def test_a_process_that_is_not_emulated_has_no_emulator() -> None:
    assert child.emulated_rss_kib(os.getpid()) is None


@pytest.mark.parametrize(
    "text", ["", GUEST, "7f0000000000-7f0080000000 rw-p 00000000 00:00 0\nRss: 900000 kB\n"]
)
def test_a_guest_taken_for_the_emulator_is_no_figure(tmp_path: Path, text: str) -> None:
    found = emulated_rss_kib(tmp_path, text)
    assert found is not None
    assert found[1] is None


# ---------------------------------------------------------------- limits


def test_meminfo_and_a_status_in_kib(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(
        "MemTotal:        1004972 kB\nMemFree: 5 kB\nSwapTotal:             0 kB\nHuge:\n"
    )
    assert machine.memory_kib(str(meminfo)) == {
        "mem_total_kib": 1_004_972, "mem_available_kib": None, "swap_total_kib": 0,
        "swap_free_kib": None,
    }  # fmt: skip


def test_the_median() -> None:
    assert pycaffe.median([3.0, 1.0, 2.0]) == 2.0
    assert pycaffe.median([4.0, 1.0, 3.0, 2.0]) == 2.5


@pytest.mark.parametrize("used", ["[always] madvise never\n", "always [madvise] never\n"])
def test_huge_pages_are_switched_off_where_a_kernel_gives_them(tmp_path: Path, used: str) -> None:
    """QEMU asks for them."""
    setting = tmp_path / "enabled"
    setting.write_text(used)
    asked = machine.huge_pages_in_use(switch_off=False, setting=str(setting))
    assert asked is used.startswith("[always]")
    code = (
        "import sys; from pibench.probe import machine; "
        "assert not machine.huge_pages_in_use(switch_off=True, setting=sys.argv[1]); "
        "print(open('/proc/self/status').read())"
    )
    # In a process of its own, since it cannot be taken back.
    status = subprocess.run(
        [sys.executable, "-c", code, str(setting)], check=True, capture_output=True, text=True
    )
    assert "THP_enabled:\t0" in status.stdout or "THP_enabled" not in status.stdout


@pytest.mark.parametrize("setting", ["always [madvise] never", None])
def test_huge_pages_that_nobody_gives_are_not_in_use(tmp_path: Path, setting: str | None) -> None:
    path = tmp_path / "enabled"
    if setting is not None:
        path.write_text(setting)
    assert not machine.huge_pages_in_use(switch_off=False, setting=str(path))
