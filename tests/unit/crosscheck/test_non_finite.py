"""NaN and infinities in outputs and layers: `reconcile` and `bisect` agree about every pair."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pibench.crosscheck.blobs import OutputsComparison, compare_layers, compare_outputs
from pibench.crosscheck.gate import decide, parse
from pibench.crosscheck.reconcile import Tolerances, reconcile
from pibench.crosscheck.sides import Side, entry_of
from pibench.crosscheck.values import Tolerance
from pibench.errors import ExitCode
from pibench.report.comparisons import described, reconciliation_json
from pibench.report.runs import print_records
from pibench.report.tables import console
from tests.unit.crosscheck.conftest import signature

if TYPE_CHECKING:
    from pibench.records.schema import Record

    MakeRun = Callable[..., Record]

NAN, INF = np.nan, np.inf
PAIRS = {
    "both NaN": ([[NAN, NAN, NAN]], [[NAN, NAN, NAN]], True),
    "one NaN": ([[NAN, NAN, NAN]], [[1.0, 2.0, 3.0]], False),
    "infinite with one sign": ([[1.0, INF, -INF]], [[1.0, INF, -INF]], True),
    "infinite with two signs": ([[1.0, INF, 2.0]], [[1.0, -INF, 2.0]], False),
    "NaN and infinite": ([[1.0, NAN, 2.0]], [[1.0, INF, 2.0]], False),
    "partly NaN": ([[1.0, NAN, 2.0]], [[1.0, NAN, 2.0]], True),
    "partly NaN, in two places": ([[1.0, NAN, 2.0]], [[NAN, 1.0, 2.0]], False),
}
"""The values of two sides, and whether they are equal where NaN is equal to NaN."""


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("equal_nan", [False, True])
@pytest.mark.parametrize("values", [True, False])
def test_reconcile_and_bisect_agree_on_every_pair(
    make_run: MakeRun, name: str, *, equal_nan: bool, values: bool
) -> None:
    first, second, alike = PAIRS[name]
    blobs = [np.array(side, dtype=np.float32) for side in (first, second)]
    tolerance = Tolerance(0.0, 1e-5, equal_nan=equal_nan)
    layers = compare_layers(
        [signature(0, "log", blobs[0])], [signature(0, "log", blobs[1])], tolerance
    )
    entries = [entry_of(make_run(scores=blob, values=values)) for blob in blobs]
    outputs = compare_outputs(*entries, tolerance=tolerance)
    assert bool(layers) is bool(outputs) is (equal_nan and alike)
    assert "NaN" in outputs.why or "infinite" in outputs.why
    assert layers.layers[0].why or layers


def test_the_gate_fails_on_nan_and_states_how_many_and_where(make_run: MakeRun) -> None:
    scores = np.array([[0.5, 0.5, NAN, NAN]])
    sides = [Side.of(name, "records", [entry_of(make_run(scores=scores))]) for name in "ab"]
    gate, tolerances = parse("outputs", Tolerances())
    found = reconcile(sides, tolerances)
    passed = decide(found, gate)
    assert passed.code == ExitCode.DISAGREEMENT
    assert described(found.networks[0].metrics["outputs"]) == (
        "prob: 2 of 4 values are NaN, the first at [0, 2] on both sides"
    )
    (network,) = reconciliation_json(found, passed)["pairs"][0]["networks"]
    (blob,) = network["metrics"]["outputs"]["blobs"]
    assert [side["nan"] for side in blob["values"]["non_finite"]] == [2, 2]


def test_nan_equal_to_nan_passes_with_a_remark(make_run: MakeRun) -> None:
    scores = np.array([[0.5, NAN, 0.25]])
    rounded = np.array([[0.5 + 1e-7, NAN, 0.25]])
    entries = [entry_of(make_run(scores=values)) for values in (scores, rounded)]
    found = compare_outputs(*entries, tolerance=Tolerance(1e-6, 1e-4, equal_nan=True))
    assert isinstance(found, OutputsComparison)
    assert found
    assert described(found) == (
        "agrees: prob: 1 of 3 values is NaN, the first at [0, 1] on both sides"
    )
    assert found.required is not None
    assert 0 < found.required < 1e-6


def test_summaries_alone_never_let_nan_in_unknown_places_pass(make_run: MakeRun) -> None:
    first = np.array([[0.5, NAN, 0.25]])
    entries = [
        entry_of(make_run(scores=scores, values=False)) for scores in (first, first[:, ::-1])
    ]
    found = compare_outputs(*entries, tolerance=Tolerance(1.0, 1.0, equal_nan=True))
    assert found.agrees is None
    assert "only whole blobs tell" in found.why


def test_a_record_with_nan_in_its_outputs_is_printed_with_a_remark(make_run: MakeRun) -> None:
    record = make_run(scores=np.array([[0.5, NAN, 0.25]]))
    out = io.StringIO()
    print_records([record, make_run()], to=console(out, width=100))
    assert "  of output prob, 1 of 3 values is NaN, the first at [0, 1]\n" in out.getvalue()
    assert out.getvalue().count("of output") == 1
