"""An engine from outside the package runs a network, from the command line to the record."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pibench.engines import registry
from pibench.engines.base import Engine
from pibench.engines.caffe import CAFFE
from pibench.errors import InvalidInputError
from pibench.records.identity import labels_of, run_of
from tests import whole_records
from tests.system.plugins.conftest import ENGINE, Site

pytestmark = pytest.mark.system


@pytest.fixture
def package(site: Site) -> Site:
    site.install(ENGINE)
    return site


def run(package: Site, *options: str) -> subprocess.CompletedProcess[str]:
    on_this_machine = ["--target", "native", "--repeats", "1", "--json"]
    return package.pibench("run", "SqueezeNet V1.1", *on_this_machine, *options)


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


def test_an_installed_engine_runs_a_network(package: Site) -> None:
    done = run(package, "--engine", "toy")
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)
    check_record(record)


def test_a_registered_engine_runs_a_network(site: Site) -> None:
    site.install()
    done = site.python(
        "-c",
        "from pibench import api; from pibench.engines.registry import register\n"
        "from toy_engine import TOY\n"
        "register(TOY)\n"
        "(made,) = api.run('SqueezeNet V1.1', engine='toy', target='native', repeats=1)\n"
        "print(made.model_dump_json())",
    )
    assert done.returncode == 0, done.stderr
    check_record(json.loads(done.stdout))


def test_its_message_about_memory_is_understood(package: Site) -> None:
    probe = package.folder / "toy_probe.py"
    probe.write_text(probe.read_text().replace('"refused" in text', "True"))
    done = run(package, "--engine", "toy")
    (record,) = json.loads(done.stdout)
    assert done.returncode == 4
    assert record["evidence"]["fatal_message"] == "MemoryError"
    assert "refused a block of memory" in record["evidence"]["summary"]


REFUSALS = """
import sys
from pibench.cli import main
for options in (
    ("--engine", "other"),
    ("--engine", "toy", "--protocol", "caffe-time"),
    ("--engine", "toy", "--compute", "memory-only"),
):
    sys.argv = ["pibench", "run", "SqueezeNet V1.1", "--target", "native", *options]
    try:
        main()
    except SystemExit as ended:
        assert ended.code == 2, (options, ended.code)
"""


def test_what_an_engine_cannot_do_is_one_line(package: Site) -> None:
    done = package.python("-c", REFUSALS)
    assert done.returncode == 0, done.stderr
    engine, protocol, compute = done.stderr.splitlines()
    assert (
        "no engine 'other'; the engines are: caffe, opencv, onnxruntime, ncnn, litert, toy"
        in engine
    )
    assert "Toy has no protocol caffe-time" in protocol
    assert "Toy has no compute memory-only" in compute


def test_a_package_that_cannot_be_loaded_is_named(package: Site) -> None:
    (package.folder / "toy_engine.py").write_text("import nothing_of_that_name\n")
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


def test_runs_of_two_engines_are_two_runs() -> None:
    caffe, toy = whole_records.record(), whole_records.record(engine="toy")
    assert run_of(caffe).identity != run_of(toy).identity
    names = labels_of([caffe, toy.model_copy(update={"record_id": "f" * 32})])
    assert "toy" in names["f" * 32]
