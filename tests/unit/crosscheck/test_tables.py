"""Tables are files: pibench's own, and a second one in any folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pibench import api
from pibench.crosscheck.claims import Claim, check_claims, exit_code, summary
from pibench.crosscheck.paper import load_paper, table_ids
from pibench.crosscheck.sides import read_side
from pibench.errors import ExitCode, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.records.schema import Record

TABLE = """
title = "Another table"
device = "rpi3b"
protocol = "caffe-time"
batch = 1

[columns.peak]
title = "peak"
field = "peak_rss_bytes"
unit = "MB"
decimals = 1
tolerance = 0.05

[columns.fits]
title = "verdict"
field = "verdict"

[[explanation]]
keys = ["nin"]
columns = ["peak"]
text = "Printed with another unit."
"""
DATA = """key,row,network,zoo_network,peak,fits
alex,1,Alex,AlexNet,581,fit
nin,2,NiN,NIN,1,fit
vgg,,VGG,VGG 16,,no-fit
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "table.toml").write_text(TABLE)
    (tmp_path / "data.csv").write_text(DATA)
    return tmp_path


def test_a_second_table_has_its_own_ledger(table: Path, paper_run: list[Record]) -> None:
    claims = check_claims(paper_run, load_paper(str(table)))
    assert [(claim.key, claim.column, claim.agrees) for claim in claims] == [
        ("alex", "peak", True),
        ("alex", "fits", True),
        ("nin", "peak", False),
        ("nin", "fits", True),
        ("vgg", "fits", True),
    ]
    assert claims[0].pibench == pytest.approx(554 * 2**20 / 1e6, abs=1)
    assert claims[2].explanation == "Printed with another unit."
    assert summary(claims)["peak"].differing == ("NiN",)
    assert exit_code(claims) == ExitCode.OK


def test_an_explanation_has_computed_figures(table: Path, paper_run: list[Record]) -> None:
    toml = (table / "table.toml").read_text()
    part = 'text = ["Printed {peak.printed}, ran with {peak.pibench} MB.", "Took {fits.printed}."]'
    (table / "table.toml").write_text(toml.replace('text = "Printed with another unit."', part))
    paper = load_paper(str(table))
    (nin,) = [one for one in check_claims(paper_run, paper) if one.explanation]
    assert nin.explanation == f"Printed 1, ran with {nin.pibench:,.1f} MB."
    # What no record states is left out.
    without = [one for one in paper_run if one.network != "NIN"]
    assert not any(one.explanation for one in check_claims(without, paper))


@pytest.mark.parametrize("table_id", table_ids())
def test_no_explanation_has_a_figure_that_nobody_computed(table_id: str) -> None:
    paper = load_paper(table_id)
    named = {name for one in paper.entries for name in (one.network, one.zoo_network)}
    for one in paper.explanation:
        for sentence in one.sentences:
            left = re.sub(r"\{[^}]*\}", "", sentence)
            for name in sorted(named, key=len, reverse=True):
                left = re.sub(re.escape(name), "", left, flags=re.IGNORECASE)
            assert not re.search(r"\d", left), left


def test_every_output_shows_a_second_table(
    table: Path, paper_run: list[Record], tmp_path: Path
) -> None:
    records = tmp_path / "records.jsonl"
    records.write_text("".join(f"{one.model_dump_json()}\n" for one in paper_run[:10]))
    files = [tmp_path / f"report.{ending}" for ending in ("md", "html", "xml", "svg")]
    made = api.report([records], files, table=str(table))
    assert made.headline == "2 of 2 verdicts agree with the paper"
    shown = files[0].read_text()
    assert "| Peak MB paper/run | Err % |" in shown
    assert "**≠ 1/" in shown
    assert 'data-column="8"' not in files[1].read_text()
    assert 'id="peak"' in files[1].read_text()
    assert 'name="NiN: peak"' in files[2].read_text()


def test_a_second_table_is_a_side_of_a_comparison(table: Path) -> None:
    side = read_side(str(table))
    assert [one.verdict for one in side.entries] == ["fit", "fit", "no-fit"]
    assert side.entries[0].ram.reason == "the paper prints no RAM of it"


