"""Settings for every test."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from pathlib import Path

# Containers often forbid bytecode to be kept: pytest would rewrite every test each time, and each
# of the hundreds of processes that tests start would compile pibench.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from hypothesis import settings

# A shell starts background jobs with SIGINT ignored, nohup ignores SIGHUP, others block or ignore
# more, and children inherit that: tests of interruptions would then fail for where they were
# started from.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())

# How long an example takes depends on how busy the host is. `make test` searches longer, with
# --hypothesis-profile=thorough.
settings.register_profile("pibench", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=200)
settings.load_profile("pibench")

# Importing thousands of tests makes no garbage to speak of, and each worker imports all of them.
gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Collect garbage from here on, and only what the tests themselves leave."""
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Have xdist start files in their order: it would leave long ones with few tests to the end."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


HERE = Path(__file__).parent
# What a folder's tests are marked with; those of the first have no mark.
MARKS = {"unit": None, "emulation": "emulation", "browser": "browser"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no folder of which `-m` leaves nothing: each process of a run would import it."""
    if collection_path.parent != HERE or collection_path.name not in MARKS:
        return None
    return is_left_out(collection_path.name, config.option.markexpr) or None


def is_left_out(folder: str, expression: str) -> bool:
    """Return whether `-m EXPRESSION` leaves nothing of a folder; False where that is not plain."""
    mark = MARKS[folder]
    if expression in ("emulation", "browser"):
        return mark != expression
    if re.fullmatch(r"not \w+( and not \w+)*", expression):
        return mark in re.findall(r"not (\w+)", expression)
    return False
