"""`pibench` in a process that inherited what a background job does, to be sent signals."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil


@contextlib.contextmanager
def pibench(
    *arguments: str | Path, ignoring: Sequence[signal.Signals] = ()
) -> Iterator[subprocess.Popen[str]]:
    """The process, started with these signals ignored; it does not outlive the block."""

    def inherit() -> None:
        for number in ignoring:
            signal.signal(number, signal.SIG_IGN)

    with subprocess.Popen(
        [sys.executable, "-m", "pibench", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        preexec_fn=inherit,  # noqa: PLW1509  (tests have no threads that hold locks)
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended_in_order(process: subprocess.Popen[str], *numbers: signal.Signals) -> str:
    """Send signals one after the other; what it wrote to standard error until its end.

    It has ended as after Ctrl-C, and no process that it had started is left.
    """
    started = psutil.Process(process.pid).children(recursive=True)
    for number in numbers:
        process.send_signal(number)
    output = process.communicate(timeout=60)[1]
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert "interrupted" in output.splitlines()[-1]
    # Where nobody waits for orphans they stay as zombies.
    psutil.wait_procs(started, timeout=0.5)
    assert not [child for child in started if is_alive(child)]
    return output


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs still."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
