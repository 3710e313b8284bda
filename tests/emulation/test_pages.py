"""README, the Start page and "Your model in 30 minutes", as a reader would follow them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from scripts import page_commands

pytestmark = pytest.mark.emulation
ROOT = Path(__file__).resolve().parents[2]


class Reader:
    """Somebody with pibench from its wheel, in an environment of its own."""

    def __init__(self, folder: Path, wheel: Path, extra: str = "") -> None:
        """Make the environment; `extra` is such as "[all]"."""
        venv = folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120)
        install = [venv / "bin/python", ROOT / "scripts/install_packages.py", f"{wheel}{extra}"]
        subprocess.run(install, check=True, timeout=600)
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.env = kept | {"PATH": f"{venv}/bin:{kept['PATH']}", "VIRTUAL_ENV": str(venv)}
        self.folder = folder / "project"
        self.folder.mkdir()

    def follow(self, name: str) -> int:
        """Run the commands of a page; how many of them were run. Outputs are as the page shows."""
        page = (ROOT / name).read_text(encoding="utf-8")
        page_commands.write_files(page, self.folder)
        wanted = [one for one in page_commands.commands(page) if not one.not_run]
        for command in wanted:
            output = page_commands.run(command, self.folder, self.env)
            assert not command.differs(output), f"{name}: {command.line} prints\n{output}"
        return len(wanted)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    building = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(building, check=True, capture_output=True, timeout=300)
    (made,) = folder.glob("pibench-*.whl")
    return made


@pytest.fixture(scope="module")
def with_all(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """What README installs, with the files that its commands name."""
    reader = Reader(tmp_path_factory.mktemp("all"), wheel, "[all]")
    for line in (
        "mkdir my models",
        'pibench networks show "SqueezeNet V1.1" | tee my/deploy.prototxt > models/a.prototxt',
        'pibench networks convert "SqueezeNet V1.1" --to onnx -o my/model.onnx',
        f"ln -s {ROOT}/scripts scripts",
    ):
        page_commands.run(page_commands.Command(line=line), reader.folder, reader.env)
    return reader


def test_readme(with_all: Reader) -> None:
    assert with_all.follow("README.md") >= 10
    assert "fits rpi3b" in (with_all.folder / "pibench-out/badge.svg").read_text()


def test_the_start_page(with_all: Reader) -> None:
    assert with_all.follow("docs/index.md") == 3
    shown, drawn = (
        "".join(ET.parse(path).getroot().itertext())  # noqa: S314  (our own)
        for path in (ROOT / "docs/vgg-16.svg", with_all.folder / "vgg-16.svg")
    )
    assert shown == drawn


def test_the_first_model_with_nothing_but_the_core(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    reader = Reader(tmp_path_factory.mktemp("core"), wheel)
    assert reader.follow("docs/first-model.md") >= 14
    assert (reader.folder / "door-kit.tar.gz").stat().st_size > 50_000_000
