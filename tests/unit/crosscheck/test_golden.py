"""Records of real runs against each other: their comparison must stay the same.

The network is that of tests/emulation/test_bisect.py, the records are those of `pibench run
--protocol inference --repeats 2` on the twin, in the sysroot, and on the twin with a weight
of the layer `left` changed by 1 %.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pibench.bisection.search import LAYER_TOLERANCE, bisect
from pibench.bisection.sides import Recorded
from pibench.crosscheck.gate import decide, parse
from pibench.crosscheck.reconcile import Tolerances, reconcile
from pibench.crosscheck.sides import read_sides
from pibench.crosscheck.values import Tolerance
from pibench.records.store import RecordStore
from pibench.report.comparisons import bisection_json, reconciliation_json

GOLDEN = Path(__file__).parent / "golden"


def reconciled_json(*names: str) -> dict[str, Any]:
    found = reconcile(read_sides([str(GOLDEN / f"{name}.jsonl") for name in names]))
    passed = decide(found, parse(None, Tolerances())[0])
    return json.loads(json.dumps(reconciliation_json(found, passed)))


def bisected_json(first: str, second: str, tolerance: Tolerance) -> dict[str, Any]:
    sides = [
        Recorded(name=name, record=RecordStore(GOLDEN / f"{name}.jsonl").read()[0])
        for name in (first, second)
    ]
    return json.loads(json.dumps(bisection_json(bisect(*sides, tolerance=tolerance))))


def close(found: Any, expected: Any) -> bool:
    """Equal, floats to within what another numpy may round otherwise."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            close(found[key], expected[key]) for key in expected
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, float):
        return bool(found == pytest.approx(expected, rel=1e-9, abs=1e-15))
    return bool(found == expected)


def test_reconcile_of_real_records_is_unchanged() -> None:
    expected = json.loads((GOLDEN / "reconciled.json").read_text())
    assert close(reconciled_json("twin", "sysroot", "perturbed"), expected)


def test_bisect_of_real_records_is_unchanged() -> None:
    expected = json.loads((GOLDEN / "bisected.json").read_text())
    assert close(bisected_json("sysroot", "perturbed", LAYER_TOLERANCE), expected)
    assert (expected["first_divergence"]["layer"], expected["agrees"]) == ("left", False)


def test_rounding_is_no_parting_and_no_equality() -> None:
    assert bisected_json("twin", "sysroot", LAYER_TOLERANCE)["agrees"] is True
    exact = bisected_json("twin", "sysroot", Tolerance(0.0, 0.0))
    assert exact["first_divergence"]["layer"] == "conv1"
