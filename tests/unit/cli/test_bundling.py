"""`pibench bundle` and `pibench import` as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pibench import api
from pibench.probe.results import line_of
from tests.unit.bundle.conftest import lines_of, whole_run


def pibench(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pibench", *arguments],
        env={**os.environ, "PIBENCH_CACHE_DIR": str(cache), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def made(tmp_path: Path) -> str:
    """The digest of a kit of NIN and SqueezeNet V1.1 that was made here."""
    ended = pibench(
        *("bundle", "NIN", "SqueezeNet V1.1", "-o", str(tmp_path / "kit.tar.gz"), "--json"),
        cache=tmp_path / "cache",
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert [one["name"] for one in told["networks"]] == ["NIN", "SqueezeNet V1.1"]
    assert told["with_caffe"] is False
    return str(told["kit"])


def test_there_and_back(made: str, tmp_path: Path) -> None:
    results, records = tmp_path / "pi-results.jsonl", tmp_path / "records.jsonl"
    results.write_bytes(b"".join(lines_of(whole_run(made), made)))
    first = pibench("import", str(results), "-o", str(records), cache=tmp_path / "cache")
    assert first.returncode == 0, first.stderr
    assert "2 of 2 records were appended" in first.stderr
    assert "measured: native" in first.stdout
    assert max(map(len, first.stdout.splitlines())) <= 80
    again = pibench("import", str(results), "-o", str(records), "--json", cache=tmp_path / "cache")
    assert "0 of 2 records were appended" in again.stderr
    assert "2 were there already" in again.stderr
    assert [one["network"] for one in json.loads(again.stdout)] == ["NIN", "SqueezeNet V1.1"]
    assert len(records.read_text().splitlines()) == 2


def test_refused_in_one_line(made: str, tmp_path: Path) -> None:
    results = tmp_path / "pi-results.jsonl"
    entries = whole_run(made)
    entries[2]["id"] = "\x1b[2J\n"
    results.write_bytes(b"".join(lines_of(entries, made)))
    ended = pibench("import", str(results), "-o", str(tmp_path / "r"), cache=tmp_path / "cache")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"pibench: {results}: line 3: a network that the kit")
    assert len(ended.stderr.splitlines()) == 1
    assert "\x1b" not in ended.stderr
    assert not (tmp_path / "r").exists()


def test_an_inconclusive_verdict_is_told_by_the_exit_code(made: str, tmp_path: Path) -> None:
    results = tmp_path / "pi-results.jsonl"
    died = {"event": "died", "id": "0", "why": "the machine went down"}
    entries = [whole_run(made)[0], died, {"event": "end", "finished": ["0"]}]
    results.write_bytes(b"".join(lines_of(entries, made)))
    ended = pibench("import", str(results), cache=tmp_path / "cache")
    assert ended.returncode == 4
    assert "none was recorded" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bundle", "no-such-network"), "no-such-network"),
        (("bundle", "NIN", "AlexNet", "--weights", "x.caffemodel"), "one network"),
        (("bundle", "NIN", "--device", "toaster"), "toaster"),
        (("bundle", "NIN", "-o", "/"), "is a directory"),
        (("bundle", "NIN", "nin"), "NIN is given twice"),
        (("import", "/dev/zero"), "is no regular file"),
        (("import", "absent.jsonl"), "No such file"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    ended = pibench(*arguments, cache=tmp_path)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_the_same_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path))
    kit = api.bundle(["NIN", "SqueezeNet V1.1"], tmp_path / "kit.tar.gz", threads=1)
    assert kit.manifest.networks[0].threads == 1
    results = tmp_path / "pi-results.jsonl"
    digest, lines = kit.digest, []
    for entry in whole_run(kit.digest):
        digest, line = line_of(digest, entry)
        lines.append(line)
    results.write_bytes(b"".join(lines))
    records = api.import_results(results, out=tmp_path / "records.jsonl")
    assert [record.verdict for record in records] == ["fit", "fit"]


def test_a_kit_has_the_name_of_what_it_is(tmp_path: Path) -> None:
    ended = pibench("bundle", "NIN", "-o", str(tmp_path / "kit.zip"), cache=tmp_path / "cache")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "kit.zip: a kit is a compressed tar; end the name in .tar.gz or .tgz" in ended.stderr
    assert not (tmp_path / "kit.zip").exists()
