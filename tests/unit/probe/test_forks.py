"""Pages that a forked process shares, and those that it gets of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pibench.probe.forks import ForkError, LoadedProgram, own_pages, shared_pages

MIB = 2**20


@contextmanager
def forked(content: bytearray) -> Iterator[tuple[int, int, int]]:
    """A process that waits for a byte, and then writes its content: its number and two pipes."""
    (go, to_it), (from_it, answers) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(go, 1)
        view = memoryview(content)
        while view:
            view = view[os.write(answers, view) :]
        os._exit(0)
    os.close(answers)
    try:
        yield pid, to_it, from_it
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (go, to_it, from_it):
            os.close(fd)


def bytes_in(runs: Iterator[tuple[int, int]]) -> int:
    return sum(end - start for start, end in runs)


def test_shared_pages_become_the_process_s_own_and_stay_the_same() -> None:
    content = bytearray(os.urandom(8 * MIB))
    with forked(content) as (pid, to_it, from_it):
        assert bytes_in(shared_pages(pid)) > 8 * MIB
        own_pages(pid)
        assert bytes_in(shared_pages(pid)) == 0
        os.write(to_it, b"\n")
        found = b""
        while len(found) < len(content):
            found += os.read(from_it, MIB)
        assert found == content


def test_a_process_that_runs_is_not_written_to() -> None:
    pid = os.fork()
    if pid == 0:
        while True:
            pass
    try:
        with pytest.raises(ForkError, match="does not wait"):
            own_pages(pid, deadline_s=0.05)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_process_that_has_ended_is_not_waited_for() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        begun = time.monotonic()
        with pytest.raises(ForkError, match="does not wait"):
            own_pages(pid)
        assert time.monotonic() - begun < 5
    finally:
        os.waitpid(pid, 0)


# As qemu/blas/memory_only_forks.c; the program itself takes down its argument.
SERVER = """
import os, sys
answers, go, run = map(int, os.environ["PIBENCH_FORKS"].split(","))
while request := os.read(0, 4096):
    numbers, child = os.pipe()
    if not (between := os.fork()):
        os.write(answers, b"%d\\n" % os.getpid())
        os.read(go, 1)
        if not (pid := os.fork()):
            os.setsid()
            os.write(answers, b"%d\\n" % os.getpid())
            os.read(run, 1)
            open(sys.argv[1], "ab").write(request)
            os._exit(0)
        os.write(child, b"%d" % pid)
        os.read(go, 1)
        os._exit(0)
    os.waitpid(between, 0)
    os.write(answers, os.read(numbers, 20) + b"\\n")
"""


@pytest.mark.parametrize("victim", ["between", "forked"])
def test_the_next_process_waits_where_one_was_killed(tmp_path: Path, victim: str) -> None:
    """What was written for a process that was killed would be read by the next."""
    ran = tmp_path / "ran"
    program = [sys.executable, "-c", SERVER, str(ran)]
    loaded = LoadedProgram({}, program, {}, guest=False)
    placed: list[int] = []

    def kill(pid: int) -> bool:
        os.kill(placed[-1] if victim == "between" else pid, signal.SIGKILL)
        time.sleep(0.2)
        return True

    def has_forked_nothing(pid: int) -> None:
        time.sleep(0.2)
        assert Path(f"/proc/{pid}/task/{pid}/children").read_text() == ""

    def has_not_run(pid: int) -> bool:
        time.sleep(0.2)
        return pid > 0 and not (ran.exists() and b"\0second" in ran.read_bytes())

    try:
        first = loaded.fork([*program, "first"], placed.append, kill)
        os.waitpid(first.pid, 0)
        following = loaded.fork([*program, "second"], has_forked_nothing, has_not_run)
        os.waitpid(following.pid, 0)
        assert b"\0second" in ran.read_bytes()
    finally:
        loaded.end()
