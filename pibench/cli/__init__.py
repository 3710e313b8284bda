"""The command line. Commands parse, call, print; what they call does the work."""

from __future__ import annotations

import signal
import sys
import warnings
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType


def main() -> NoReturn:
    """Run `pibench`; every failure is one line on standard error and an exit code."""
    from pibench.cli.app import app
    from pibench.errors import PibenchError

    signal.signal(signal.SIGTERM, _interrupt)
    warnings.showwarning = _show_warning
    try:
        app(standalone_mode=True)
    except PibenchError as error:
        _complain(error.line())
        sys.exit(int(error.exit_code))
    sys.exit(0)


def _complain(line: str) -> None:
    print(f"pibench: {' '.join(line.split())}", file=sys.stderr)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """TERM ends a run as Ctrl-C does: children stopped, records kept."""
    raise KeyboardInterrupt


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _complain(str(message))
