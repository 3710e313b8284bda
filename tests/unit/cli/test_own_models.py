"""A user's own ONNX and TFLite models on the command line: what is possible, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pibench.cli import run
from tests.wild.own_models import conv_net, dense_tflite

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Pibench

OF_CAFFE = (
    ("plan", "m.onnx"),
    ("plan", "m.onnx", "--check"),
    ("predict", "m.tflite"),
    ("check", "m.onnx"),
    ("count", "m.onnx"),
    ("bisect", "m.onnx", "twin", "sysroot"),
    ("bundle", "m.tflite"),
    ("sweep", "run", "--networks", "m.onnx", "--out", "study"),
    ("networks", "show", "m.onnx"),
    ("networks", "convert", "m.onnx", "--to", "ncnn"),
)


@pytest.fixture
def models(tmp_path: Path) -> None:
    conv_net(tmp_path / "m.onnx")
    conv_net(tmp_path / "open.onnx", dims=("N", 3, "H", "W"))
    dense_tflite(tmp_path / "m.tflite")


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("arguments", OF_CAFFE, ids=" ".join)
def test_what_is_of_caffe_alone_says_what_to_do(pibench: Pibench, arguments: tuple[str]) -> None:
    # A study has absolute paths.
    line = pibench(*arguments, code=2).err.replace(f"{Path.cwd()}/", "")
    name = next(word for word in arguments if word.startswith("m."))
    kind = "an ONNX" if name.endswith("onnx") else "a TFLite"
    assert line == (
        f"pibench: {name}: {kind} model, and this is for networks of Caffe alone; "
        f"pibench run {name} measures its memory and its time\n"
    )


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("m.onnx --protocol caffe-time", "ONNX Runtime has no protocol caffe-time"),
        ("m.tflite --engine opencv", "which OpenCV does not read; use --engine litert"),
        ("m.onnx --engine caffe", "which Caffe does not read; use --engine onnxruntime or opencv"),
        ("m.onnx m.tflite", "m.onnx runs with the engine onnxruntime and m.tflite with litert"),
        ("m.onnx NIN", "m.onnx runs with the engine onnxruntime and NIN with caffe"),
        ("open.onnx", "open: N x 3 x H x W; give it, such as --input x=1,3,224,224"),
        ("open.onnx --input 32x32", "input 'x': --input 32x32: it has 4 dimensions"),
        ("m.tflite --batch 3", "batch 3: the file has a batch of 1"),
        ("m.onnx m.caffemodel", "--weights is for networks of Caffe"),
        ("NIN --input 1,3,224,224", "'1,3,224,224' is not an input size"),
        ("NIN --input 99x99 --input 98x98", "a network of Caffe has one size of images"),
        ("none.onnx", "none.onnx: no such file"),
    ],
)
def test_what_cannot_run_is_one_line(pibench: Pibench, arguments: str, problem: str) -> None:
    (*_, line) = pibench("run", *arguments.split(), "--target", "twin", code=2).err.splitlines()
    assert line.startswith("pibench: ")
    assert problem in line


@pytest.mark.usefixtures("models")
def test_a_model_in_the_place_of_a_command_is_run(pibench: Pibench) -> None:
    assert "pibench run m.tflite" in pibench("m.tflite", code=2).err
    assert "pibench run m.onnx" in pibench("m.onnx", code=2).err


@pytest.mark.parametrize(
    ("engine", "message", "advice"),
    [
        ("onnxruntime", "model IR version: 13, max supported IR version: 10", "opset 21"),
        ("onnxruntime", "official support for domain ai.onnx is till opset 21.", "opset 21"),
        ("litert", "Encountered unresolved custom op: Landmarks", "built-in operators"),
        ("opencv", "unresolved custom op", ""),
        ("onnxruntime", "NOT_IMPLEMENTED : Could not find an implementation for Add(6)", "opset 7"),
    ],
)
def test_a_model_that_is_too_new_comes_with_advice(
    make_record: Any, engine: str, message: str, advice: str
) -> None:
    record = make_record(engine=engine, engine_version="1", protocol="inference")
    assert advice in (run.hint_for(record, message) or "")


@pytest.mark.parametrize(
    ("engine", "message", "advice"),
    [
        ("onnxruntime", "Non-zero status code returned while running Concat node.", "with --input"),
        ("litert", "Node number 5 (RESHAPE) failed to prepare.", "with --input"),
        ("litert", "unresolved custom op: Landmarks. Node number 1 failed to prepare.", "built-in"),
        ("opencv", "(-215:Assertion failed) !isDynamicShape", "export it with fixed sizes"),
    ],
)
def test_what_rejects_a_model_of_open_sizes_may_be_the_size(
    make_record: Any, engine: str, message: str, advice: str
) -> None:
    record = make_record(engine=engine, engine_version="1", protocol="inference")
    assert advice in (run.hint_for(record, message, open_sizes=True) or "")
    assert advice == "built-in" or run.hint_for(record, message) is None