def test_a_table_without_verdicts_has_no_verdict_claims(
    table: Path, make_record: Callable[..., Record]
) -> None:
    toml, data = table / "table.toml", table / "data.csv"
    toml.write_text(TABLE.replace('[columns.fits]\ntitle = "verdict"\nfield = "verdict"', ""))
    data.write_text("key,row,network,zoo_network,peak\nalex,,Alex,AlexNet,581\n")
    records = table / "records.jsonl"
    records.write_text(make_record().model_dump_json() + "\n")
    page = table / "page.html"
    made = api.report([records], [page, table / "report.md"], table=str(table))
    assert made.headline == "AlexNet: fit"
    assert [claim.column for claim in made.claims] == ["peak"]
    assert "| # | Network | Peak MB" in (table / "report.md").read_text()


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("table.toml", 'unit = "MB"', 'unit = "ms"', "unit 'ms' of peak_rss_bytes is none of"),
        ("table.toml", "peak_rss_bytes", "colour", "columns.peak.field"),
        ("table.toml", "rpi3b", "rpi9", "rpi9"),
        ("table.toml", "title", "title =", "table.toml"),
        (
            "table.toml",
            "another unit",
            "{unit}",
            "an explanation has {unit}, which is not a figure",
        ),
        ("data.csv", "581", "many", "line 2: 'many' is not a number"),
        ("data.csv", "581", "inf", "line 2: 'inf' is not finite"),
        ("data.csv", "581", "1e400", "line 2: '1e400' is not finite"),
        ("table.toml", "rpi3b", "rpi9", "table.toml: unknown device 'rpi9' (known devices"),
        ("data.csv", "581", "-3", "line 2: value"),
        ("data.csv", "no-fit", "no", "line 4: verdict"),
        ("data.csv", "key,", "id,", "line 2: unknown: id"),
        ("data.csv", "nin,2", "alex,2", "has a key twice"),
        ("data.csv", DATA.partition("\n")[2], "", "has no network"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(
    table: Path, file: str, old: str, new: str, problem: str
) -> None:
    path = table / file
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InvalidInputError) as raised:
        load_paper(str(table))
    assert problem in raised.value.line()
    assert "\n" not in raised.value.line()


def test_a_table_that_does_not_exist_is_named() -> None:
    with pytest.raises(InvalidInputError, match="there is no table nowhere"):
        load_paper("nowhere")


def test_the_ledger_as_json_has_the_columns_of_its_table(
    table: Path, paper_run: list[Record]
) -> None:
    from pibench.crosscheck.claims import as_dict

    paper = load_paper(str(table))
    ledger = json.loads(json.dumps(as_dict(check_claims(paper_run, paper), paper)))
    assert ledger["columns"]["peak"]["field"] == "peak_rss_bytes"
    assert ledger["summary"]["peak"]["compared"] == 2


def test_pibench_has_the_data_bytes_that_caffe_printed_on_a_board() -> None:
    paper = load_paper("caffe-data-bytes")
    claims = check_claims([], paper)
    assert len(claims) == 24
    assert all(claim.pibench == claim.paper for claim in claims)
    assert {claim.provenance.kind for claim in claims} == {"planned"}
    assert exit_code(claims, paper) == ExitCode.OK


@pytest.fixture(scope="module")
def of_a_server() -> list[Claim]:
    """The 13 networks of a server, each in eight batches: seconds of plans."""
    return check_claims([], load_paper("pi3-ran-or-not"))


def test_one_reserve_explains_what_ran_in_a_server(of_a_server: list[Claim]) -> None:
    paper, claims = load_paper("pi3-ran-or-not"), of_a_server
    total = summary(claims)["verdict"]
    assert total.total == 13 * 8
    assert total.agreed >= 0.95 * total.total
    assert exit_code(claims, paper) == ExitCode.OK
    # With all of the board's memory, networks fit that did not run there; not the other way.
    all_of_it = paper.model_copy(update={"reserve_mib": 0.0})
    claims = check_claims([], all_of_it, networks=["googlenet-16", "resnet-152-1", "vgg-19-1"])
    assert [claim.pibench for claim in claims] == ["fit", "fit", "no-fit"]
    assert exit_code(claims, all_of_it) == ExitCode.DISAGREEMENT


