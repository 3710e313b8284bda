"""The cycles of the own stack's kernels, from the library in the image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pibench.images.build import Builder

pytestmark = pytest.mark.emulation
ROOT = Path(__file__).resolve().parents[2]


def test_stacks_are_those_of_the_images_library(builder: Builder) -> None:
    pytest.importorskip("capstone")
    library = builder.sysroot().content / "root/usr"
    found = subprocess.run(
        [sys.executable, str(ROOT / "scripts/stacks.py"), str(library), "--check"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "changed: none\n"
    for kept in ("openblas-a53", "openblas-16x4", "openblas-armv8"):
        assert f"{kept}: its library" not in found.stderr
