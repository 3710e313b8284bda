"""Children end with the block that started them, and their end is described in words."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pibench import process
from pibench.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable

# Both note their process ids, and neither heeds TERM.
STUBBORN_FAMILY = """\
trap '' TERM
echo $$ >> {pids}
sh -c 'trap "" TERM; echo $$ >> {pids}; while :; do sleep 0.1; done' &
while :; do sleep 0.1; done
"""


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    return tmp_path / "pids"


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def noted(pids: Path) -> list[int]:
    return [int(line) for line in pids.read_text().split()] if pids.exists() else []


def assert_all_gone(pids: Path, count: int) -> None:
    assert len(noted(pids)) == count
    wait_until(lambda: not any(map(alive, noted(pids))))


def test_the_deadline_ends_a_child_that_ignores_term_and_what_it_started(pids: Path) -> None:
    started = time.monotonic()
    with pytest.raises(HostError, match="sh did not end within 1 s and was stopped"):
        process.run(["sh", "-c", STUBBORN_FAMILY.format(pids=pids)], deadline_s=1, grace_s=0.3)
    assert time.monotonic() - started < 8
    assert_all_gone(pids, 2)


def test_ctrl_c_inside_the_block_leaves_no_child(pids: Path) -> None:
    def interrupted() -> None:
        with process.running(["sh", "-c", STUBBORN_FAMILY.format(pids=pids)], grace_s=0.3):
            wait_until(lambda: len(noted(pids)) == 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert_all_gone(pids, 2)


def test_a_grandchild_that_ignores_term_goes_even_where_the_child_heeds_it(pids: Path) -> None:
    script = (
        f"sh -c 'trap \"\" TERM; echo $$ >> {pids}; while :; do sleep 0.1; done' & "
        f"echo $$ >> {pids}; wait"
    )
    with process.running(["sh", "-c", script]):
        wait_until(lambda: len(noted(pids)) == 2)
    assert_all_gone(pids, 2)


def test_a_grandchild_goes_also_where_the_child_has_ended_by_itself(pids: Path) -> None:
    script = f"sh -c 'echo $$ > {pids}; sleep 60' >/dev/null 2>&1 & sleep 0.2"
    assert process.run(["sh", "-c", script], deadline_s=10).returncode == 0
    assert_all_gone(pids, 1)


def test_term_comes_first_so_that_a_child_can_tidy_up(tmp_path: Path) -> None:
    tidied, ready = tmp_path / "tidied", tmp_path / "ready"
    script = (
        f"trap 'echo yes > {tidied}; exit 0' TERM; echo > {ready}; while :; do sleep 0.02; done"
    )
    with process.running(["sh", "-c", script]):
        wait_until(ready.exists)
    assert tidied.read_text() == "yes\n"


def test_a_missing_program_is_named() -> None:
    with pytest.raises(HostError, match="cannot start no-such-program: "):
        process.run(["no-such-program", "--version"], deadline_s=5)


def test_a_program_without_the_right_to_run_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tool"
    path.write_text("#!/bin/sh\n")
    with pytest.raises(HostError, match=r"cannot start .*tool: "):
        process.run([path], deadline_s=5)


def test_a_required_program_comes_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError) as caught:
        process.require_program("no-such-program", package="some-package")
    assert caught.value.line() == (
        "the program no-such-program is not installed; sudo apt-get install some-package"
    )
    # An unprivileged PATH often lacks sbin.
    monkeypatch.setenv("PATH", "/nonexistent")
    assert process.require_program("ldconfig", package="libc-bin").endswith("sbin/ldconfig")


def test_a_failure_states_how_it_ended_and_the_last_words() -> None:
    script = "for word in one two three four; do echo $word >&2; echo >&2; done; exit 3"
    with pytest.raises(HostError, match=r"^sh failed \(exit status 3\): two \| three \| four$"):
        process.run(["sh", "-c", script], deadline_s=5)
    with pytest.raises(HostError, match=r"^sh failed \(SIGKILL\): it printed nothing$"):
        process.run(["sh", "-c", "kill -9 $$"], deadline_s=5)


def test_an_ending_is_returned_where_it_is_not_checked() -> None:
    done = process.run(["sh", "-c", "echo out; echo err >&2; exit 7"], deadline_s=5, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert done.ending == "exit status 7"


@pytest.mark.parametrize(
    ("returncode", "message"),
    [
        (0, "exit status 0"),
        (137, "exit status 137"),
        (-signal.SIGSEGV, "SIGSEGV"),
        (-200, "signal 200"),
    ],
)
def test_endings_in_words(returncode: int, message: str) -> None:
    assert process.describe_ending(returncode) == message


def test_the_environment_is_added_to_and_bytes_that_are_not_text_do_no_harm() -> None:
    code = (
        "import os, sys; sys.stdout.buffer.write("
        "os.environb[b'MINE'] + b'\\xff' + bytes('PATH' in os.environ))"
    )
    done = process.run([sys.executable, "-c", code], env={"MINE": "here"}, deadline_s=10)
    assert done.stdout == "here\N{REPLACEMENT CHARACTER}\0"


def test_much_output_on_both_pipes_does_not_block() -> None:
    script = "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"
    done = process.run(["sh", "-c", script], deadline_s=10)
    assert (len(done.stdout), len(done.stderr)) == (300_000, 300_000)
