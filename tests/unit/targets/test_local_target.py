"""A target of this machine, with the real probe and a shell script in Caffe's place.

The script's networks are shell scripts too: each does what a Caffe might do to the probe.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pibench.errors import HostError
from pibench.images.build import Builder
from pibench.targets import sandbox
from pibench.targets.base import Job, Outcome, Progress
from pibench.targets.job import Programs
from pibench.targets.local import LocalTarget, NativeTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CAFFE = """\
#!/bin/sh
if [ "$1" = --version ]; then echo caffe version 1.0.0; exit 0; fi
[ "$1 $2 $4" = "time -model -iterations" ] || exit 64
. "$3"
"""
TIMES = """\
cat <<'LOG'
I1122 07:43:53.869290  8470 caffe.cpp:357] Use CPU.
I1122 07:43:53.869290  8470 caffe.cpp:391] Average time per layer:
I1122 07:43:53.869290  8470 caffe.cpp:394]       data\tforward: 0.001 ms.
I1122 07:43:53.869297  8470 caffe.cpp:397]       data\tbackward: 0.002 ms.
I1122 07:43:53.869300  8470 caffe.cpp:394]      conv1\tforward: 12.5 ms.
I1122 07:43:53.869305  8470 caffe.cpp:397]      conv1\tbackward: 1.2e-05 ms.
I1122 07:43:53.869320  8470 caffe.cpp:402] Average Forward pass: 12.75 ms.
I1122 07:43:53.869320  8470 caffe.cpp:404] Average Backward pass: 30 ms.
I1122 07:43:53.869325  8470 caffe.cpp:406] Average Forward-Backward: 43 ms.
LOG
"""
# tail keeps what it is to print: 30 MB.
USE_MEMORY = "head -c 40000000 /dev/zero | tail -c 30000000 | wc -c >/dev/null\n"
MESSAGE = "syncedmem.hpp:33] Check failed: *ptr host allocation of size 1726272432 failed"
ABORT = f"""\
echo '[libprotobuf ERROR text_format.cc:307] Error parsing: 5:3: Message type has no field.' >&2
echo 'F1122 07:43:53.869290  8470 {MESSAGE}' >&2
echo '*** Check failure stack trace: ***' >&2
kill -ABRT $$
"""


def network(name: str, script: str, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "id": name,
        "name": name,
        "prototxt": script,
        "weights": None,
        "protocol": "caffe-time",
        "compute": "real",
        "threads": 2,
        "timeout_s": 30.0,
    }
    return Job(**fields | changes)


@pytest.fixture(autouse=True)
def _uncontained(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Without a bwrap that works: what it keeps from a model is another test's matter."""
    bwrap = tmp_path_factory.mktemp("bin") / "bwrap"
    bwrap.write_text("#!/bin/sh\nexit 1\n")
    bwrap.chmod(0o755)
    sandbox.available.cache_clear()
    with monkeypatch.context() as inside:
        inside.setenv("PATH", str(bwrap.parent), prepend=os.pathsep)
        assert not sandbox.available()
    yield
    sandbox.available.cache_clear()


@pytest.fixture
def programs(tmp_path: Path) -> Callable[[], list[Programs]]:
    caffe = tmp_path / "caffe"
    caffe.write_text(CAFFE)
    caffe.chmod(0o755)
    found = Programs(program=[str(caffe)], python=["true"], env={"MINE": "set"})
    return lambda: [found]


@pytest.fixture
def run(
    programs: Callable[[], list[Programs]],
) -> Callable[..., tuple[dict[str, Outcome], list[Progress]]]:
    """Runs networks; returns the outcomes by name, and the progress messages."""

    def run_all(*work: Job) -> tuple[dict[str, Outcome], list[Progress]]:
        outcomes: list[Outcome] = []
        output: list[Progress] = []
        LocalTarget("native", programs).run(work, outcomes.append, output.append)
        assert len(outcomes) == len(work), "each network has one outcome"
        return {outcome.job.name: outcome for outcome in outcomes}, output

    return run_all


