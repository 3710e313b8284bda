"""Run every subprocess of pibench: with a deadline, then TERM, then KILL.

Every child gets its own session, so that a signal reaches its descendants too, and nothing outlives
the block that started it, neither after an error nor after Ctrl-C.

What processes may use of this machine is the lower of its own and the control groups' limits: in a
container, a pod of a CI service or a slice of systemd the machine has more memory and cores.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from pibench.errors import HostError
from pibench.probe import cgroup

Result = TypeVar("Result")

SIGNALS_S: Final = 0.5
"""How long a signal may go unnoticed."""
GRACE_S = 3.0
"""Seconds between TERM and KILL: long enough for QEMU to close its sockets."""


interrupted = threading.Event()
"""Set once a signal ends this process; its threads then start no more children."""

_live: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True, kw_only=True)
class Completed:
    """How a command ended; `returncode` is negative for a signal, as in subprocess."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    @property
    def ending(self) -> str:
        """Return the ending in words: `exit status 3` or `SIGKILL`."""
        return describe_ending(self.returncode)

    def last_lines(self, count: int = 3) -> str:
        """Return the last lines that the command wrote to its standard error, as one line."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return " | ".join(lines[-count:])


def describe_ending(returncode: int) -> str:
    """Describe a return code: `exit status 3` or `SIGKILL`."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def require_program(name: str, *, package: str) -> str:
    """Return the path of a program.

    Raises:
        HostError: The program is missing; the error names the Debian package that contains it.
    """
    # mke2fs and similar programs are in sbin, which an unprivileged PATH often lacks.
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        raise HostError(
            f"the program {name} is not installed", hint=f"sudo apt-get install {package}"
        )
    return path


def run(
    argv: Sequence[str | Path],
    *,
    deadline_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    grace_s: float = GRACE_S,
) -> Completed:
    """Run a command to its end and return what it printed.

    Args:
        argv: The command.
        deadline_s: Seconds after which the command is stopped.
        env: Variables added to this process's environment.
        cwd: The working directory.
        check: Raise HostError for a nonzero ending.
        grace_s: Seconds between TERM and KILL, when the command is stopped.

    Raises:
        HostError: The command passed its deadline or, with `check`, did not end with 0; the error
            names the command and its last output.
    """
    args = tuple(str(arg) for arg in argv)
    pipe = subprocess.PIPE
    with running(args, env=env, cwd=cwd, stdout=pipe, stderr=pipe, grace_s=grace_s) as child:
        try:
            out, err = child.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            raise HostError(
                f"{Path(args[0]).name} did not end within {deadline_s:.0f} s and was stopped"
            ) from None
    done = Completed(
        argv=args,
        returncode=child.returncode,
        stdout=out.decode(errors="replace"),
        stderr=err.decode(errors="replace"),
    )
    if check and done.returncode != 0:
        raise HostError(
            f"{Path(args[0]).name} failed ({done.ending}): "
            f"{done.last_lines() or 'it printed nothing'}"
        )
    return done


@contextlib.contextmanager
def running(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    grace_s: float = GRACE_S,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a child that is stopped at the end of the block, and with the thread that entered it.

    Raises:
        HostError: The program cannot be started.
    """
    # An emulated machine must end even after kill -9 of this process. setpriv is part of
    # util-linux, which every Debian has; elsewhere only the end of the block stops the child.
    dying = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    if shutil.which(argv[0]) is None:
        raise HostError(f"cannot start {argv[0]}: the program is not installed")
    try:
        child = subprocess.Popen(
            [*dying, *argv],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise HostError(f"cannot start {argv[0]}: {error.strerror}") from error
    _live.add(child)
    try:
        end_if_interrupted()
        yield child
    finally:
        _live.discard(child)
        stop(child, grace_s=grace_s)


@contextlib.contextmanager
def stopped_together() -> Iterator[None]:
    """Stop children that run in several threads together: on an error or Ctrl-C in the block.

    A thread pool is left only when each child has ended, and Ctrl-C reaches only the main thread.
    """
    try:
        yield
    except BaseException:
        for child in list(_live):
            _signal_group(child, signal.SIGTERM)
        raise


def end_if_interrupted() -> None:
    """Raise HostError in any thread but the main one once `interrupted` is set.

    Otherwise a thread that the main thread waits for would start the next child, or wait for a
    lock.
    """
    if interrupted.is_set() and threading.current_thread() is not threading.main_thread():
        raise HostError("interrupted")


def stop(child: subprocess.Popen[bytes], *, grace_s: float = GRACE_S) -> None:
    """Send TERM to the child's process group, then KILL after its end or the grace period."""
    if child.poll() is None:
        _signal_group(child, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=grace_s)
    # This applies to a child that has ended too: its descendants may ignore TERM or still run.
    _signal_group(child, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            # What was not written yet has no reader any more.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def complete(doing: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end, also where this thread has an event loop, as in a notebook.

    After Ctrl-C it is cancelled, and has ended before KeyboardInterrupt goes on.
    """
    import asyncio  # noqa: PLC0415  (start-up time)
    from concurrent.futures import Future, ThreadPoolExecutor, wait  # noqa: PLC0415  (as above)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(doing)
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = Future()

    async def noted() -> Result:
        begun.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        return await doing

    with ThreadPoolExecutor(max_workers=1) as pool:
        ended = pool.submit(lambda: asyncio.run(noted()))
        try:
            # Wake up for signals: nothing wakes a main thread that waits for a lock.
            while not wait([ended], timeout=SIGNALS_S).done:
                pass
        except BaseException:
            loop, task = begun.result()
            if task is not None:
                with contextlib.suppress(RuntimeError):  # It may just have ended.
                    loop.call_soon_threadsafe(task.cancel)
            raise
        return ended.result()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def available_memory_bytes(root: str = "") -> int:
    """Return how many bytes new processes can allocate before memory runs short.

    `root` replaces `/` where the cgroups' files are read.
    """
    import psutil  # noqa: PLC0415  (start-up time)

    room = [int(psutil.virtual_memory().available)]
    for limit, used, reclaimable in cgroup.memory_groups(root):
        if limit is not None and used is not None:
            room.append(limit - max(used - reclaimable, 0))
    return max(0, min(room))


def usable_cores(root: str = "") -> int:
    """Return on how many cores processes here can run at once: affinity, CPU sets and quotas.

    `root` replaces `/` where the cgroups' files are read.
    """
    # The kernel's affinity mask already respects the cores of a CPU set.
    cores = len(os.sched_getaffinity(0))
    for quota in cgroup.cpu_quotas(root):
        if quota["quota_us"] is not None and quota["period_us"]:
            cores = min(cores, quota["quota_us"] // quota["period_us"])
    return max(1, cores)
