"""A run ends in order on every target, with any inherited signals; only its records stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pibench.records.store import RecordStore
from tests.emulation.engines import OwnEngine, owned_by
from tests.interrupted import ended_in_order, pibench

pytestmark = pytest.mark.emulation
INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
BACKGROUND = (INT, signal.SIGQUIT)
"""What a shell has a background job ignore."""


def wait_until(holds: Callable[[], object], deadline_s: float = 240) -> None:
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def interrupted(
    tmp_path: Path,
    words: list[str],
    *numbers: signal.Signals,
    ignoring: tuple[signal.Signals, ...] = BACKGROUND,
    ended_first: str = "SqueezeNet V1.1",
) -> int:
    """Interrupt a run of two networks in the midst of the second; its process id."""
    out = tmp_path / "records.jsonl"
    with pibench("run", *words, "--jobs", "1", "--out", out, ignoring=ignoring) as process:
        wait_until(lambda: process.poll() is not None or (out.exists() and out.stat().st_size))
        # The second network is under way.
        time.sleep(0.5)
        ended_in_order(process, *numbers)
    (record,) = RecordStore(out).read()
    assert record.network == ended_first
    return process.pid


@pytest.mark.usefixtures("twin")
@pytest.mark.parametrize(
    ("numbers", "ignoring"),
    [
        ((INT,), ()),
        ((INT,), BACKGROUND),
        ((TERM,), (INT, TERM)),
        ((HUP,), BACKGROUND),
        ((TERM, INT, HUP, INT), BACKGROUND),
    ],
)
def test_a_twin(
    numbers: tuple[signal.Signals, ...], ignoring: tuple[signal.Signals, ...], tmp_path: Path
) -> None:
    words = ["SqueezeNet V1.1", "VGG 16", "--target", "twin", "--compute", "real"]
    interrupted(tmp_path, words, *numbers, ignoring=ignoring)


@pytest.mark.parametrize("numbers", [(INT,), (TERM, HUP)])
def test_a_sysroot(numbers: tuple[signal.Signals, ...], slow: Path, tmp_path: Path) -> None:
    interrupted(tmp_path, ["SqueezeNet V1.1", str(slow), "--target", "sysroot"], *numbers)


@pytest.mark.usefixtures("container")
def test_a_container(own_engine: OwnEngine, quick: Path, slow: Path, tmp_path: Path) -> None:
    # Containers are made one by one, in this order, where arithmetic is timed.
    words = [str(quick), str(slow), "--target", "container", "--compute", "real"]
    pid = interrupted(tmp_path, words, HUP, ended_first="quick")
    with own_engine.client() as client:
        assert owned_by(client, pid) == []


@pytest.mark.usefixtures("virt")
def test_a_virtual_machine(tmp_path: Path) -> None:
    interrupted(tmp_path, ["SqueezeNet V1.1", "ResNet-101"], TERM, INT)


@pytest.mark.usefixtures("twin")
def test_a_study_and_the_runs_that_it_has_started(tmp_path: Path) -> None:
    """Also where the signal comes while a cell's own process starts."""
    words = ["--networks", "VGG 16", "--batch", "1,2,3,4", "--target", "twin", "--compute", "real"]
    for after_s in (0.0, 0.2, 1.5):
        study = tmp_path / f"study-{after_s}"
        with pibench("sweep", *words, "--out", study, ignoring=BACKGROUND) as process:
            wait_until((study / "cells.jsonl").exists)
            time.sleep(after_s)
            began = time.monotonic()
            output = ended_in_order(process, INT)
        assert time.monotonic() - began < 15
        assert "4 are left; continue: pibench sweep" in output


@pytest.mark.usefixtures("twin")
def test_a_study_from_python_keeps_its_records_and_continues(tmp_path: Path) -> None:
    """Where no handler of pibench's is set, as in a notebook: the process itself goes on."""
    program = """
import pibench

axes = {"networks": ["SqueezeNet V1.1", "VGG 16"], "target": "twin", "compute": "real"}
try:
    pibench.sweep(**axes, out="study", fresh=True, jobs=1, log=lambda line: print(line, flush=True))
except KeyboardInterrupt as stopped:
    print(stopped, flush=True)
done = pibench.sweep(out="study", resume=True, networks=["SqueezeNet V1.1", "NIN"], fresh=True)
print(done)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("SqueezeNet V1.1 rpi3b twin")
    time.sleep(2)
    process.send_signal(INT)
    began = time.monotonic()
    assert process.stdout.readline().startswith("1 cells were recorded, 1 are left: continue with")
    assert time.monotonic() - began < 15
    output, _ = process.communicate(timeout=240)
    assert output.splitlines()[-1] == "<study: 2 cells: 2 fit>"
    assert process.returncode == 0
    assert len(RecordStore(tmp_path / "study/journal.jsonl").read()) == 2


@pytest.mark.usefixtures("twin")
def test_the_paper_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["SqueezeNet V1.1", "NIN", "AlexNet", "--target", "twin", "--compute", "real"]
    store = RecordStore(out / "records.jsonl")
    with pibench("reproduce", *words, "--jobs", "1", "--out", out) as process:
        wait_until(
            lambda: (
                process.poll() is not None or (store.path.exists() and store.path.stat().st_size)
            )
        )
        output = ended_in_order(process, INT)
    assert "the same command goes on from there" in output
    recorded = store.read()
    assert 1 <= len(recorded) < 3, "a network may end before the signal comes"
    with pibench("reproduce", *words, "--out", out) as process:
        output = process.communicate(timeout=240)[1]
        assert process.returncode == 0
    assert f"{len(recorded)} of 3 networks are there from an interrupted run" in output
    records = store.read()
    assert records[: len(recorded)] == recorded
    assert [record.network for record in records] == ["SqueezeNet V1.1", "NIN", "AlexNet"]
    assert "3 of 3 verdicts agree" in (out / "report-twin.html").read_text()

    # A run that has ended is not gone on with.
    with pibench("reproduce", *words[:1], *words[3:], "--out", out) as process:
        process.communicate(timeout=240)
    assert len(store.read()) == 4


@pytest.mark.usefixtures("twin")
def test_nohup_lets_a_run_go_on(tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    words = ["NIN", "SqueezeNet V1.1", "--target", "twin", "--jobs", "1", "--out", out]
    with pibench("run", *words, ignoring=[HUP]) as process:
        wait_until(lambda: out.exists() and out.stat().st_size)
        process.send_signal(HUP)
        assert process.wait(timeout=120) == 0
    assert len(RecordStore(out).read()) == 2
