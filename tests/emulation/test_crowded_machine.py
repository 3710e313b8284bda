"""No wrong verdict where others have the memory, are killed, or kill."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pibench import networks
from pibench.targets.container import ContainerTarget
from pibench.targets.sysroot import SysrootTarget
from scripts.reliability import crowd as chaos
from tests.emulation import crowd
from tests.emulation.conftest import DEVICE, run

if TYPE_CHECKING:
    from tests.emulation.engines import OwnEngine

pytestmark = pytest.mark.emulation
MIB = 2**20
PIBENCH = (sys.executable, "-m", "pibench")


def pibench(
    *arguments: str, group: crowd.Outer | None = None, **options: Any
) -> tuple[int, list[dict[str, Any]], str]:
    """`pibench run` in a group: its exit code, records and words."""
    command = [*PIBENCH, "run", *arguments, "--json"]
    done = subprocess.run(
        group.within(command) if group else command,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        **options,
    )
    records = json.loads(done.stdout) if done.stdout.strip() else []
    return done.returncode, records, done.stderr


@pytest.fixture(scope="module")
def sysroot(builder) -> SysrootTarget:
    """Calibrated, so that what follows starts no program but the network's."""
    target = SysrootTarget(DEVICE, builder)
    run(target, [networks.load("SqueezeNet V1.1")])
    return target


@pytest.mark.usefixtures("sysroot")
@pytest.mark.parametrize("limit_mib", [600, 900])
def test_a_group_that_is_smaller_than_the_board_decides_nothing(limit_mib: int) -> None:
    with crowd.outer(limit_mib * MIB) as group:
        code, (record,), output = pibench("ResNet-101", "--target", "sysroot", group=group)
    assert (code, record["verdict"]) == (4, "inconclusive"), output
    evidence = record["evidence"]
    assert (evidence["signal"], evidence["reached_own_limit"]) == (9, False)
    assert f"a control group around pibench allows {limit_mib} MiB" in evidence["summary"]
    assert record["headroom_bytes"] is None


@pytest.mark.usefixtures("sysroot")
def test_as_many_at_once_as_the_group_has_memory_for(tmp_path: Path) -> None:
    copies = [tmp_path / name / "deploy.prototxt" for name in ("a", "b")]
    for copy in copies:
        copy.parent.mkdir()
        copy.write_text(networks.load("ResNet-101").prototxt)
    with crowd.outer(1500 * MIB) as group:
        code, records, output = pibench(*map(str, copies), "--target", "sysroot", group=group)
    assert [record["verdict"] for record in records] == ["fit", "fit"], output
    assert code == 0


@pytest.mark.usefixtures("container")
def test_an_engine_with_less_memory_than_the_board_decides_nothing(
    builder, own_engine: OwnEngine
) -> None:
    group = crowd.Outer(own_engine.group_folder(), 1)
    assert group.limit(700 * MIB)
    try:
        # In turn: where both run, the kernel may end the small one for the big one's memory.
        big, small = run(
            ContainerTarget(DEVICE, builder, containers_at_once=1),
            [networks.load("ResNet-101"), networks.load("SqueezeNet V1.1")],
        )
    finally:
        group.limit(64 << 30)
    assert (big.verdict, small.verdict) == ("inconclusive", "fit"), (big.evidence, small.evidence)
    assert big.evidence.reached_own_limit is False
    assert "of a control group around it, or of the machine" in big.evidence.summary


def test_somebody_else_s_kill_is_nobody_s_evidence(sysroot: SysrootTarget) -> None:
    crowd.own_folder()
    with crowd.foreign_kills(), ThreadPoolExecutor() as pool:
        beside = pool.submit(run, sysroot, [networks.load("NIN")])
        code, records, output = pibench("ResNet-101", "DenseNet-121", "--target", "twin")
        records += [record.model_dump() for record in beside.result()]
    assert code == 0, output
    for record in records:
        assert record["verdict"] == "fit", record["evidence"]
        assert not record["evidence"]["oom_kills"]
        assert not record["evidence"]["oom_counter"]


def test_a_container_and_a_twin_side_by_side(tmp_path: Path, vgg_with) -> None:
    # The container's kill is counted for the whole machine while the twin runs.
    too_large = tmp_path / "vgg.prototxt"
    too_large.write_text(vgg_with(4096).prototxt)
    out = tmp_path / "study"
    done = subprocess.run(
        [
            *(*PIBENCH, "sweep", "--out", str(out), "--target", "container,twin"),
            *("--networks", f"{too_large},ResNet-101"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    lines = (out / "journal.jsonl").read_text().splitlines()
    found = {(r["network"], r["target"]): r["verdict"] for r in map(json.loads, lines)}
    assert set(found.values()) == {"fit", "no-fit"}, (found, done.stderr)
    assert len(found) == 4
    for target in ("container", "twin"):
        assert found["ResNet-101", target] == "fit"


DIES = """\
#!/bin/sh
# The emulator, but for networks: there it ends before it has run anything, and loads no program
# that would be forked for several.
[ -n "$PIBENCH_FORKS" ] && exit 1
case "$*" in *.prototxt*) kill -SEGV $$ ;; esac
exec {emulator} "$@"
"""


@pytest.mark.usefixtures("sysroot")
def test_an_emulator_that_dies_costs_one_network(tmp_path: Path) -> None:
    emulator = shutil.which("qemu-aarch64")
    assert emulator is not None
    fake = tmp_path / "qemu-aarch64"
    fake.write_text(DIES.format(emulator=emulator))
    fake.chmod(0o755)
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    code, records, output = pibench("SqueezeNet V1.1", "NIN", "--target", "sysroot", env=path)
    assert code == 4, output
    assert len(records) == 2
    for record in records:
        summary = "the emulator ended with SIGSEGV before the network had started"
        assert (record["verdict"], record["evidence"]["summary"]) == ("inconclusive", summary)
        assert record["peak_rss_bytes"] is None


@pytest.mark.usefixtures("sysroot")
@pytest.mark.parametrize("target", ["sysroot", "twin"])
@pytest.mark.parametrize("limit_kib", [400_000, 4_000_000])
def test_a_limit_of_the_address_space_decides_nothing(target: str, limit_kib: int) -> None:
    command = [*PIBENCH, "run", "ResNet-101", "--target", target, "--json"]
    done = subprocess.run(
        ["sh", "-c", f'ulimit -v {limit_kib}; exec "$@"', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "Traceback" not in done.stderr
    assert "internal" not in done.stderr
    assert "internal error" not in done.stderr
    if done.stdout.strip():
        (record,) = json.loads(done.stdout)
        assert record["verdict"] in ("fit", "inconclusive"), record["evidence"]
        assert done.returncode == (0 if record["verdict"] == "fit" else 4)
    else:
        assert done.returncode == 3, done.stderr


def test_no_wrong_verdict_in_a_crowd(builder, tmp_path: Path) -> None:
    """The short form of `scripts/reliability/crowd.py`."""
    crowd.own_folder()
    tally = chaos.run_all(builder, tmp_path, runs=16, seed=1, targets=("twin", "sysroot"))
    assert tally.wrong == []
    assert tally.runs == 16
