"""A user's own model file as it runs: shapes, types, files beside it, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pibench import api, networks
from pibench.engines.caffe import CAFFE
from pibench.engines.registry import engine_of, readers
from pibench.errors import InvalidInputError
from pibench.networks import model_file
from pibench.networks.model_file import ModelFile
from pibench.probe.values import fill
from pibench.records.schema import Record
from pibench.report.runs import command
from pibench.report.sources import Networks
from pibench.runner.jobs import facts_of, job_of
from pibench.runner.options import RunOptions, default_engine
from pibench.targets.job import SYSTEM, Libraries, job_bytes, write_job
from tests.wild.own_models import conv_net, dense_tflite


def onnx_of(path: Path, dims: list[Any], **more: Any) -> Path:
    """Write an ONNX model that only passes its inputs on; `more` are further inputs' dimensions."""
    import onnx
    from onnx import helper

    value = helper.make_tensor_value_info
    inputs = {"x": dims, **more}
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in inputs]
    graph = helper.make_graph(
        nodes, "pass",
        [value(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [value(f"{name}_out", onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
    )  # fmt: skip
    path.write_bytes(helper.make_model(graph, ir_version=8).SerializeToString())
    return path


def shapes(model: ModelFile) -> list[tuple[int, ...]]:
    return [one.shape for one in model.inputs]


def test_an_open_batch_alone_is_one_and_stated(tmp_path: Path) -> None:
    path = onnx_of(tmp_path / "m.onnx", ["N", 3, 8, 8], y=["N", 4])
    model = model_file.load(path, "onnx")
    assert shapes(model) == [(1, 3, 8, 8), (1, 4)]
    assert model.shapes == {"x_out": (1, 3, 8, 8), "y_out": (1, 4)}
    (remark,) = model.assumptions
    assert "input 'x': its first dimension, 'N', is open in the file; it runs with 1" in remark
    assert (model.batch, model.input_size) == (1, None)
    with_batch = model_file.load(path, "onnx", batch=4)
    assert shapes(with_batch) == [(4, 3, 8, 8), (4, 4)]
    assert (with_batch.batch, with_batch.assumptions) == (4, ())


def test_a_given_size_counts_for_what_has_the_same_name(tmp_path: Path) -> None:
    path = onnx_of(tmp_path / "m.onnx", ["N", 3, "H", "W"], y=["N", "W"])
    model = model_file.load(path, "onnx", given=["x=2,3,16,24"])
    assert shapes(model) == [(2, 3, 16, 24), (2, 24)]
    assert model.shapes["y_out"] == (2, 24)
    assert model.input_size == "x=2x3x16x24"
    assert model.assumptions == ()


def test_one_name_for_all_open_sizes_says_nothing(tmp_path: Path) -> None:
    path = onnx_of(tmp_path / "m.onnx", ["?", 3, "?", "?"])
    model = model_file.load(path, "onnx", given=["1x3x48x192"])
    assert shapes(model) == [(1, 3, 48, 192)]
    assert model.shapes == {"x_out": None}
    assert model.input_size == "1x3x48x192"


@pytest.mark.parametrize(
    ("dims", "given", "batch", "problem"),
    [
        (["N", 3, "H", 8], [], None, "its size open: N x 3 x H x 8; give it, such as --input x=1"),
        ([-1, 3, 0, 8], [], None, "its size open: . x 3 x . x 8"),
        (["N", 3, 8, 8], ["1,4,8,8"], None, "its dimension 2 is 3 in the file"),
        (["N", 3, 8, 8], ["3,8,8"], None, "it has 4 dimensions"),
        (["N", 3, 8, 8], ["z=1,3,8,8"], None, "it has no input 'z'; .*its inputs: x"),
        (["N", 3, 8, 8], ["1,3,8,8"], 2, "contradict each other"),
        (["N", 3, 8, 8], ["1,3,8,eight"], None, "is not a shape; give all dimensions"),
        (["N", 3, 8, 8], ["1,3,0,8"], None, "is not a shape"),
        (["N", 3, "H", 8], ["1,3,999999999,8"], None, "more than 2147483647 values"),
        ([1, 3, 8, 8], [], 2, "batch 2: the file has a batch of 1"),
        ([], [], 2, "batch 2: the file has a batch of 1"),
        (["N", 3, 8, 8], [], 0, "batch 0 is out of range"),
        (None, [], None, "the file does not have its size; give it, such as --input x=1,3,224,224"),
    ],
)  # fmt: skip
def test_a_size_that_is_not_known_or_not_possible_is_one_line(
    tmp_path: Path, dims: Any, given: list[str], batch: int | None, problem: str
) -> None:
    path = onnx_of(tmp_path / "m.onnx", dims)
    with pytest.raises(InvalidInputError, match=problem) as caught:
        model_file.load(path, "onnx", given=given, batch=batch)
    assert "\n" not in caught.value.line()


def test_of_several_inputs_a_shape_names_one(tmp_path: Path) -> None:
    path = onnx_of(tmp_path / "m.onnx", ["N", "A"], y=["N", "B"])
    with pytest.raises(InvalidInputError, match="it has 2 inputs; give NAME=1,3; its inputs: x, y"):
        model_file.load(path, "onnx", given=["1,3"])
    model = model_file.load(path, "onnx", given=["y=2,5", "x=2,3"])
    assert shapes(model) == [(2, 3), (2, 5)]


@pytest.mark.parametrize(
    ("dims", "advised"),
    [
        ({"x": ["", ""], "state": [2, "", 128]}, "--input x=1,128 --input state=2,1,128"),
        ({"x": ["N", "T"], "mask": ["N", "T"], "lengths": ["N"]}, "--input x=1,128"),
        ({"x": ["N", "T"], "mask": ["N", "M"]}, "--input x=1,128 --input mask=1,128"),
        ({"x": [1, "T", 80], "a b": ["N", "T", 4]}, "--input x=1,128,80"),
        ({"x": [3, "H", "W"], "a b": ["H", "K"]}, "--input x=3,128,128 --input 'a b=128,128'"),
    ],
)
def test_all_that_is_missing_is_advised_at_once(
    tmp_path: Path, dims: dict[str, list[Any]], advised: str
) -> None:
    first, *others = dims
    path = onnx_of(tmp_path / "m.onnx", dims[first], **{name: dims[name] for name in others})
    with pytest.raises(InvalidInputError) as caught:
        model_file.load(path, "onnx")
    assert caught.value.line().endswith(f"give it, such as {advised}")
    # What is advised is enough.
    given = [word for word in shlex.split(advised) if word != "--input"]
    assert len(shapes(model_file.load(path, "onnx", given=given))) == len(dims)


@pytest.mark.parametrize("kind", ["string", "complex64"])
def test_a_type_without_values_is_named(tmp_path: Path, kind: str) -> None:
    path = conv_net(tmp_path / "m.onnx", kind=kind)
    with pytest.raises(InvalidInputError, match=f"input 'x': pibench has no values .*{kind}"):
        model_file.load(path, "onnx")


@pytest.mark.parametrize("kind", sorted(model_file.RANGES))
def test_seeded_values_are_of_the_inputs_type(kind: str) -> None:
    low, high = model_file.RANGES[kind]
    array, again = np.empty((4, 5000), kind), np.empty((4, 5000), kind)
    digest = fill([("x", array, (low, high))], None, 7)
    assert digest == fill([("x", again, (low, high))], None, 7)
    assert digest == hashlib.sha256(array.astype("<f4").tobytes()).hexdigest()
    assert digest != fill([("x", again, (low, high))], None, 8)
    assert low <= float(array.min()) < float(array.max()) <= high
    if array.dtype.kind != "f":
        assert {float(array.min()), float(array.max())} == {low, high}


def test_a_given_scalar_is_an_input_too() -> None:
    array = np.empty((), "int64")
    fill([("x", array, (0.0, 1.0))], {"x": np.int64(7)}, 0)
    assert array == 7


def test_weights_travel_with_their_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "more").mkdir(parents=True)
        conv_net(tmp_path / name / "net.onnx", beside="more/weights.bin", dims=(1, 3, 32, 32))
    with (tmp_path / "b/more/weights.bin").open("ab") as file:
        file.write(b"other")
    options = RunOptions(engine="onnxruntime", protocol="inference")
    loaded = [options.load_any(tmp_path / name / "net.onnx") for name in ("a", "b")]
    assert loaded[0].sha256 == loaded[1].sha256
    jobs = [job_of(at, one, options) for at, one in enumerate(loaded)]
    for one, job in zip(loaded, jobs, strict=True):
        assert isinstance(one, ModelFile)
        weights = one.path.parent / "more/weights.bin"
        facts = facts_of(one, job)
        assert facts.sha256 == hashlib.sha256(one.path.read_bytes()).hexdigest()
        assert facts.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
        assert facts.weights_file_bytes == one.path.stat().st_size + weights.stat().st_size
    assert job_bytes(jobs) > sum(
        facts_of(*pair).weights_file_bytes for pair in zip(loaded, jobs, strict=True)
    )
    write_job(tmp_path / "job", jobs, SYSTEM, Libraries())
    items = json.loads((tmp_path / "job/job.json").read_text())["items"]
    for name, item in zip(("a", "b"), items, strict=True):
        at = tmp_path / "job" / item["model"]
        assert at.read_bytes() == (tmp_path / name / "net.onnx").read_bytes()
        sent = at.parent / "more/weights.bin"
        assert sent.read_bytes() == (tmp_path / name / "more/weights.bin").read_bytes()
        assert item["ends"]["inputs"] == [
            {"name": "x", "shape": [1, 3, 32, 32], "inside": "x", "top": 0, "type": "float32",
             "low": -1.0, "high": 1.0}
        ]  # fmt: skip


def test_names_that_do_not_fit_a_command_are_one_line(tmp_path: Path) -> None:
    more = {f"{'n' * 900}{number}": [1] for number in range(40)}
    options = RunOptions(engine="onnxruntime", protocol="inference")
    model = options.load_any(onnx_of(tmp_path / "m.onnx", [1], **more))
    with pytest.raises(InvalidInputError, match=r"m\.onnx: the names of its inputs and outputs"):
        job_of(0, model, options)


def located(path: Path, location: str) -> Path:
    """Write a model whose weights are in the file that `location` names."""
    import onnx

    conv_net(path, beside="weights.bin", dims=(1, 3, 32, 32))
    model = onnx.load(str(path), load_external_data=False)
    for constant in model.graph.initializer:
        for entry in constant.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../secret", "a/../../secret", "", ".", "a\\b", "a\nb", "x" * 600]
)
def test_weights_outside_the_models_folder_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("secret")
    path = located(tmp_path / "in/m.onnx", location)
    with pytest.raises(InvalidInputError, match=r"its weights are in .*not a file beside it") as it:
        model_file.load(path, "onnx")
    assert "\n" not in it.value.line()


def test_a_link_out_of_the_models_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "in/linked").symlink_to(tmp_path / "secret")
    (tmp_path / "in/folder").symlink_to(tmp_path)
    for location in ("linked", "folder/secret"):
        path = located(tmp_path / "in/m.onnx", location)
        with pytest.raises(InvalidInputError, match="a link to a file outside its folder"):
            model_file.load(path, "onnx")
        (tmp_path / "in/weights.bin").unlink()
    with pytest.raises(InvalidInputError, match=r"its weights: .*gone\.bin: no such file"):
        model_file.load(located(tmp_path / "in/m.onnx", "gone.bin"), "onnx")


def test_the_default_engine_is_the_files() -> None:
    assert [one.id for one in readers("onnx")] == ["onnxruntime", "opencv"]
    assert [one.id for one in readers("tflite")] == ["litert"]
    assert "litert" not in [one.id for one in readers(None)]
    assert default_engine(["NIN", "my/deploy.prototxt"]) == CAFFE.id
    assert default_engine(["a.onnx", "b.ONNX"]) == "onnxruntime"
    assert default_engine(["a.tflite"]) == "litert"
    with pytest.raises(InvalidInputError, match=r"a\.onnx runs with the engine onnxruntime and b"):
        default_engine(["a.onnx", "b.tflite"])


@pytest.mark.parametrize(
    ("file", "engine", "problem"),
    [
        ("m.onnx", "caffe", "an ONNX model, which Caffe does not read; use --engine onnx"),
        ("m.onnx", "ncnn", "an ONNX model, which ncnn does not read"),
        ("m.tflite", "opencv", "a TFLite model, which OpenCV does not read; use --engine litert"),
        ("m.tflite", "onnxruntime", "a TFLite model, which ONNX Runtime does not read"),
        ("NIN", "litert", "a network of Caffe, which LiteRT does not read; use --engine caffe or"),
    ],
)  # fmt: skip
def test_an_engine_that_does_not_read_a_file_is_one_line(
    tmp_path: Path, file: str, engine: str, problem: str
) -> None:
    conv_net(tmp_path / "m.onnx")
    dense_tflite(tmp_path / "m.tflite")
    options = RunOptions(engine=engine, protocol="inference")
    loaded = options.load_any(file if file == "NIN" else tmp_path / file)
    with pytest.raises(InvalidInputError, match=problem):
        options.check(loaded)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"protocol": "caffe-time"}, "ONNX Runtime has no protocol caffe-time"),
        ({"compute": "memory-only"}, "ONNX Runtime has no compute memory-only"),
        ({"weights": Path("w.caffemodel")}, "--weights is for networks of Caffe"),
        ({"repair": True}, "--repair is for networks of Caffe"),
        ({"input_size": "32x32"}, "has two of the dimensions of its input"),
        ({"keep": ("conv",)}, "--keep-blobs is for Caffe"),
        ({"blas": "atlas"}, "--blas is for Caffe"),
    ],
)
def test_options_of_caffe_are_refused(
    tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    path = conv_net(tmp_path / "m.onnx")
    chosen = RunOptions(**{"engine": "onnxruntime", "protocol": "inference", **options})
    with pytest.raises(InvalidInputError, match=problem):
        chosen.check(chosen.load_any(path))


def test_a_shape_is_not_for_a_network_of_caffe() -> None:
    with pytest.raises(InvalidInputError, match="NIN is a network of Caffe; give height x width"):
        RunOptions(shapes=("1,3,224,224",)).load_any("NIN")


def test_what_is_of_caffe_alone_says_what_is_possible(tmp_path: Path) -> None:
    path = conv_net(tmp_path / "my net.onnx")
    calls: tuple[Any, ...] = (networks.load, api.plan, api.predict, api.check, api.fits)
    for call in calls:
        with pytest.raises(InvalidInputError, match="for networks of Caffe alone; pibench run '"):
            call(str(path))


@pytest.mark.parametrize(
    ("pool", "refused"),
    [
        ({}, False),
        ({"count_include_pad": 1}, False),
        ({"pads": [1, 1, 1, 1]}, False),
        ({"pads": [1, 1, 1, 1], "count_include_pad": 0}, False),
        ({"pads": [1, 1, 1, 1], "count_include_pad": 1}, True),
        ({"auto_pad": "SAME_UPPER", "count_include_pad": 1}, True),
        ({"auto_pad": "VALID", "count_include_pad": 1}, False),
    ],
)
def test_what_opencv_would_average_otherwise_is_refused(
    tmp_path: Path, pool: dict[str, Any], refused: bool
) -> None:
    model = model_file.load(conv_net(tmp_path / "m.onnx", pool=pool), "onnx")
    options = RunOptions(engine="opencv", protocol="inference")
    if not refused:
        options.check(model)
        return
    with pytest.raises(InvalidInputError) as caught:
        options.check(model)
    assert "m.onnx: AveragePool 'pool': OpenCV 4.14.0.94" in caught.value.line()
    assert "`count_include_pad`" in caught.value.line()
    assert "--engine onnxruntime" in caught.value.line()


def test_opencv_does_not_read_weights_beside_a_model(tmp_path: Path) -> None:
    model = model_file.load(conv_net(tmp_path / "m.onnx", beside="w.bin"), "onnx")
    with pytest.raises(InvalidInputError, match="does not read weights from files beside a model"):
        engine_of("opencv").check_file(model.contents, model.place)


def test_a_record_of_a_model_file_says_how_to_repeat_it(make_record: Any, tmp_path: Path) -> None:
    path = onnx_of(tmp_path / "m.onnx", ["N", "A"], y=["N", "B"])
    options = RunOptions(
        engine="onnxruntime", protocol="inference", shapes=("y=2,5", "x=2,3"), target="twin"
    )
    model = options.load_any(path)
    facts = facts_of(model, job_of(0, model, options))
    names = ("network_format", "inputs", "input_size", "batch")
    record: Record = make_record(
        network=facts.name,
        network_source=str(path),
        protocol="inference",
        compute="real",
        **{name: getattr(facts, name) for name in names},
    )
    assert Record.model_validate_json(record.model_dump_json()) == record
    assert [(one.name, one.type, one.shape) for one in record.inputs] == [
        ("x", "float32", (2, 3)), ("y", "float32", (2, 5)),
    ]  # fmt: skip
    assert "--input x=2x3 --input y=2x5" in command(record)
    with pytest.raises(InvalidInputError, match="of Caffe alone, and this is an ONNX model"):
        Networks().of(record)
