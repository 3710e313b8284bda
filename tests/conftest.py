"""Settings for every test."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

# Containers often forbid bytecode to be kept: pytest would rewrite every test each time, and each
# of the hundreds of processes that tests start would compile pibench.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

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
    """Collect garbage from here on, seldom, and only what the tests themselves leave."""
    gc.freeze()
    gc.set_threshold(50_000, 20)
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Have xdist start files in their order: it would leave long ones with few tests to the end."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


GROUPS = {
    "guest": ("test_bundle", "test_ssh", "test_ssh_faults"),
    "engine": (
        "test_container",
        "test_container_losses",
        "test_container_sandbox",
        "test_crowded_machine",
        "test_engine_script",
        "test_interruption",
        "test_read_only_cache",
        "test_sweep",
    ),
}
"""Emulation tests that share a worker: those of one guest, and those that start and stop Engines.

All other tests are divided by file.
"""
LONG = (
    "test_verdicts",
    "test_plans",
    "test_networks_in_caffe",
    "test_memory_only",
    "test_vm_snapshot",
    "test_inference",
    "test_counts",
    "test_bisect",
    "test_fork_layers",
    "test_bisect_engines",
    "test_own_models",
    "test_convert",
    "test_engines",
    "test_installed",
    "test_pages",
    "test_sysroot",
)
"""Those of the other files that take a minute or more, the longest first."""
GROUP_OF = {
    f"tests/emulation/{file}.py": group for group, files in GROUPS.items() for file in files
}


class ByGroup(LoadFileScheduling):
    """Gives the tests of a group, or of a file without one, to one worker.

    `--dist loadgroup` of pytest-xdist 3.8.0 ignores its marks under pytest 9.2.0.
    """

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return GROUP_OF.get(file, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByGroup | None:
    """Have `--dist loadfile` divide the tests by group."""
    return ByGroup(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with what takes long: at the end no worker shall wait for another."""
    first = (*GROUPS, *(f"tests/emulation/{file}.py" for file in LONG))
    ranks = {name: rank for rank, name in enumerate(first)}

    def rank(item: pytest.Item) -> int:
        file = item.nodeid.partition("::")[0]
        return ranks.get(GROUP_OF.get(file, file), len(ranks))

    items.sort(key=rank)


HERE = Path(__file__).parent
# What a folder's tests are marked with; those of the first have no mark.
MARKS = {"unit": None, "system": "system", "emulation": "emulation", "browser": "browser"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no folder of which `-m` leaves nothing: each process of a run would import it."""
    if collection_path.parent != HERE or collection_path.name not in MARKS:
        return None
    return is_left_out(collection_path.name, config.option.markexpr) or None


def is_left_out(folder: str, expression: str) -> bool:
    """Return whether `-m EXPRESSION` leaves nothing of a folder; False where that is not plain."""
    mark = MARKS[folder]
    if re.fullmatch(r"(?!not )\w+( or (?!not )\w+)*", expression):
        return mark not in expression.split(" or ")
    if re.fullmatch(r"not \w+( and not \w+)*", expression):
        return mark in re.findall(r"not (\w+)", expression)
    return False
