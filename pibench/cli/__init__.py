"""The command line: a module for each command, `options` for what they share.

Ctrl-C, TERM and a hangup of the terminal end a run in the same way. Ctrl-C and TERM are handled
even if this process inherited them as ignored: shells start background jobs with SIGINT ignored.
An ignored hangup stays ignored, for `nohup`.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings

# See pibench/__init__.py.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

INTERRUPTED = 130
ALWAYS = (signal.SIGINT, signal.SIGTERM)
AGAIN_S = 0.02


def main() -> NoReturn:
    """Run `pibench`; every failure is one line on standard error and an exit code."""
    try:
        accept_signals()
        # Not before signals are taken.
        import atexit
        import gc

        # At its end Python looks for garbage once more, in all that there is: 50 ms and more.
        atexit.register(gc.freeze)
        # Importing makes no garbage to look for; a command enables this.
        gc.disable()
        # Pydantic would read the metadata of every installed package, to look for plugins.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
        code = _run()
    except KeyboardInterrupt:
        # Before a command ran, while modules were imported.
        _complain("interrupted")
        code = INTERRUPTED
    ignore_signals()
    sys.exit(code)


def _run() -> int:
    """Return the exit code of the command or of its failure."""
    try:
        from pibench import settings
        from pibench.cli.output import repair_std_streams

        repair_std_streams()
        settings.complete_user()
        settings.check_variables()
        warnings.showwarning = _show_warning
        from pibench.cli.app import application

        # A shell that completes a line gives it in a variable.
        words = None if "_PIBENCH_COMPLETE" in os.environ else sys.argv[1:]
        code: int = application(words)(standalone_mode=False) or 0
    except Exception as error:
        return explain(error)
    if code == INTERRUPTED:
        # Interrupted while the arguments were read: Typer converts that to an exit code.
        raise KeyboardInterrupt
    return code


def explain(error: Exception) -> int:
    """Print the error on one line and return its exit code."""
    import re

    from pibench import settings
    from pibench.errors import ExitCode, PibenchError

    if isinstance(error, PibenchError):
        _complain(settings.with_sources(error.line(), sys.argv[1:]))
        return int(error.exit_code)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error, file=sys.stderr)
        return int(ExitCode.INVALID_INPUT)
    if message := getattr(error, "format_message", None):
        # Typer contains its own copy of click or needs the real one: this works for both.
        path = getattr(getattr(error, "ctx", None), "command_path", None) or _command_path()
        # pydantic's own words say nothing to a person.
        what = message().rstrip(".").replace("Value error, ", "")
        what = re.sub(r"Input should be (a valid \w+), unable to parse.*", r"it is not \1", what)
        _complain(settings.with_sources(f"{what}; see: {path} --help", sys.argv[1:]))
        return int(ExitCode.INVALID_INPUT)
    if settings.traceback_wanted():
        raise error
    _complain(
        f"internal error: {type(error).__name__}: {error}; set PIBENCH_TRACEBACK=1 to see where"
    )
    return int(ExitCode.ENVIRONMENT)


def _command_path() -> str:
    """Return the command of the arguments, for errors that do not name it."""
    from pibench.cli.app import NAMES

    return " ".join(["pibench", *(word for word in sys.argv[1:2] if word in NAMES)])


def _complain(line: str) -> None:
    from pibench.cli.output import say

    say(line)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _complain(str(message))


def accept_signals() -> None:
    """Raise KeyboardInterrupt in the main thread at the first of these signals."""
    for number in (*ALWAYS, signal.SIGHUP):
        if number in ALWAYS or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALWAYS)
    sys.unraisablehook = _try_again


def ignore_signals() -> None:
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
    # Neither is there where the signal comes before the module is imported, or meanwhile.
    if flag := getattr(sys.modules.get("pibench.process"), "interrupted", None):
        flag.set()
    raise KeyboardInterrupt


def _pass(_number: int, _frame: FrameType | None) -> None:
    pass


def _try_again(lost: sys.UnraisableHookArgs) -> None:
    """Interrupt again if Python dropped the exception: in a destructor or a callback of gc."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return
    from threading import Timer

    accept_signals()
    again = Timer(AGAIN_S, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    again.start()
