"""File systems of a test's own, in memory or in a private name space."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def require_mounts() -> None:
    """Skip where nothing may be mounted: not root, or in a container without that right."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here")


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of that size on `folder`, in memory."""
    require_mounts()
    options = f"size={size_bytes},mode=1777"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
