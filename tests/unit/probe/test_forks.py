"""Pages that a forked process shares, and those that it gets of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pibench.probe.forks import ForkError, own_pages, shared_pages

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
