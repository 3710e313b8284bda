"""`pibench report` from the command line: forms by endings, refusals on one line."""

from __future__ import annotations

import codecs
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from junitparser import JUnitXml

from pibench.cli import reproduce
from pibench.crosscheck import paper
from pibench.errors import HostError, InvalidInputError
from pibench.latency import rates
from pibench.records.schema import Limits, LimitSet
from pibench.records.store import RecordStore, to_json
from pibench.runner.options import RunOptions
from tests.mounts import small_disk

if TYPE_CHECKING:
    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from tests.unit.cli.conftest import Pibench


@pytest.fixture
def records(tmp_path: Path, make_record: Callable[..., Record]) -> Path:
    store = RecordStore(tmp_path / "records.jsonl")
    store.append(make_record())
    store.append(make_record(verdict="no-fit"))
    return store.path


def test_forms_by_their_endings(pibench: Pibench, records: Path, tmp_path: Path) -> None:
    starts = {
        "r.html": "<!DOCTYPE html>",
        "r.md": "# ",
        "r.csv": "schema_version,",
        "r.xml": "<?xml",
    }
    wanted = [argument for name in starts for argument in ("-o", tmp_path / "new" / name)]
    done = pibench("report", records, *wanted)
    assert "1 records were superseded" in done.err
    for name, start in starts.items():
        assert (tmp_path / "new" / name).read_text().startswith(start)
        assert f"written: {tmp_path / 'new' / name}" in done.out


def test_texts_may_begin_with_a_byte_order_mark(
    pibench: Pibench, records: Path, tmp_path: Path
) -> None:
    rates.write(rates.shipped(), tmp_path / "rates.json")
    pibench("networks", "export", "SqueezeNet V1.1", tmp_path)
    (prototxt,) = tmp_path.glob("*.prototxt")
    (tmp_path / "study.toml").write_text(f'networks = "{prototxt}"\nbatch = [1, 2]\n')
    (tmp_path / "plan.json").write_text(pibench("plan", prototxt, "--json").out)
    (tmp_path / "pyproject.toml").write_text('[tool.pibench]\ndevice = "rpi4b_2gb"\n')
    table = tmp_path / "table"
    table.mkdir()
    for path in (Path(paper.__file__).parent / "tables/a53-openblas").iterdir():
        (table / path.name).write_bytes(path.read_bytes())
    pibench("reconcile", records, "--write-baseline", "accepted.json")
    commands = [
        (("report", records, "-o", "r.csv", "--json"), 0),
        (("reconcile", records, "paper"), 1),
        (("reconcile", "plan.json", "predicted", "--json"), 2),
        (("reconcile", records, "--baseline", "accepted.json"), 0),
        (("predict", prototxt, "--calibration", "rates.json", "--json"), 0),
        (("plan", prototxt, "--json"), 0),
        (("reproduce", "--table", table, "--json"), 0),
    ]
    before = [pibench(*words, code=code) for words, code in commands]
    for path in [*tmp_path.glob("*.*"), *table.iterdir()]:
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert [pibench(*words, code=code) for words, code in commands] == before
    pibench("sweep", "study.toml", "--out", "study", "--dry-run")


@pytest.mark.parametrize(
    ("changes", "texts", "colour"),
    [
        ([{}], ("fits rpi3b", "{} of {} MiB, emulated"), "#1a7f37"),
        ([{"verdict": "no-fit"}], ("does not fit rpi3b", "{} of {} MiB, emulated"), "#b3261e"),
        (
            [{}, {"network": "NIN", "verdict": "no-fit"}],
            ("fits rpi3b", "1 of 2 runs, emulated"),
            "#b3261e",
        ),
        ([{"device": "rpi3b_plus"}, {}], ("fits its device", "2 of 2 runs, emulated"), "#1a7f37"),
    ],
)
def test_a_badge_of_runs_states_where_the_peak_is_from(
    changes: list[dict[str, Any]], texts: tuple[str, str], colour: str, pibench: Pibench,
    make_record: Callable[..., Record],
) -> None:  # fmt: skip
    made = [make_record(**one) for one in changes]
    RecordStore(Path("r.jsonl")).append_new(made)
    pibench("report", "r.jsonl", "-o", "my-badge.svg")
    peak, headroom = made[0].peak_rss_bytes, made[0].headroom_bytes
    assert peak is not None
    assert headroom is not None
    sizes = [f"{size / 2**20:,.0f}" for size in (peak, peak + headroom)]
    text = Path("my-badge.svg").read_text()
    for one in texts:
        assert f">{one.format(*sizes)}</text>" in text
    assert f'fill="{colour}"' in text


