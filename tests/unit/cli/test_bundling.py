"""`pibench bundle` and `pibench import` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pibench import api
from pibench.probe.results import line_of
from tests.unit.bundle.conftest import lines_of, whole_run

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Pibench


@pytest.fixture
def made(pibench: Pibench) -> str:
    """The digest of a bundle of NIN and SqueezeNet V1.1 that was made here."""
    reported = json.loads(
        pibench("bundle", "NIN", "SqueezeNet V1.1", "-o", "kit.tar.gz", "--json").out
    )
    assert [one["name"] for one in reported["networks"]] == ["NIN", "SqueezeNet V1.1"]
    assert reported["with_caffe"] is False
    return str(reported["kit"])


def test_the_weights_of_a_folder_go_along(pibench: Pibench, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    pibench("networks", "export", "SqueezeNet V1.1", folder, "--weights")
    reported = json.loads(pibench("bundle", folder, "-o", "kit.tar.gz", "--json").out)
    assert reported["protocol"] == "inference"
    assert reported["networks"][0]["weights_sha256"]


def test_there_and_back(pibench: Pibench, made: str, tmp_path: Path) -> None:
    results, records = tmp_path / "pi-results.jsonl", tmp_path / "records.jsonl"
    results.write_bytes(b"".join(lines_of(whole_run(made), made)))
    first = pibench("import", results, "-o", records)
    assert "2 of 2 records were appended" in first.err
    assert "measured: native" in first.out
    assert max(map(len, first.out.splitlines())) <= 80
    again = pibench("import", results, "-o", records, "--json")
    assert "0 of 2 records were appended" in again.err
    assert "2 were there already" in again.err
    assert [one["network"] for one in json.loads(again.out)] == ["NIN", "SqueezeNet V1.1"]
    assert len(records.read_text().splitlines()) == 2


def test_refused_in_one_line(pibench: Pibench, made: str, tmp_path: Path) -> None:
    results = tmp_path / "pi-results.jsonl"
    entries = whole_run(made)
    entries[2]["id"] = "\x1b[2J\n"
    results.write_bytes(b"".join(lines_of(entries, made)))
    line = pibench("import", results, "-o", "r", code=2).line
    assert line.startswith(f"pibench: {results}: line 3: a network that the bundle")
    assert "\x1b" not in line
    assert not (tmp_path / "r").exists()


def test_the_exit_code_shows_an_inconclusive_verdict(
    pibench: Pibench, made: str, tmp_path: Path
) -> None:
    results = tmp_path / "pi-results.jsonl"
    died = {"event": "died", "id": "0", "why": "the machine went down"}
    entries = [whole_run(made)[0], died, {"event": "end", "finished": ["0"]}]
    results.write_bytes(b"".join(lines_of(entries, made)))
    assert "none was recorded" in pibench("import", results, code=4).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bundle", "no-such-network"), "no-such-network"),
        (("bundle", "NIN", "AlexNet", "--weights", "x.caffemodel"), "one network"),
        (("bundle", "NIN", "--device", "toaster"), "toaster"),
        (("bundle", "NIN", "-o", "/"), "is a directory"),
        (("bundle", "NIN", "nin"), "NIN is given twice"),
        (("import", "/dev/zero"), "is not a regular file"),
        (("import", "absent.jsonl"), "No such file"),
    ],
)
def test_bad_input_is_one_line(pibench: Pibench, arguments: tuple[str, ...], message: str) -> None:
    assert message in pibench(*arguments, code=2).line


def test_the_same_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path))
    kit = api.bundle(["NIN", "SqueezeNet V1.1"], tmp_path / "kit.tar.gz", threads=1)
    assert kit.manifest.options.threads == 1
    results = tmp_path / "pi-results.jsonl"
    digest, lines = kit.digest, []
    for entry in whole_run(kit.digest):
        digest, line = line_of(digest, entry)
        lines.append(line)
    results.write_bytes(b"".join(lines))
    records = api.import_results(results, out=tmp_path / "records.jsonl")
    assert [record.verdict for record in records] == ["fit", "fit"]


def test_a_kit_has_the_name_of_what_it_is(pibench: Pibench, tmp_path: Path) -> None:
    line = pibench("bundle", "NIN", "-o", "kit.zip", code=2).line
    assert "kit.zip: a bundle is a compressed tar; end the name in .tar.gz or .tgz" in line
    assert not (tmp_path / "kit.zip").exists()
