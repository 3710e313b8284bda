"""Temporary folders: gone afterwards, and those of the dead swept."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pibench.targets.sandbox import scratch
from tests.mounts import require_mounts


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_lives_as_long_as_its_block(temporary: Path) -> None:
    with scratch("vm") as folder:
        assert folder.parent == temporary
        (folder / "file").touch()
    assert not folder.exists()


def test_what_a_killed_run_left_is_swept_and_nothing_else(temporary: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    dead = temporary / f"pibench-vm-{gone.pid}-abcd1234"
    foreign = temporary / "pibench-notes"
    for folder in (dead, foreign):
        folder.mkdir()
        (folder / "file").touch()
    with scratch("twin") as own, scratch("twin"):
        assert own.exists()
        assert not dead.exists()
    assert foreign.exists()


def test_what_lives_in_another_pid_namespace_stays(temporary: Path) -> None:
    """Containers that share a folder for temporary files do not see each other's processes."""
    require_mounts()
    code = "import sys; from pibench.targets import sandbox; sandbox.remove_orphans()"
    other = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    with scratch("vm") as folder:
        subprocess.run(other, env=os.environ | {"TMPDIR": str(temporary)}, check=True)
        assert folder.exists()
    left = temporary / folder.name
    left.mkdir()
    subprocess.run(other, env=os.environ | {"TMPDIR": str(temporary)}, check=True)
    assert not left.exists()
