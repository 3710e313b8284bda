"""Ctrl-C, TERM and a terminal that is closed end a run in one and the same order.

Ctrl-C and TERM do so whatever this process inherited: shells start background jobs with SIGINT
ignored. A hangup that was ignored stays so, which is what `nohup` is for.
"""

from __future__ import annotations

import os
import signal
import sys

# See pibench/__init__.py.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from types import FrameType

ALWAYS = (signal.SIGINT, signal.SIGTERM)
AGAIN_S = 0.02


def accept() -> None:
    """Raise KeyboardInterrupt in the main thread at the first of these signals."""
    for number in (*ALWAYS, signal.SIGHUP):
        if number in ALWAYS or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALWAYS)
    sys.unraisablehook = _try_again


def close() -> None:
    """Ignore these signals from here on: all is done, and the exit code is known."""
    for number in (*ALWAYS, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # CPython notes an interruption of an exec (a dataclass being made, say) as one that nobody
    # caught, and would end by SIGINT in spite of the exit code. The next exec clears the note.
    exec("")  # noqa: S102


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Children are stopped and records kept; a second signal does not cut that short."""
    for number in (*ALWAYS, signal.SIGHUP):
        if signal.getsignal(number) == _interrupt:
            # Not SIG_IGN: a child that is started yet would inherit it, and not heed TERM.
            signal.signal(number, _pass)
    if running := sys.modules.get("pibench.process"):
        running.interrupted.set()
    raise KeyboardInterrupt


def _pass(_number: int, _frame: FrameType | None) -> None:
    pass


def _try_again(lost: sys.UnraisableHookArgs) -> None:
    """Interrupt once more where Python dropped it: it came in a destructor, or a callback of gc."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return
    from threading import Timer

    accept()
    again = Timer(AGAIN_S, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    again.start()
