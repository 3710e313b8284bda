"""End a run in the same way on Ctrl-C, TERM and a hangup of the terminal.

Ctrl-C and TERM are handled even if this process inherited them as ignored: shells start
background jobs with SIGINT ignored. An ignored hangup stays ignored, for `nohup`.
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
    """Ignore these signals from now on: the work is complete and the exit code is known."""
    for number in (*ALWAYS, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # CPython records an interrupted exec (for example while a dataclass is created) as uncaught,
    # and would end by SIGINT in spite of the exit code. The next exec clears that state.
    exec("")  # noqa: S102


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; later signals must not interrupt the cleanup and saving."""
    for number in (*ALWAYS, signal.SIGHUP):
        if signal.getsignal(number) == _interrupt:
            # Not SIG_IGN: a child started later would inherit it and ignore TERM.
            signal.signal(number, _pass)
    if running := sys.modules.get("pibench.process"):
        running.interrupted.set()
    raise KeyboardInterrupt


def _pass(_number: int, _frame: FrameType | None) -> None:
    pass


def _try_again(lost: sys.UnraisableHookArgs) -> None:
    """Interrupt again if Python dropped the exception: in a destructor or a callback of gc."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return
    from threading import Timer

    accept()
    again = Timer(AGAIN_S, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    again.start()
