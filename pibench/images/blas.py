"""Building the memory-only BLAS of `qemu/blas` for a root."""
from __future__ import annotations

from pathlib import Path

from pibench.images.recipe import Architecture


def build_blas(architecture: Architecture, root: Path, content: Path) -> None:
    """Compile it."""
    raise SystemExit((architecture, root, content))
