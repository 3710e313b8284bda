"""A target from another package: it runs, and its records are read, compared and swept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from pibench import devices, target_kinds
from pibench.cli.app import application
from pibench.errors import InvalidInputError
from pibench.images.build import Builder
from pibench.records.store import RecordStore
from pibench.target_kinds import TargetKind
from pibench.targets import registry
from tests import whole_records
from tests.system.plugins.conftest import TARGET, Site

if TYPE_CHECKING:
    from pibench.records.schema import Record

pytestmark = pytest.mark.system

PROGRAM = """\
from pathlib import Path
from pibench import api, diagnosis
from toy_target import register_toy

register_toy()
out = Path("records.jsonl")
api.run("SqueezeNet V1.1", target="toy", out=out)
assert api.reconcile([out, "plan.json"]) is not None
assert "toy" in diagnosis.diagnose().targets
"""
# One process for all commands: its start takes longer than they do.
COMMANDS = """\
import sys
from pibench.cli import main

network, toy = "SqueezeNet V1.1", ("--target", "toy")
for codes, words in (
    ((0, 4), ("run", network, *toy, "--out", "records.jsonl")),
    ((0, 4), ("sweep", "--networks", network, *toy, "--out", "study")),
    ((2,), ("run", "NIN", "--target", "toaster")),
    ((0, 1, 4), ("reconcile", "records.jsonl", "plan.json")),
):
    if words[0] == "reconcile":
        print("compared", flush=True)
    sys.argv = ["pibench", *words]
    try:
        main()
    except SystemExit as ended:
        assert (ended.code or 0) in codes, (words, ended.code)
"""
BROKEN = """\
from pibench import api, target_kinds
from pibench.errors import HostError

assert "toy" in target_kinds.names()
assert not target_kinds.kind_of("toy").installed
assert target_kinds.kind_of("vm").installed
try:
    api.run("NIN", target="toy")
except HostError as error:
    print(error)
"""


def assert_is_a_toys(record: Record) -> None:
    assert (record.target, record.network) == ("toy", "SqueezeNet V1.1")
    assert record.provenance["peak_rss_bytes"].kind == "emulated"
    assert record.evidence.exit_status == 0
    assert record.layers[0].name == "conv1"
    assert record.is_emulated_or_twin


def records(site: Site, name: str) -> list[Record]:
    return list(RecordStore(site.work / name).read())


def write_plan(site: Site) -> None:
    """Write a side to compare a record with: that takes no package."""
    planned = CliRunner().invoke(application(), ["plan", "SqueezeNet V1.1", "--json"])
    (site.work / "plan.json").write_text(planned.stdout)


def test_a_program_registers_a_target_and_runs_a_network(site: Site) -> None:
    site.install()
    write_plan(site)
    ran = site.python("-c", PROGRAM)
    assert ran.returncode == 0, ran.stderr
    (record,) = records(site, "records.jsonl")
    assert_is_a_toys(record)


def test_an_installed_package_adds_a_target(site: Site) -> None:
    site.install(TARGET)
    write_plan(site)
    done = site.python("-c", COMMANDS)
    assert done.returncode == 0, done.stderr
    (record,) = records(site, "records.jsonl")
    assert_is_a_toys(record)
    (cell,) = records(site, "study/journal.jsonl")
    assert_is_a_toys(cell)
    assert "toy" in done.stdout.partition("compared\n")[2]
    assert "not one of auto, vm, container, sysroot, twin, native, ssh://USER@HOST, toy" in (
        done.stderr
    )


def test_a_record_of_a_target_that_is_not_installed_is_still_read() -> None:
    fields: dict[str, Any] = {"target": "elsewhere", "machine": None}
    record = whole_records.record(**fields)
    assert record.target_kind == TargetKind(name="elsewhere", installed=False)
    assert record.is_emulated_or_twin
    provenance = {
        name: found.model_copy(update={"kind": "measured"}) if found.kind == "emulated" else found
        for name, found in record.provenance.items()
    }
    measured = whole_records.record(**fields, provenance=provenance)
    assert not measured.is_emulated_or_twin
    # Nothing is claimed about a board.
    assert not measured.target_kind.is_board


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "raise RuntimeError('no licence')\n",
            "toy cannot be loaded: RuntimeError: no licence",
        ),
        ("def register_toy():\n    pass\n", "it registers no target called toy"),
    ],
)
def test_a_plugin_that_fails_costs_nothing_but_its_target(
    source: str, message: str, site: Site
) -> None:
    site.install(TARGET)
    (site.folder / "toy_target.py").write_text(source)
    done = site.python("-c", BROKEN)
    assert done.returncode == 0, done.stderr
    assert message in done.stdout


def test_a_target_with_an_address_is_known_by_its_scheme() -> None:
    assert target_kinds.kind_of_spec("ssh://pi@board").name == "ssh"
    assert not target_kinds.kind_of_spec("ssh").installed
    assert not target_kinds.kind_of_spec("ftp://board").installed
    with pytest.raises(InvalidInputError, match="there is no target ssh"):
        registry.make_target("ssh", devices.load("rpi3b"), Builder())
