"""The command line. Commands parse, call, print; what they call does the work."""

from __future__ import annotations

import sys
import warnings

# See pibench/__init__.py; so does importing signal.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

INTERRUPTED = 130
_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


def main() -> NoReturn:
    """Run `pibench`; every failure is one line on standard error and an exit code."""
    try:
        from pibench.cli import streams

        streams.open_missing()
        warnings.showwarning = _show_warning
        _end_alike()
        from pibench.cli.app import app

        code = app(standalone_mode=False) or 0
        if code == INTERRUPTED:
            # While the arguments were read: Typer makes it an exit code of its own.
            raise KeyboardInterrupt
        sys.exit(code)
    except KeyboardInterrupt:
        # Before a command ran, modules being imported for one.
        _complain("interrupted")
        sys.exit(INTERRUPTED)
    except Exception as error:
        sys.exit(_explain(error))


def _explain(error: Exception) -> int:
    """Say on one line what went wrong; the exit code."""
    from pibench import settings
    from pibench.errors import ExitCode, PibenchError

    if isinstance(error, PibenchError):
        _complain(error.line())
        return int(error.exit_code)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error, file=sys.stderr)
        return int(ExitCode.INVALID_INPUT)
    if said := getattr(error, "format_message", None):
        # Typer carries its own copy of click or needs the real one: this holds for both.
        path = getattr(getattr(error, "ctx", None), "command_path", "pibench")
        _complain(f"{said().rstrip('.')}; see: {path} --help")
        return int(ExitCode.INVALID_INPUT)
    if settings.traceback_wanted():
        raise error
    _complain(
        f"a fault of pibench itself: {type(error).__name__}: {error}; "
        "PIBENCH_TRACEBACK=1 shows where"
    )
    return int(ExitCode.ENVIRONMENT)


def _complain(line: str) -> None:
    from pibench.report.plain import one_line

    print(f"pibench: {one_line(line)}", file=sys.stderr)


def _end_alike() -> None:
    """TERM, and a terminal that is closed, end a run as Ctrl-C does; nohup still holds."""
    import signal

    for number in (getattr(signal, name) for name in _ENDING):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Children are stopped and records kept; a second Ctrl-C does not cut that short."""
    import signal

    for name in _ENDING:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise KeyboardInterrupt


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _complain(str(message))