def test_a_server_takes_longer_than_the_predicted_passes(of_a_server: list[Claim]) -> None:
    claims = [one for one in of_a_server if one.column == "latency"]
    assert len(claims) == 7
    for claim in claims:
        assert isinstance(claim.pibench, float)
        assert claim.pibench < claim.paper, claim.key
        assert claim.agrees or claim.explanation, claim.key
    assert [one.key for one in claims if one.agrees] == ["mobilenet-grouped-1", "resnet-50-1"]


def test_rates_of_the_papers_software_are_far_off_on_another_board() -> None:
    paper = load_paper("a53-openblas").model_copy(update={"stack": "paper"})
    (total,) = summary(check_claims([], paper)).values()
    assert (total.total, total.compared) == (14, 14)
    assert total.mean_absolute_error_pct is not None
    assert total.mean_absolute_error_pct > 100


def test_predictions_for_a_table_come_with_an_interval() -> None:
    paper = load_paper("a53-openblas")
    claims = check_claims([], paper, networks=["alexnet-1", "resnet-18-4"])
    assert [claim.paper_network for claim in claims] == [
        "AlexNet, 1 thread",
        "ResNet-18, 4 threads",
    ]
    for claim in claims:
        assert claim.provenance.kind == "predicted"
        assert claim.low is not None
        assert claim.low < claim.pibench < claim.high


OTHERS = """
title = "What others printed"
device = "rpi3b"
protocol = "inference"
batch = 1

[columns.data]
title = "data"
field = "memory_required_for_data_bytes"
compared_with = "plan"
unit = "kB"
"""


def test_a_table_may_bring_its_networks(tmp_path: Path) -> None:
    (tmp_path / "table.toml").write_text(OTHERS)
    (tmp_path / "small.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data"\n'
        "input_param { shape { dim: 1 dim: 5 dim: 10 dim: 10 } } }"
    )
    lines = (
        "key,row,network,zoo_network,batch,data\na,,A,small.prototxt,3,6\nb,,B,small.prototxt,,9\n"
    )
    (tmp_path / "data.csv").write_text(lines)
    paper = load_paper(str(tmp_path))
    claims = check_claims([], paper)
    assert [(claim.pibench, claim.agrees) for claim in claims] == [(6.0, True), (2.0, False)]
    assert exit_code(claims, paper) == ExitCode.DISAGREEMENT
    (tmp_path / "data.csv").write_text(lines.replace("3,6", "0,6"))
    with pytest.raises(InvalidInputError, match="line 2: batch"):
        load_paper.__wrapped__(str(tmp_path))
    (tmp_path / "data.csv").write_text(lines.replace("small", "large"))
    with pytest.raises(InvalidInputError, match=r"no file large\.prototxt in the table's folder"):
        load_paper.__wrapped__(str(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            'device = "rpi3b"',
            'device = "rpi3b"\nstack = "fast"',
            "table.toml: unknown stack 'fast'",
        ),
        ('"rpi3b"', '"rpi4b_1gb"', "table.toml: no latency is known for rpi4b_1gb"),
        (",1,6", ",5,6", "data.csv: line 2: 5 threads, but rpi3b has 4 cores"),
        ("AlexNet,1", "NoSuchNet,1", "data.csv: line 2: "),
    ],
)
def test_what_cannot_be_predicted_is_named(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    columns = OTHERS.replace("memory_required_for_data_bytes", "latency_ms")
    columns = columns.replace('"plan"', '"prediction"').replace('"kB"', '"ms"')
    (tmp_path / "table.toml").write_text(columns.replace(old, new))
    lines = "key,row,network,zoo_network,threads,data\na,,A,AlexNet,1,6\n"
    (tmp_path / "data.csv").write_text(lines.replace(old, new))
    with pytest.raises(InvalidInputError) as raised:
        load_paper(str(tmp_path))
    assert problem in raised.value.line()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('compared_with = "plan"', "", "is compared with a plan, not with a run"),
        ('"plan"', '"guess"', "compared_with"),
        ("batch = 1", "batch = 1\nreserve_mib = 2000", "leaves nothing"),
    ],
)
def test_what_a_table_cannot_be_compared_with_is_named(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    (tmp_path / "table.toml").write_text(OTHERS.replace(old, new))
    (tmp_path / "data.csv").write_text("key,row,network,zoo_network,data\na,,A,NIN,6\n")
    with pytest.raises(InvalidInputError) as raised:
        load_paper(str(tmp_path))
    assert problem in raised.value.line()