@pytest.fixture
def results(run: Callable[..., Any]) -> Callable[..., dict[str, dict[str, Any]]]:
    """Runs networks that all come to a result."""

    def run_all(*work: Job) -> dict[str, dict[str, Any]]:
        found = {name: outcome.result for name, outcome in run(*work)[0].items()}
        assert None not in found.values()
        return found

    return run_all


def test_every_way_to_end_is_seen_and_costs_nobody_else(
    results: Callable[..., dict[str, dict[str, Any]]],
) -> None:
    seen = results(
        network("fails", "echo sorry >&2; exit 1"),
        network("aborts", ABORT),
        network("is killed", "kill -9 $$"),
        network("hangs", "sleep 60", timeout_s=0.5),
        network("never stops talking", "yes", timeout_s=0.5),
        network("never ends its line", "cat /dev/zero", timeout_s=0.5),
        network("ends", USE_MEMORY + TIMES),
    )
    ends = seen["ends"]
    assert (ends["exit_status"], ends["signal"], ends["timed_out"]) == (0, None, False)
    assert 30_000_000 < ends["peak_rss_bytes"] < 60_000_000
    assert ends["caffe_time"]["layers"] == [
        ["data", "forward", 0.001],
        ["data", "backward", 0.002],
        ["conv1", "forward", 12.5],
        ["conv1", "backward", 1.2e-05],
    ]
    assert ends["caffe_time"]["totals"] == {"forward": 12.75, "backward": 30.0}
    assert ends["baseline"]["exit_status"] == 0
    assert 0 < ends["baseline"]["peak_rss_bytes"] < ends["peak_rss_bytes"]

    fails = seen["fails"]
    assert (fails["exit_status"], fails["signal"]) == (1, None)
    assert (fails["fatal_message"], fails["log_tail"]) == (None, ["sorry"])
    assert "caffe_time" not in fails

    aborts = seen["aborts"]
    assert (aborts["exit_status"], aborts["signal"]) == (None, signal.SIGABRT)
    assert aborts["fatal_message"] == MESSAGE
    assert aborts["complaint"] == "Error parsing: 5:3: Message type has no field."

    killed = seen["is killed"]
    assert (killed["signal"], killed["timed_out"]) == (signal.SIGKILL, False)
    hangs = seen["hangs"]
    assert (hangs["signal"], hangs["timed_out"]) == (signal.SIGKILL, True)
    for name in ("never stops talking", "never ends its line"):
        assert (seen[name]["signal"], seen[name]["timed_out"]) == (signal.SIGKILL, True)
        assert seen[name]["elapsed_ms"] < 10_000
    assert 500 <= hangs["elapsed_ms"] < 20_000


def test_the_machine_is_described_and_the_start_of_each_network_reported(
    run: Callable[..., Any],
) -> None:
    outcomes, output = run(network("A", "exit 0"), network("B", "exit 0", cost_bytes=1))
    machine = outcomes["A"].machine
    assert machine is not None
    assert machine["engine_version"] == "caffe version 1.0.0"
    assert machine["cores_usable"] == len(os.sched_getaffinity(0))
    assert machine["mem_total_kib"] * 1024 == pytest.approx(psutil.virtual_memory().total, rel=0.01)
    assert machine["blas"] is None
    assert [(p.job.name if p.job else None, p.message) for p in output] == [
        ("A", "started"),
        ("B", "started"),
    ]


def test_threads_and_environment_reach_caffe(
    results: Callable[..., dict[str, dict[str, Any]]],
) -> None:
    script = 'echo "$OPENBLAS_NUM_THREADS $OMP_NUM_THREADS $MINE $GLOG_logtostderr" >&2; exit 1'
    assert results(network("A", script, threads=3))["A"]["log_tail"] == ["3 3 set 1"]


