"""Packages that add to pibench, and processes that have them installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "tests/plugins"
TARGET = ("pibench.targets", "toy = toy_target:register_toy")
ENGINE = ("pibench.engines", "toy = toy_engine:TOY")


class Site:
    """A folder on the path of Python, with the packages of tests/plugins as pip installs them."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "site"
        self.work = tmp_path / "work"
        self.folder.mkdir()
        self.work.mkdir()

    def install(self, *entry_points: tuple[str, str]) -> None:
        """Install a package with modules for these entry points, each a group and a line."""
        for source in SOURCES.glob("*.py"):
            shutil.copy(source, self.folder)
        info = self.folder / "toy-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "".join(f"[{group}]\n{line}\n" for group, line in entry_points)
        )

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` with the package, in a folder and with a cache of its own."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.work,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join((str(self.folder), str(ROOT))),
                "PIBENCH_CACHE_DIR": str(self.work / "cache"),
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def pibench(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `pibench ARGUMENTS` with the package."""
        return self.python("-m", "pibench", *arguments)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)
