"""scripts/install_packages.py: what pip is configured to use is what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from scripts.install_packages import pip_settings, uv_variables

pytestmark = pytest.mark.system

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/install_packages.py"
NAME = "toy-1.0-py3-none-any.whl"


def pip_lists(config: Path, **env: str) -> str:
    """What pip reports of its settings, with this file as one of its files."""
    pip = [sys.executable, "-m", "pip", "config", "list"]
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PIP_")}
    given = kept | {"PIP_CONFIG_FILE": str(config), **env}
    return subprocess.run(pip, env=given, capture_output=True, text=True, check=True).stdout


def test_uv_looks_where_pip_would(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://first/simple\nfind-links = /a /b\n"
        "[install]\nextra-index-url = https://second/simple https://third/simple\n"
        "[list]\nformat = columns\n"
    )
    listed = pip_lists(config, PIP_INDEX_URL="https://nearer/simple", PIP_NO_INDEX="1")
    found = uv_variables(pip_settings(listed))
    assert found["UV_DEFAULT_INDEX"] == "https://nearer/simple"
    assert found["UV_INDEX"] == "https://second/simple https://third/simple"
    assert found["UV_FIND_LINKS"] == "/a,/b"
    assert found["UV_NO_INDEX"] == "1"
    assert not [name for name in found if "FORMAT" in name]


def wheel(folder: Path) -> None:
    """A package of one module in a wheel."""
    with zipfile.ZipFile(folder / NAME, "w") as archive:
        archive.writestr("toy.py", "")
        archive.writestr(
            "toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n"
        )
        archive.writestr(
            "toy-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("toy-1.0.dist-info/RECORD", "toy.py,,\n")


def test_a_package_comes_from_where_pip_is_configured_to_look(tmp_path: Path) -> None:
    """uv, which does not read pip's configuration, was told where to look: it installed."""
    wheel(tmp_path)
    target = tmp_path / "target"
    env = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    command = [sys.executable, str(SCRIPT), "--target", str(target), "toy"]
    subprocess.run(command, env=env, check=True)
    installer = (target / "toy-1.0.dist-info/INSTALLER").read_text().strip()
    assert installer == ("uv" if find_spec("uv") else "pip")


def test_an_environment_without_pip_uses_the_wheel_of_python_itself(tmp_path: Path) -> None:
    """There is no uv where the settings look, so what installed the package is pip."""
    wheel(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    env = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    subprocess.run([tmp_path / "venv/bin/python", str(SCRIPT), "toy"], env=env, check=True)
    (installed,) = (tmp_path / "venv").glob("lib/python*/site-packages/toy-1.0.dist-info")
    assert (installed / "INSTALLER").read_text().strip() == "pip"


def test_a_package_that_does_not_exist_ends_with_the_error_of_pip(tmp_path: Path) -> None:
    env = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "toy"], env=env, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "No matching distribution found for toy" in done.stderr