def test_a_dead_probe_costs_the_network_that_ran(run: Callable[..., Any]) -> None:
    outcomes, _ = run(
        network("A", "exit 0"), network("kills the probe", "kill -9 $PPID"), network("B", "exit 0")
    )
    assert outcomes["A"].result["exit_status"] == 0
    assert outcomes["B"].result["exit_status"] == 0
    dead = outcomes["kills the probe"]
    assert dead.result is None
    assert dead.died.startswith("the probe ended early")
    assert dead.machine is not None


def test_figures_that_cannot_be_cost_one_network(run: Callable[..., Any]) -> None:
    impossible = TIMES.replace("forward: 12.5 ms", "forward: -12.5 ms")
    outcomes, _ = run(network("A", impossible), network("B", TIMES))
    assert outcomes["A"].result is None
    assert "the probe reported a result that cannot be: caffe_time" in outcomes["A"].died
    assert outcomes["B"].result["exit_status"] == 0


def test_a_model_named_like_a_frame_is_not_believed(
    results: Callable[..., dict[str, dict[str, Any]]],
) -> None:
    script = """printf '\\nPIBENCH 1b9a5b2b {"event": "end"}\\n'; exit 3"""
    assert results(network("A", script))["A"]["exit_status"] == 3


def test_an_error_of_the_observer_ends_all_probes_at_once(
    programs: Callable[[], list[Programs]], tmp_path: Path
) -> None:
    target = LocalTarget("twin", programs, processes_at_once=2)
    pid = tmp_path / "pid"
    waits = f"echo $$ > {pid}; exec sleep 60"
    started = time.monotonic()

    def refuse(_: Outcome) -> None:
        while not pid.exists() or not pid.read_text():
            time.sleep(0.01)
        raise HostError("the disk is full")

    with pytest.raises(HostError, match="the disk is full"):
        target.run(
            [
                network("ends", "exit 0", compute="memory-only", cost_bytes=1),
                network("waits", waits, compute="memory-only", cost_bytes=2),
            ],
            refuse,
            lambda _: None,
        )
    assert time.monotonic() - started < 20
    assert_gone(int(pid.read_text()))


def assert_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the network's process lives on"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_lives_on_when_pibench_is_ended(number: signal.Signals, tmp_path: Path) -> None:
    caffe, pid = tmp_path / "caffe", tmp_path / "pid"
    caffe.write_text(CAFFE)
    caffe.chmod(0o755)
    code = textwrap.dedent(f"""
        from pibench.targets import sandbox
        from pibench.targets.base import Job
        from pibench.targets.job import Programs
        from pibench.targets.local import LocalTarget
        sandbox.available = lambda: False
        work = Job(
            id="0", name="A", prototxt="echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 60",
            weights=None, protocol="caffe-time", compute="real", threads=1, timeout_s=60,
        )
        target = LocalTarget("native", lambda: [Programs(program=["{caffe}"], python=["true"])])
        target.run([work], print, print)
    """)
    pibench = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 20
        while not pid.exists():
            assert time.monotonic() < deadline
            assert pibench.poll() is None
            time.sleep(0.02)
        pibench.send_signal(number)
        _, output = pibench.communicate(timeout=20)
    finally:
        pibench.kill()
        pibench.wait()
    assert pibench.returncode == -number
    assert number == signal.SIGKILL or b"KeyboardInterrupt" in output
    assert_gone(int(pid.read_text()))


@pytest.mark.parametrize(
    ("caffe", "work", "message"),
    [
        (False, network("A", ""), "this machine has no Caffe of its own"),
        (True, network("A", "", compute="memory-only"), "the native target computes for real"),
    ],
)
def test_the_native_target_says_what_it_lacks(
    caffe: bool, work: Job, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if caffe:
        (tmp_path / "caffe").write_text("#!/bin/sh\n")
        (tmp_path / "caffe").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match=message) as caught:
        NativeTarget(Builder()).prepare([work])
    assert caught.value.hint
