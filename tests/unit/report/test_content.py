"""What a report contains: claims, the networks behind records, their peaks, plans and times."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pibench import devices, networks
from pibench.errors import InvalidInputError
from pibench.records.schema import WEIGHTS_GIVEN, LayerTime, Provenance
from pibench.report.content import Report, build
from pibench.report.runs import command
from pibench.report.sources import Networks, merge
from tests.whole_records import of_the_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pibench.records.schema import Record

RPI3B = devices.load("rpi3b")


def report_of(records: Sequence[Record], known: Networks | None = None) -> Report:
    return build(merge(records), known)


def named(records: Sequence[Record], name: str) -> Record:
    return next(record for record in records if record.network == name)


def test_the_whole_paper(paper_report: Report) -> None:
    report = paper_report
    assert report.headline == "26 of 26 verdicts agree with the paper"
    assert report.missing_from_the_paper == 0
    assert [one.name for one in report.networks][:2] == ["AlexNet", "GoogleNet"]
    assert len(report.networks) == 26


def test_a_part_of_the_paper_is_compared_with_that_part(paper_run: list[Record]) -> None:
    report = report_of(paper_run[:3])
    assert report.headline == "3 of 3 verdicts agree with the paper"
    assert report.missing_from_the_paper == 23


def test_other_networks_have_no_ledger(make_record: Callable[..., Record]) -> None:
    own = make_record(network="mine", network_source="mine.prototxt")
    killed = make_record(network="yours", network_source="yours.prototxt", verdict="no-fit")
    report = report_of([own, killed])
    assert report.headline == "1 of 2 networks fit"
    assert not report.claims
    assert "--network FILE.prototxt" in report.networks[0].not_planned


def test_one_network_alone_is_its_verdict(make_record: Callable[..., Record]) -> None:
    own = make_record(network="mine", network_source="mine.prototxt", verdict="borderline")
    assert report_of([own]).headline == "mine: borderline"


def test_a_network_of_the_zoo_is_planned_and_predicted(paper_run: list[Record]) -> None:
    (one,) = report_of([of_the_zoo(named(paper_run, "SqueezeNet V1.1"))]).networks
    assert one.planned is not None
    assert one.planned.environment.threads == 4
    assert one.prediction is not None
    assert 600 < one.prediction.latency_ms < 760
    assert one.prediction.software == "by rates fitted on a board's times"
    (times,) = one.times
    assert times.provenance.kind == "predicted"
    assert sum(map(times.share, times.layers)) == pytest.approx(1)


def test_the_zoo_does_not_stand_for_another_network_of_its_name(paper_run: list[Record]) -> None:
    record = named(paper_run, "NIN")
    assert record.network_sha256 == "a" * 64
    (one,) = report_of([record]).networks
    assert one.planned is None
    assert "another one" in one.not_planned
    assert one.claims["latency_ms"].pibench is None


def test_times_of_runs_come_with_their_kind(make_record: Callable[..., Record]) -> None:
    layers = tuple(LayerTime(name=n, type="ReLU", forward_ms=ms) for n, ms in (("a", 3), ("b", 1)))
    record = of_the_zoo(make_record(network="NIN", layers=layers, protocol="inference"))
    (one,) = report_of([record]).networks
    predicted, emulated = one.times
    assert predicted.provenance.kind == "predicted"
    assert emulated.provenance.kind == "emulated"
    assert "no time of the board" in emulated.note
    assert emulated.share(emulated.layers[0]) == 0.75


def test_the_peak_of_a_killed_network_is_the_twins(paper_report: Report) -> None:
    by_name = {one.name: one.peak for one in paper_report.networks}
    vgg, alexnet = by_name["VGG 16"], by_name["AlexNet"]
    assert vgg is not None
    assert (vgg.size_bytes, vgg.provenance.kind) == (1486 * 2**20, "twin")
    assert alexnet is not None
    assert (alexnet.size_bytes, alexnet.provenance.kind) == (554 * 2**20, "emulated")


def test_without_the_twin_it_is_a_lower_bound(
    paper_run: list[Record],
) -> None:
    record = named(paper_run, "VGG 16")
    unknown = Provenance(kind="unavailable", reason="nobody asked the twin")
    record = record.model_copy(
        update={
            "headroom_bytes": None,
            "provenance": {**record.provenance, "headroom_bytes": unknown},
        }
    )
    (one,) = report_of([record]).networks
    assert one.peak is not None
    assert one.peak.is_lower_bound
    assert one.peak.size_bytes == record.peak_rss_bytes


def own_prototxt(folder: Path) -> Path:
    path = folder / "own.prototxt"
    path.write_text(networks.load("SqueezeNet V1.1").prototxt.replace("SqueezeNet", "Own"))
    return path


def test_a_given_prototxt_is_known_by_its_hash(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    path = own_prototxt(tmp_path)
    network = networks.load(str(path))
    record = make_record(
        network=network.name, network_source="own.prototxt", network_sha256=network.sha256
    )
    (without,) = report_of([record]).networks
    assert without.planned is None
    (one,) = report_of([record], Networks([path])).networks
    assert one.planned is not None
    # As `check` predicts it, and not by rates fitted on the paper's times.
    assert one.prediction is not None
    assert one.prediction.software == "for stack openblas-a53, 4 threads"
    (of_opencv,) = report_of(
        [record.model_copy(update={"engine": "opencv"})], Networks([path])
    ).networks
    assert of_opencv.prediction is None
    assert "predicted for Caffe, not for OpenCV" in of_opencv.not_predicted


def test_a_given_prototxt_is_taken_in_the_records_batch(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    path = own_prototxt(tmp_path)
    network = networks.load(str(path), batch=4)
    record = make_record(
        network=network.name,
        network_source="own.prototxt",
        network_sha256=network.sha256,
        batch=4,
    )
    assert Networks([path]).of(record).batch == 4


def test_a_network_at_hand_is_known_whichever_phase_has_the_records_batch(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    path = tmp_path / "own.prototxt"
    path.write_text(
        "".join(
            f"""layer {{ name: "data" type: "DummyData" top: "data" include {{ phase: {phase} }}
                dummy_data_param {{ shape {{ dim: {batch} dim: 3 }} }} }}"""
            for phase, batch in (("TRAIN", 64), ("TEST", 1))
        )
    )
    network = networks.load(str(path))
    record = make_record(network_sha256=network.sha256, batch=network.batch_under("caffe-time"))
    assert record.batch == 64
    assert Networks(at_hand=[network]).of(record) is network


def test_a_given_file_that_is_not_a_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.prototxt").write_text("layer { type: 'Mish' ")
    with pytest.raises(InvalidInputError, match=r"x\.prototxt"):
        Networks([tmp_path / "x.prototxt"])


def test_no_file_that_a_record_names_is_opened(
    tmp_path: Path, make_record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = own_prototxt(tmp_path)
    monkeypatch.chdir(tmp_path)
    sha256 = networks.load(str(path)).sha256
    for source in ("zoo", "own.prototxt", str(path)):
        record = make_record(network=str(path), network_source=source, network_sha256=sha256)
        with pytest.raises(InvalidInputError):
            Networks().of(record)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "pibench run AlexNet --target vm --protocol caffe-time --compute real"),
        (
            {"network": "VGG 16", "machine": "raspi3b", "batch": 2},
            (
                "pibench run 'VGG 16' --target vm --machine raspi3b "
                "--protocol caffe-time --compute real --batch 2"
            ),
        ),
        (
            {"network_source": "my net;rm.prototxt", "target": "ssh", "machine": None,
             "repairs": ("cut a layer",)},
            (
                "pibench run 'my net;rm.prototxt' --target ssh://USER@HOST "
                "--protocol caffe-time --compute real --repair"
            ),
        ),
        (
            {"repairs": ("took out 'ceil_mode: false': the pooling now rounds sizes up, as",)},
            (
                "pibench run AlexNet --target vm --protocol caffe-time --compute real "
                "--repair-as-paper"
            ),
        ),
        ({"network_source": "-"},
         "pibench run - --target vm --protocol caffe-time --compute real"),
        ({"network_source": "-rf.prototxt"},
         "pibench run ./-rf.prototxt --target vm --protocol caffe-time --compute real"),
        ({"network_source": "a\x1b[2Jb.prototxt"}, ""),
        ({"protocol": "inference", "repeats": 0},
         "pibench run AlexNet --target vm --protocol inference --compute real --repeats 0"),
    ],
)  # fmt: skip
def test_the_command_that_repeats_a_run(
    changes: dict[str, object], words: str, make_record: Callable[..., Record]
) -> None:
    assert command(make_record(**changes)) == words


@pytest.mark.parametrize("given", [True, False])
def test_the_command_names_weights_of_ones_own(
    given: bool, make_record: Callable[..., Record]
) -> None:
    reason = WEIGHTS_GIVEN if given else "with seeded random weights (seed 0)"
    plain = make_record()
    record = plain.model_copy(
        update={
            "weights_sha256": "2" * 64,
            "provenance": plain.provenance | {"outputs": Provenance(kind="twin", reason=reason)},
        }
    )
    named = f" --weights '<the caffemodel with SHA-256 {'2' * 64}>'"
    assert command(record) == command(plain) + (named if given else "")


def test_a_run_with_a_reserve_is_not_the_papers(paper_run: list[Record]) -> None:
    (whole,) = (record for record in paper_run if record.network == "AlexNet")
    whole = of_the_zoo(whole)
    limits = whole.limits.model_copy(update={"reserve_bytes": 450 * 2**20})
    reserved = whole.model_copy(update={"limits": limits})
    assert report_of([whole]).claims
    of_less = report_of([reserved])
    assert not of_less.claims
    assert of_less.networks[0].device == RPI3B.with_reserve(450)
