"""The command line's main job, from names to the claims' files."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.emulation


def pibench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pibench", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip


def test_some_of_the_paper_in_the_emulated_board(tmp_path: Path) -> None:
    done = pibench("reproduce", "--networks", "squeezenet v1.1,xception", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
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
