"""The command line's main job, from names to the claims' files."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from junitparser import JUnitXml

from pibench import load

pytestmark = pytest.mark.emulation


def pibench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pibench", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip


def test_some_of_the_paper_in_the_emulated_board(tmp_path: Path) -> None:
    networks = ("--networks", "squeezenet v1.1,xception")
    done = pibench("reproduce", *networks, "--out", tmp_path, "--timings")
    assert done.returncode == 0, done.stderr
    phases = re.findall(r"^ *(\S.*?) +\d+\.\d +\d+\.\d +\d+$", done.stderr, re.MULTILINE)
    assert {"prepare", "networks", "boot", "peak on the twin", "claims", "report"} <= {*phases}
    assert "2 of 2 agree" in done.stdout
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert {r["network"]: r["verdict"] for r in records} == {
        "SqueezeNet V1.1": "fit",
        "Xception Net": "no-fit",
    }
    with (tmp_path / "claims.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = {(row["network"], row["column"]) for row in rows}
    assert ("SqueezeNet V1.1", "ram_mb") in columns
    assert ("Xception Net", "model_size_mb") in columns
    assert json.loads((tmp_path / "claims.json").read_text())
    page = (tmp_path / "report.html").read_text()
    assert "<h1>2 of 2 verdicts agree with the paper</h1>" in page
    assert "Memory over layers" in page


def test_the_json_has_the_claims_and_how_long_each_phase_took(tmp_path: Path) -> None:
    options = ("--networks", "nin", "--target", "twin", "--out", tmp_path, "--timings", "--json")
    done = pibench("reproduce", *options)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    phases = {tuple(one["phase"]): one for one in answer.pop("timings")}
    assert answer == json.loads((tmp_path / "claims-twin.json").read_text())
    assert phases["networks",]["elapsed_s"] > 0
    assert phases["report",]["started_s"] >= phases["networks",]["elapsed_s"]


def test_run_prints_what_a_gate_needs(tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    done = pibench(
        "run", "VGG 16", "NIN", "--target", "twin", "--json", "--out", out, "--require-fit"
    )
    assert done.returncode == 1, done.stderr
    records = json.loads(done.stdout)
    assert [r["verdict"] for r in records] == ["no-fit", "fit"]
    for record in records:
        for key in ("network", "target", "protocol", "peak_rss_bytes", "baseline_rss_bytes"):
            assert record[key]
        assert record["evidence"]
    assert records[0]["headroom_bytes"] < 0 < records[1]["headroom_bytes"]
    assert len(out.read_text().splitlines()) == 2


def test_two_networks_in_files_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As published networks are: each is called deploy.prototxt, and has no name."""
    monkeypatch.chdir(tmp_path)
    for folder, outputs in (("a", 18_000), ("b", 10)):
        Path(folder).mkdir()
        Path(folder, "deploy.prototxt").write_text(
            'layer { name: "data" type: "Input" top: "data"\n'
            "  input_param { shape { dim: 1 dim: 8000 } } }\n"
            'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"\n'
            f"  inner_product_param {{ num_output: {outputs} }} }}\n"
        )
    files, out = ("a/deploy.prototxt", "b/deploy.prototxt"), "records.jsonl"
    done = pibench("run", *files, "--target", "twin", "--out", out, "--require-fit")
    assert done.returncode == 1, done.stderr
    for output in (done.stdout, done.stderr):
        assert "a/deploy.prototxt: no-fit" in output
        assert "b/deploy.prototxt: fit" in output
    # The same run again is a later one; with one thread it is another.
    for more in ((), ("--threads", "1")):
        again = pibench("run", "b/deploy.prototxt", "--target", "twin", *more, "--out", out)
        assert again.returncode == 0, again.stderr
    gate = pibench("report", out, "--require-fit", "-o", "gate.xml", "-o", "r.md", "-o", "r.html")
    assert gate.returncode == 1, gate.stderr
    assert "1 records were superseded" in gate.stderr
    cases = [case for suite in JUnitXml.fromfile("gate.xml") for case in suite]
    where = "fits (rpi3b, twin, caffe-time, batch 1)"
    assert {case.name: case.is_passed for case in cases} == {
        f"a/deploy.prototxt {where}": False,
        f"b/deploy.prototxt {where}": True,
        f"b/deploy.prototxt, 1 thread {where}": True,
    }
    frame = load(out)
    assert dict(zip(frame["run"], frame["verdict"], strict=True)) == {
        "a/deploy.prototxt": "no-fit",
        "b/deploy.prototxt": "fit",
        "b/deploy.prototxt, 1 thread": "fit",
    }
    turned = [*reversed(Path(out).read_text().splitlines(keepends=True))]
    Path("turned.jsonl").write_text("".join(turned))
    compared = pibench("reconcile", out, "turned.jsonl", "--fail-on", "verdict,ram", "--json")
    assert compared.returncode == 0, compared.stderr
    (pair,) = json.loads(compared.stdout)["pairs"]
    assert {one["run"]: one["second"]["verdict"] for one in pair["networks"]} == {
        "a/deploy.prototxt": "no-fit",
        "b/deploy.prototxt": "fit",
        "b/deploy.prototxt, 1 thread": "fit",
    }
