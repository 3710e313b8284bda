"""Sides of a bisection as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pibench.bisect import Variant, parse_variant
from pibench.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("twin", {"target": "twin"}),
        ("ssh://pi@host:2222", {"target": "ssh://pi@host:2222"}),
        ("ssh://pi@host:threads=1", {"target": "ssh://pi@host", "threads": 1}),
        (
            "vm:machine=raspi3b,blas=atlas",
            {"target": "vm", "machine": "raspi3b", "blas": "atlas"},
        ),
        (
            "twin:weights=a/b:c.caffemodel,prototxt=x=y.prototxt",
            {
                "target": "twin",
                "weights": Path("a/b:c.caffemodel"),
                "prototxt": Path("x=y.prototxt"),
            },
        ),
    ],
)
def test_a_side_is_a_target_and_what_is_different_there(text: str, expected: dict) -> None:
    assert parse_variant(text) == Variant(text=text, **expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("twin:blas=mkl", "no BLAS mkl"),
        ("twin:threads=0", "not a number of threads"),
        ("twin:threads=two", "not a number of threads"),
        ("twin:threads=1,colour=red", "key 'colour' is unknown"),
        (
            "twin:colour=red",
            "key 'colour' is unknown; write TARGET:key=value,...: keys are weights",
        ),
        ("twin:weights=", "'weights=' is not KEY=VALUE"),
        ("twin:threads=1,", "'' is not KEY=VALUE"),
        ("vm:machine=pi4", "no machine pi4"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        parse_variant(text)
    assert message in raised.value.line()
