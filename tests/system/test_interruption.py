"""Ctrl-C, TERM and a hangup end a command in order, with any inherited signal handling."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.interrupted import pibench

pytestmark = pytest.mark.system

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def own_process(code: str, *, blocked: bool = False) -> subprocess.CompletedProcess[str]:
    """A program around `pibench schema`, which runs `code` where a command begins."""
    program = f"""if True:
        import os, signal, sys, time
        import pibench.records.schema
        def command():
            {code}
        pibench.records.schema.json_schema = command
        from pibench.cli import main
        sys.argv = ["pibench", "schema"]
        main()
    """

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, (INT, TERM))

    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30,
        preexec_fn=block if blocked else None,
    )  # fmt: skip


@pytest.mark.parametrize("number", [INT, TERM, HUP])
def test_each_signal_ends_it_alike(number: signal.Signals) -> None:
    done = own_process(f"os.kill(os.getpid(), {int(number)}); time.sleep(5)")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "pibench: interrupted; what was made so far is kept\n"


@pytest.mark.parametrize("number", [INT, TERM])
def test_a_signal_that_was_blocked_ends_it_too(number: signal.Signals) -> None:
    done = own_process(f"os.kill(os.getpid(), {int(number)}); time.sleep(5)", blocked=True)
    assert done.returncode == 130


def test_a_second_signal_does_not_cut_the_clean_up_short() -> None:
    done = own_process("""
            try:
                os.kill(os.getpid(), signal.SIGHUP)
                time.sleep(5)
            finally:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    os.kill(os.getpid(), number)
                time.sleep(0.1)
                print("cleared up")
    """)
    assert (done.returncode, done.stdout) == (130, "cleared up\n")


def test_a_child_of_the_clean_up_heeds_term() -> None:
    """What is ignored is inherited, and would take the grace of each child and a KILL."""
    done = own_process("""
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            finally:
                os.system("grep SigIgn /proc/self/status")
    """)
    (line,) = done.stdout.splitlines()
    ignored = int(line.split()[1], 16)
    assert not any(ignored & 1 << number - 1 for number in (INT, TERM, HUP))


def test_an_interruption_that_python_drops_comes_again() -> None:
    """One that is raised in a destructor is reported, and lost."""
    done = own_process("""
            class Dying:
                def __del__(self):
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.01)
            Dying()
            time.sleep(5)
    """)
    assert done.returncode == 130
    assert done.stderr == "pibench: interrupted; what was made so far is kept\n"


def test_an_interruption_within_an_exec_has_the_exit_code_too() -> None:
    """CPython would end by SIGINT itself, which a caller sees as -2."""
    done = own_process('exec("os.kill(os.getpid(), signal.SIGINT); time.sleep(5)")')
    assert done.returncode == 130


def test_nohup_is_respected(tmp_path: Path) -> None:
    with pibench("sweep", "status", tmp_path, ignoring=[HUP]) as process:
        process.send_signal(HUP)
        assert process.wait(timeout=30) == 2


@pytest.mark.parametrize("ignoring", [(), (INT, TERM)], ids=["alone", "in the background"])
@pytest.mark.parametrize("numbers", [(INT,), (TERM,), (TERM, INT, HUP, INT)])
def test_whenever_they_come_there_is_no_traceback(
    numbers: tuple[signal.Signals, ...], ignoring: tuple[signal.Signals, ...]
) -> None:
    """While modules are imported, a network is planned and a process ends."""
    for after_s in (0.15, 0.4):
        with pibench("plan", "VGG 16", "--max-batch", ignoring=ignoring) as process:
            time.sleep(after_s)
            for number in numbers:
                process.send_signal(number)
            output = process.communicate(timeout=30)[1]
        # Before Python runs, the system ends it; afterwards it was done.
        assert process.returncode in (130, 0, *(-number for number in numbers))
        if process.returncode >= 0:
            assert "Traceback" not in output
