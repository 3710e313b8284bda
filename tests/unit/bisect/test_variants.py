"""Sides of a bisection as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pibench.bisection.sides import Variant, parse_variant
from pibench.engines.registry import engine_of
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
        ("twin:engine=opencv", {"target": "twin", "engine": "opencv"}),
        (
            "vm:engine=opencv==4.6:fusion=off,threads=1",
            {"target": "vm", "engine": "opencv==4.6.0.66:fusion=off", "threads": 1},
        ),
        ("ncnn", {"target": "twin", "engine": "ncnn"}),
        ("opencv==4.5.1", {"target": "twin", "engine": "opencv==4.5.1.48"}),
        (
            "ncnn:fp16=off:threads=2",
            {"target": "twin", "engine": "ncnn:fp16=off", "threads": 2},
        ),
        ("caffe:blas=atlas", {"target": "twin", "engine": "caffe", "blas": "atlas"}),
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
        ("twin:engine=tengine", "there is no engine 'tengine'"),
        ("twin:engine=opencv==9", "there is no version '9' of OpenCV"),
        ("twin:engine=ncnn:threads=2", "ncnn has no setting 'threads=2'"),
        ("ncnn:engine=opencv", "names two engines"),
        ("ncnn:colour=red", "ncnn has no setting 'colour=red'"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        parse_variant(text)
    assert message in raised.value.line()


def test_an_engine_alone_runs_on_the_default_target() -> None:
    assert parse_variant("opencv", "vm").target == "vm"
    assert parse_variant("opencv", "vm").name == "opencv on vm"
    assert parse_variant("twin:engine=opencv", "vm").name == "twin:engine=opencv"


@pytest.mark.parametrize(
    ("engine", "rtol"),
    [("caffe", 1e-5), ("opencv", 1e-5), ("ncnn", 5e-3), ("ncnn:fp16=off", 1e-5)],
)
def test_an_engine_has_the_tolerance_that_its_rounding_needs(engine: str, rtol: float) -> None:
    assert engine_of(parse_variant(f"twin:engine={engine}").engine).layer_rtol == rtol
