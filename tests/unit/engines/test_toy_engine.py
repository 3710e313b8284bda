"""An engine from outside the package runs a network, from the command line to the record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pibench
from pibench.engines import registry
from pibench.engines.base import Engine
from pibench.engines.caffe import CAFFE
from pibench.errors import InvalidInputError
from pibench.records.identity import labels_of, run_of

REPOSITORY = Path(pibench.__file__).parents[1]
ENGINE = """
from pathlib import Path
from pibench.engines.base import Engine

TOY = Engine(id="toy", label="Toy", probe_module=Path(__file__).with_name("toy_probe.py"))
"""
# 64 MiB, and what a program of an engine has to print: see pibench/probe/log.py.
PROBE = '''
import os

from ..log import LogReader as AnyLogReader

PROGRAM = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from probe.log import RESULT
from probe.machine_state import MachineState
state = MachineState()
text = open(sys.argv[2]).read()
if "Convolution" not in text or not open(sys.argv[3], "rb").read():
    sys.exit("toy: not a network")
if "refused" in text:
    sys.exit("toy error: MemoryError")
readings = [state.read()]
blob = bytearray(64 << 20)
readings += [state.read(), state.settled()]
print(RESULT + json.dumps({
    "totals_ms": [1.5], "readings": readings, "state": state.describe(),
    "layers": [{"name": "all", "type": "Toy", "forward_ms": 1.5}],
}), flush=True)
"""


class LogReader(AnyLogReader):
    def engine_line(self, text):
        if text.startswith("toy error: "):
            self.fatal = text[11:]
        return False


def command_of(job, item, folder):
    weights = os.path.join(folder, item["weights"]) if item["weights"] else ""
    command = job["python"] + ["-c", PROGRAM, folder, os.path.join(folder, item["model"]), weights]
    return command, dict(job["env"])


def versions(job, ask):
    return {"engine_version": "toy 1.0 on " + ask(job["python"] + ["--version"])}
'''


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with an installed package that offers the engine `toy`."""
    info = tmp_path / "site/toy-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pibench.engines]\ntoy = toy_engine:TOY\n")
    (info.parent / "toy_engine.py").write_text(ENGINE)
    (info.parent / "toy_probe.py").write_text(PROBE)
    return info.parent


def python(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(package), str(REPOSITORY)])
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": paths, "PIBENCH_CACHE_DIR": str(package / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


def run(package: Path, *options: str) -> subprocess.CompletedProcess[str]:
    on_this_machine = ["--target", "native", "--repeats", "1", "--json"]
    command = ["-m", "pibench", "run", "SqueezeNet V1.1", *on_this_machine, *options]
    return python(package, *command)


def check_record(record: dict[str, Any]) -> None:
    assert record["engine"] == "toy"
    assert record["engine_version"].startswith("toy 1.0 on Python 3")
    assert (record["protocol"], record["compute"], record["verdict"]) == (
        "inference",
        "real",
        "fit",
    )
    assert record["network_rss_bytes"] == pytest.approx(64 << 20, rel=0.05)
    assert record["latency_ms"] == 1.5
    assert [layer["name"] for layer in record["layers"]] == ["all"]


def test_an_installed_engine_runs_a_network(package: Path) -> None:
    done = run(package, "--engine", "toy")
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)
    check_record(record)


def test_a_registered_engine_runs_a_network(package: Path) -> None:
    (package / "toy-1.0.dist-info/entry_points.txt").unlink()
    done = python(
        package,
        "-c",
        "from pibench import api; from pibench.engines.registry import register\n"
        "from toy_engine import TOY\n"
        "register(TOY)\n"
        "(made,) = api.run('SqueezeNet V1.1', engine='toy', target='native', repeats=1)\n"
        "print(made.model_dump_json())",
    )
    assert done.returncode == 0, done.stderr
    check_record(json.loads(done.stdout))


def test_its_message_about_memory_is_understood(package: Path) -> None:
    (package / "toy_probe.py").write_text(PROBE.replace('"refused" in text', "True"))
    done = run(package, "--engine", "toy")
    (record,) = json.loads(done.stdout)
    assert done.returncode == 4
    assert record["evidence"]["fatal_message"] == "MemoryError"
    assert "refused a block of memory" in record["evidence"]["summary"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--engine", "other"), "there is no engine 'other'; the engines are: caffe, toy"),
        (("--engine", "toy", "--protocol", "caffe-time"), "Toy has no protocol caffe-time"),
        (("--engine", "toy", "--compute", "memory-only"), "Toy has no compute memory-only"),
    ],
)
def test_what_an_engine_cannot_do_is_one_line(
    package: Path, options: tuple[str, ...], line: str
) -> None:
    done = run(package, *options)
    assert done.returncode == 2
    assert line.partition(";")[0] in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_that_cannot_be_loaded_is_named(package: Path) -> None:
    (package / "toy_engine.py").write_text("import nothing_of_that_name\n")
    done = run(package, "--engine", "toy")
    assert done.returncode == 2
    assert "the engine toy (toy_engine:TOY) cannot be loaded" in done.stderr


def test_the_own_engine_is_there_and_its_name_is_taken(tmp_path: Path) -> None:
    assert registry.names()[0] == "caffe"
    assert registry.engine_of("caffe") is CAFFE
    registry.register(CAFFE)
    for name, problem in (("caffe", "two engines called caffe"), ("../x", "cannot be called")):
        with pytest.raises(InvalidInputError, match=problem):
            registry.register(Engine(id=name, label="?", probe_module=tmp_path))


def test_caffe_s_refusal_has_the_size_of_the_block() -> None:
    message = "Check failed: *ptr host allocation of size 1726272432 failed"
    assert registry.is_refused_allocation("caffe", message)
    assert registry.refused_bytes("caffe", message) == 1726272432
    assert registry.refused_bytes("caffe", "std::bad_alloc") is None


def test_runs_of_two_engines_are_two_runs(make_record: Any) -> None:
    caffe, toy = make_record(), make_record(engine="toy")
    assert run_of(caffe).identity != run_of(toy).identity
    names = labels_of([caffe, toy.model_copy(update={"record_id": "f" * 32})])
    assert "toy" in names["f" * 32]
