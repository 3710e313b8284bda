"""What fits with which engine: the record that decides, and the outputs beside Caffe's."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from pibench.crosscheck.engines import as_dict, names, rows
from pibench.records.schema import Provenance
from pibench.report.engines import table, totals
from pibench.report.tables import to_markdown

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
SCORES = np.arange(12, dtype="<f4") / 12


def output(values: np.ndarray) -> dict[str, Any]:
    return {
        "name": "prob",
        "shape": (1, values.size),
        "sha256": "0" * 64,
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "l2_norm": float(np.linalg.norm(values)),
        "values": base64.b64encode(values.astype("<f4").tobytes()).decode(),
    }


@pytest.fixture
def made(make_record: Any) -> Any:
    numbers = iter(range(1, 1000))

    def record(engine: str, version: str | None = None, **changes: Any) -> Any:
        number = next(numbers)
        changes.setdefault("created", LONG_AGO + timedelta(minutes=number))
        if "peak_rss_bytes" in changes:
            changes["network_rss_bytes"] = changes["peak_rss_bytes"] - 57 * 2**20
        if changes.get("target") == "twin":
            changes["machine"] = None
        if "outputs" in changes:
            provenance = dict(make_record().provenance)
            changes["provenance"] = provenance | {"outputs": Provenance(kind="emulated")}
        return make_record(
            engine=engine, engine_version=version, record_id=f"{number:032x}",
            protocol="inference", compute="real", **changes,
        )  # fmt: skip

    return record


def test_the_record_with_a_verdict_closest_to_the_board_decides(made: Any) -> None:
    undecided = made("ncnn", "1.0", target="twin", verdict="inconclusive")
    vm = made("ncnn", "1.0", target="vm", machine="virt", verdict="no-fit", peak_rss_bytes=2**29)
    twin = made("ncnn", "1.0", target="twin", verdict="fit")
    (row,) = rows([undecided, vm, twin])
    assert row.results["ncnn 1.0"].record is vm
    (row,) = rows([undecided, twin])
    assert row.results["ncnn 1.0"].record is twin
    (row,) = rows([undecided])
    assert row.results["ncnn 1.0"].record is undecided


def test_engines_are_listed_caffe_first_and_the_latest_version_first(made: Any) -> None:
    found = rows(
        [made("opencv", one) for one in ("4.5.1", "4.14.0", "4.6.0")]
        + [made("ncnn", "1"), made("caffe")]
    )
    assert names(found) == [
        "caffe", "ncnn 1", "opencv 4.14.0", "opencv 4.6.0", "opencv 4.5.1",
    ]  # fmt: skip


def test_outputs_are_compared_with_caffes_of_the_same_input(made: Any) -> None:
    same = {"input_sha256": "1" * 64, "seed": 0, "weights_sha256": "2" * 64}
    caffe = made("caffe", outputs=(output(SCORES),), **same)
    near = SCORES.copy()
    near[-1] += 0.011
    swapped = SCORES.copy()
    swapped[[-1, -2]] = swapped[[-2, -1]]
    for values, top5, error in ((near, True, 0.012), (swapped, False, 1 / 11)):
        other = made("opencv", "4.6.0", outputs=(output(values),), **same)
        (row,) = rows([caffe, other])
        outputs = row.results["opencv 4.6.0"].outputs
        assert outputs is not None
        assert outputs.same_top5 is top5
        assert outputs.largest_error == pytest.approx(error, rel=0.01)
    elsewhere = made(
        "opencv", "4.6.0", outputs=(output(near),), **same | {"input_sha256": "3" * 64}
    )
    (row,) = rows([caffe, elsewhere])
    assert row.results["opencv 4.6.0"].outputs is None
    assert "no outputs to compare" in totals([row])[1]


def test_the_table_has_the_verdict_the_peak_and_its_provenance(made: Any) -> None:
    found = rows(
        [
            made("caffe", target="vm", machine="virt", verdict="no-fit", peak_rss_bytes=2**30),
            made("ncnn", "1.0", target="twin", verdict="fit", peak_rss_bytes=2**28),
        ]
    )
    heads, _, row = to_markdown(table(found))
    assert heads.split(" | ")[1:] == ["Caffe", "ncnn 1.0 |"]
    assert "1,024 no-fit" in row
    assert "256" in row
    assert "no-fit" not in row.rsplit(" | ", 1)[1]
    (answer,) = as_dict(found)
    assert answer["engines"]["ncnn 1.0"]["peak_rss_bytes"] == 2**28
    assert answer["engines"]["caffe"]["verdict"] == "no-fit"
