"""The command line. Commands parse, call and print; the called functions do the work."""

from __future__ import annotations

import sys
import warnings

# See pibench/__init__.py.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """Run `pibench`; every failure is one line on standard error and an exit code."""
    from pibench.cli import interruption

    try:
        interruption.accept()
        code = _run()
    except KeyboardInterrupt:
        # Before a command ran, while modules were imported.
        _complain("interrupted")
        code = INTERRUPTED
    interruption.close()
    sys.exit(code)


def _run() -> int:
    """Return the exit code of the command or of its failure."""
    try:
        from pibench import settings
        from pibench.cli import streams

        streams.repair_std_streams()
        settings.complete_user()
        warnings.showwarning = _show_warning
        from pibench.cli.app import app

        code: int = app(standalone_mode=False) or 0
    except Exception as error:
        return explain(error)
    if code == INTERRUPTED:
        # Interrupted while the arguments were read: Typer converts that to an exit code.
        raise KeyboardInterrupt
    return code


def explain(error: Exception) -> int:
    """Print the error on one line and return its exit code."""
    from pibench import settings
    from pibench.errors import ExitCode, PibenchError

    if isinstance(error, PibenchError):
        _complain(error.line())
        return int(error.exit_code)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error, file=sys.stderr)
        return int(ExitCode.INVALID_INPUT)
    if said := getattr(error, "format_message", None):
        # Typer contains its own copy of click or needs the real one: this works for both.
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


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _complain(str(message))