def test_run_appends_records_to_one_file(pibench: Pibench) -> None:
    words = ("run", "AlexNet", "-o", "a.jsonl", "-o", "b.jsonl")
    assert "records are appended to one file" in pibench(*words, code=2).line


def test_a_network_without_a_record_is_reported(pibench: Pibench, records: Path) -> None:
    done = pibench("report", records, "--network", "nin")
    assert "--network nin: no record is of this network" in done.err


def test_markdown_and_json_on_standard_output(pibench: Pibench, records: Path) -> None:
    assert pibench("report", records).out.startswith("# 0 of 1 verdicts agree with the paper\n")
    answer = json.loads(pibench("report", records, "--json").out)
    assert (answer["records"], answer["superseded"]) == (1, 1)
    assert answer["ledger"]["summary"]["verdict"]["differing"] == ["AlexNet"]
    assert answer["networks"][0]["verdict"] == "no-fit"


@pytest.mark.parametrize(
    ("verdict", "code"), [("fit", 0), ("no-fit", 1), ("borderline", 1), ("inconclusive", 4)]
)
def test_a_gate_asks_whether_networks_fit_and_nothing_of_the_paper(
    pibench: Pibench, verdict: str, code: int, tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    store = RecordStore(tmp_path / "records.jsonl")
    store.append(make_record(verdict=verdict))
    forms = ("-o", tmp_path / "gate.xml", "-o", tmp_path / "r.html", "-o", tmp_path / "r.md")
    pibench("report", store.path, "--require-fit", *forms, code=code)
    assert "paper" not in (tmp_path / "r.md").read_text()
    (case,) = next(iter(JUnitXml.fromfile(str(tmp_path / "gate.xml"))))
    assert case.name == "AlexNet fits (rpi3b, vm, caffe-time, batch 1)"
    assert case.is_passed == (code == 0)


@pytest.fixture
def deploys(tmp_path: Path, make_record: Callable[..., Record]) -> Path:
    """Two networks in files of one name: the one that does not fit was run first."""
    store = RecordStore(tmp_path / "deploys.jsonl")
    for folder, digit, verdict in (("a", "4", "no-fit"), ("b", "5", "fit")):
        store.append(
            make_record(
                network="deploy",
                network_source=f"{folder}/deploy.prototxt",
                network_sha256=digit * 64,
                verdict=verdict,
            )
        )
    return store.path


def test_networks_in_files_of_one_name_are_two_in_every_form(
    pibench: Pibench, deploys: Path
) -> None:
    forms = [
        part for name in ("r.html", "r.md", "r.csv", "r.xml", "r.svg") for part in ("-o", name)
    ]
    done = pibench("report", deploys, "--require-fit", *forms, code=1)
    assert done.out.startswith("1 of 2 networks fit\n")
    assert "superseded" not in done.err
    for name in ("r.html", "r.md", "r.csv", "r.xml", "r.svg"):
        written = Path(name).read_text()
        assert "a/deploy.prototxt" in written, name
        assert "b/deploy.prototxt" in written, name
    found = [case for suite in JUnitXml.fromfile("r.xml") for case in suite]
    assert {case.name: case.is_passed for case in found} == {
        "a/deploy.prototxt fits (rpi3b, vm, caffe-time, batch 1)": False,
        "b/deploy.prototxt fits (rpi3b, vm, caffe-time, batch 1)": True,
    }
    answer = json.loads(pibench("report", deploys, "--json").out)
    assert [(one["network"], one["verdict"]) for one in answer["networks"]] == [
        ("a/deploy.prototxt", "no-fit"), ("b/deploy.prototxt", "fit"),
    ]  # fmt: skip


def test_no_run_of_a_network_speaks_for_another_that_does_not_fit(
    pibench: Pibench, tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    store = RecordStore(tmp_path / "records.jsonl")
    store.append(make_record(verdict="no-fit"))
    store.append(make_record(limits=Limits(asked=LimitSet(threads=1))))
    done = pibench("report", store.path, "--require-fit", "-o", "r.xml", code=1)
    assert done.out.startswith("1 of 2 runs fit\n")
    found = [case.name for suite in JUnitXml.fromfile("r.xml") for case in suite]
    assert found == [
        "AlexNet fits (rpi3b, vm, caffe-time, batch 1)",
        "AlexNet, 1 thread fits (rpi3b, vm, caffe-time, batch 1)",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "r.pdf"], "r.pdf: no format of a report has this ending"),
        (["--format", "pdf"], "--format 'pdf' is not a format of a report"),
        (["--format", "png"], "a picture cannot go to standard output"),
        (["--json", "--format", "csv"], "both --json and --format csv are for standard output"),
        (["--format", "csv", "-o", "a.csv", "-o", "b.md"], "--format csv would apply to 2 files"),
        (["--network", "none.prototxt"], "none.prototxt"),
    ],
)
def test_what_cannot_be_meant(
    pibench: Pibench, arguments: Sequence[str], message: str, records: Path
) -> None:
    done = pibench("report", records, *arguments, code=2)
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_file_of_something_else(pibench: Pibench, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\n")
    done = pibench("report", path, code=2)
    assert done.err.startswith(f"pibench: {path}: line 1: not valid JSON")


def test_what_run_printed_is_read_and_a_plan_is_named(
    pibench: Pibench, records: Path, tmp_path: Path
) -> None:
    printed, planned = tmp_path / "printed.json", tmp_path / "planned.json"
    printed.write_text(to_json(RecordStore(records).read()))
    assert pibench("report", printed).out == pibench("report", records).out
    planned.write_text(pibench("plan", "AlexNet", "--json").out)
    done = pibench("report", planned, code=2)
    assert done.err == (
        f"pibench: {planned}: item 1: is a plan, and nothing was run; "
        "pibench reconcile compares it with records\n"
    )


def test_a_folder_that_cannot_be_written(pibench: Pibench, records: Path) -> None:
    done = pibench("report", records, "-o", "/proc/nowhere/r.html", code=3)
    assert done.err.splitlines()[-1].startswith("pibench: /proc/nowhere/r.html: not written")


def test_standard_output_that_is_a_file_is_written_on_behind_what_is_there(
    records: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.write_text("before\n")
    command = [sys.executable, "-m", "pibench", "report", str(records), "--format", "csv"]
    with out.open("a") as file:
        done = subprocess.run(
            [*command, "-o", "/dev/stdout"],
            stdout=file, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    lines = out.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[1].startswith("schema_version,")
    assert "written: /dev/stdout" in done.stderr


def test_the_records_that_are_read_are_not_written_over(pibench: Pibench, records: Path) -> None:
    before = records.read_bytes()
    done = pibench("report", records, "-o", records, "--format", "html", code=2)
    assert "would be overwritten" in done.err
    assert records.read_bytes() == before


def test_a_run_does_not_append_to_the_network_it_reads(pibench: Pibench, tmp_path: Path) -> None:
    network = tmp_path / "net.prototxt"
    network.write_text("layer {}\n")
    done = pibench("run", network, "--target", "twin", "--out", network, code=2)
    assert "would be overwritten" in done.err
    assert network.read_text() == "layer {}\n"


def test_a_link_stays_and_what_it_leads_to_is_written(
    pibench: Pibench, records: Path, tmp_path: Path
) -> None:
    """As /dev/stdout does to a file: a rename onto the link would break it for everybody."""
    there, link = tmp_path / "there.csv", tmp_path / "a\x1b[31m.csv"
    there.touch()
    link.symlink_to(there)
    done = pibench("report", records, "-o", link)
    assert "a\\x1b[31m.csv" in done.out
    assert link.is_symlink()
    assert there.read_text().startswith("schema_version,")


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch, make_record: Callable[..., Record]) -> None:
    """A sweep whose records are there at once: what is tested comes after it."""

    def sweep(
        loaded: Sequence[Network], _options: RunOptions, store: RecordStore, made: list[Record],
        **_more: object,
    ) -> list[Record]:  # fmt: skip
        for network in loaded:
            made.append(make_record(network=network.name, network_sha256=network.sha256))
            store.append(made[-1])
        return made

    monkeypatch.setattr(reproduce, "run_with_progress", sweep)


@pytest.mark.usefixtures("nothing_runs")
def test_reproduce_writes_the_page_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = reproduce.reproduce_paper("AlexNet,NIN", RunOptions(), tmp_path)
    assert code == 0
    output = capsys.readouterr().out.splitlines()
    assert output[-1] == f"written: {tmp_path}/report.html"
    page = (tmp_path / "report.html").read_text()
    assert "<h1>2 of 2 verdicts agree with the paper</h1>" in page
    assert "Memory over layers" in page


@pytest.mark.usefixtures("nothing_runs")
def test_one_folder_keeps_targets_apart(tmp_path: Path) -> None:
    for options in (
        RunOptions(),
        RunOptions(target="twin"),
        RunOptions(machine="raspi3b", setup="paper-inferred"),
    ):
        assert reproduce.reproduce_paper("AlexNet", options, tmp_path) == 0
    board = reproduce.FilesOfRun.of(tmp_path, RunOptions(target="ssh://pi@board.local:2222"))
    assert board.report.name == "report-ssh-pi-board-local-2222.html"
    assert {path.name for path in tmp_path.iterdir()} == {"records.jsonl"} | {
        f"{stem}{ending}.{kind}"
        for ending in ("", "-twin", "-raspi3b-paper-inferred")
        for stem, kind in (("claims", "json"), ("claims", "csv"), ("report", "html"))
    }


@pytest.mark.usefixtures("nothing_runs")
def test_a_page_that_fails_loses_nothing_else(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(reproduce, "write_page", fail)
    assert reproduce.reproduce_paper("AlexNet", RunOptions(), tmp_path) == 0
    output = capsys.readouterr()
    assert "1 of 1 agree" in output.out
    assert f"{tmp_path}/report.html was not written: KeyError" in output.err
    assert {path.name for path in tmp_path.iterdir()} == {
        "records.jsonl", "claims.json", "claims.csv",
    }  # fmt: skip


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("as_json", [False, True])
def test_a_disk_that_is_full_at_the_page_is_an_error_and_what_was_made_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    # Records and claims take a few pages, the report hundreds.
    folder = tmp_path / "a disk"
    folder.mkdir()
    with small_disk(folder, 128 << 10):
        with pytest.raises(HostError) as refused:
            reproduce.reproduce_paper("AlexNet", RunOptions(), folder, as_json=as_json)
        kept = {path.name for path in folder.iterdir()}
        assert len(RecordStore(folder / "records.jsonl").read()) == 1
    assert kept == {"records.jsonl", "claims.json", "claims.csv"}
    line = refused.value.line()
    assert refused.value.exit_code == 3
    assert line.startswith(f"{folder}/report.html: not written: No space left on device; ")
    assert line.endswith(
        f"on a disk with room, then: pibench report '{folder}/records.jsonl' -o "
        f"'{folder}/report.html'"
    )
    assert ('"agrees": true' if as_json else "1 of 1 agree") in capsys.readouterr().out


@pytest.mark.usefixtures("nothing_runs")
def test_a_page_that_cannot_have_its_name_is_invalid_input(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(InvalidInputError, match="not written: Is a directory"):
        reproduce.reproduce_paper("AlexNet", RunOptions(), tmp_path)
    assert len(RecordStore(tmp_path / "records.jsonl").read()) == 1
