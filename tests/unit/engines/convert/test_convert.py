"""Networks written as ONNX and ncnn files: their structure, names, weights and refusals.

What they compute is compared with Caffe by scripts/reliability/against_onnxruntime.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest

from pibench import networks
from pibench.engines import convert
from pibench.engines.caffe import caffemodel
from pibench.engines.caffe.shapes import Shapes
from pibench.engines.convert import onnx_file
from pibench.errors import InvalidInputError, MissingExtraError
from tests.wild.forks import FORKED
from tests.wild.networks import WILD
from tests.wild.single_layers import CASES

LARGE = ("big_classifier", "caffenet", "forced_backward", "siamese")
TEXTS = {name: case.text for name, case in CASES.items()}
TEXTS |= {name: text() for name, text in (WILD | FORKED).items() if name not in LARGE}
TEXTS |= {name: name for name in ("SqueezeNet V1.1", "1.0-G-SqNxt-23")}
NO_ONNX = {
    "autoencoder": "EuclideanLoss",
    "frozen_fine_tuning": "SigmoidCrossEntropyLoss",
    "maxout_pyramid": "SPP",
    "train_val": "SoftmaxWithLoss",
    "enet": "BN that normalizes by its own input",
    "face_detector": "PriorBox",
    "faster_rcnn": "Proposal",
    "crnn": "ContinuationIndicator",
    "mobilenet_ssd": "PriorBox",
    "yolo": "Yolov3DetectionOutput",
}
NO_NCNN = NO_ONNX | {
    "crnn": "Permute with 26 images",
    **{name: "ArgMax" for name in CASES if name.startswith("ArgMax")},
    **{
        f"Reduction {operation} {axis}": what
        for operation in ("SUM", "ASUM", "SUMSQ", "MEAN")
        for axis, what in ((0, "Reduction of a scalar"), (1, "Reduction with a blob of 1 axes"))
    },
    "BatchNorm eps": "Input with 2 images",
    "BatchReindex": "Input with 4 images",
    "Convolution 1 axis": "Input with 2 images",
    "Embed": "Embed",
    "InnerProduct batch": "Input with 3 images, where one is the most",
    "Interp of a row": "Interp from or to a single row or column",
    "Interp pad": "Interp with pads",
    "Mul": "Mul by values of another shape",
    "Permute 1023": "Permute with 6 images",
    "Reorg": "Reorg",
    "Reverse": "Reverse",
    "Scale axes": "Scale with values that are not one for each channel",
    "Softmax batch": "Input with 3 images",
    "Swish beta": "Swish with a beta other than 1",
    "Upsample 3": "Upsample by a factor that is not a power of two",
    "train_val": "Input with a blob of 1 axes",
    "yolo": "Reorg",
}


Loaded = Callable[[str], tuple[Shapes, Path]]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Loads the network of a text or a name, and makes seeded weights for it: each once."""
    folder = tmp_path_factory.mktemp("networks")

    @cache
    def load(text: str) -> tuple[Shapes, Path]:
        number = load.cache_info().misses
        spec = text
        if "layer" in text:
            spec = str(folder / f"{number}.prototxt")
            Path(spec).write_text(text)
        network = networks.load(spec)
        weights = folder / f"{number}.caffemodel"
        caffemodel.write_seeded(network.net, weights)
        return network.shapes_under("inference"), weights

    return load


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - NO_ONNX.keys()))
def test_onnx_infers_caffes_shapes(name: str, tmp_path: Path, loaded: Loaded) -> None:
    found, weights = loaded(TEXTS[name])
    (path,) = convert.convert(found, weights, "onnx", tmp_path / "own")
    onnx.checker.check_model(str(path), full_check=True)
    graph = onnx.load(str(path)).graph
    inputs, outputs = convert.ends(found, "onnx")
    assert [one.name for one in graph.input] == list(inputs.values())
    assert [one.name for one in graph.output] == list(outputs.values())
    # Without the shapes that the file states, those that ONNX infers.
    for one in graph.output:
        one.type.tensor_type.ClearField("shape")
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    for blob, one in zip(outputs, inferred.graph.output, strict=True):
        shape = tuple(dim.dim_value for dim in one.type.tensor_type.shape.dim)
        assert blob in inputs or shape == found.blobs[blob]


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - NO_NCNN.keys()))
def test_ncnn_reads_each_value_once_and_all_weights(
    name: str, tmp_path: Path, loaded: Loaded
) -> None:
    found, weights = loaded(TEXTS[name])
    model, values = convert.convert(found, weights, "ncnn", tmp_path / "own")
    magic, counts, *lines = model.read_text().splitlines()
    assert magic == "7767517"
    read: list[str] = []
    made: list[str] = []
    size_bytes = 0
    for line in lines:
        kind, _, bottoms, tops, *rest = line.split(" ")
        names, params = rest[: int(bottoms) + int(tops)], rest[int(bottoms) + int(tops) :]
        read += names[: int(bottoms)]
        assert set(read) <= set(made)
        made += names[int(bottoms) :]
        size_bytes += stored_bytes(kind, dict(param.split("=") for param in params))
    assert counts.split() == [str(len(lines)), str(len(made))]
    assert len(set(read)) == len(read)
    assert len(set(made)) == len(made)
    assert values.stat().st_size == size_bytes
    _, outputs = convert.ends(found, "ncnn")
    assert set(outputs.values()) <= set(made) - set(read)


@pytest.mark.parametrize("name", sorted(CASES.keys() - NO_ONNX.keys()))
def test_the_value_of_every_layer_is_in_the_files(
    loaded: Loaded, name: str, tmp_path: Path
) -> None:
    found, weights = loaded(TEXTS[name])
    (path,) = convert.convert(found, weights, "onnx", tmp_path / "own", all_values=True)
    graph = onnx.load(str(path)).graph
    made = {output for node in graph.node for output in node.output}
    asked = [one.name for one in graph.output]
    values = convert.values(found, "onnx")
    assert set(values.values()) <= {*asked, *(one.name for one in graph.input)}
    assert len(set(asked)) == len(asked)
    made |= {one.name for one in graph.input} | {one.name for one in graph.initializer}
    assert set(asked) <= made
    shapes = {source: found.tops[source[0]][source[1]] for source in values}
    assert {values[source]: shape for source, shape in shapes.items()}.items() <= {
        one.name: tuple(dim.dim_value for dim in one.type.tensor_type.shape.dim)
        for one in (*graph.output, *graph.input)
    }.items()
    if name in NO_NCNN:
        return
    model, _ = convert.convert(found, weights, "ncnn", tmp_path / "own")
    lines = [line.split(" ") for line in model.read_text().splitlines()[2:]]
    tops = {top for line in lines for top in line[4 + int(line[2]) :][: int(line[3])]}
    assert set(convert.values(found, "ncnn").values()) <= tops


def test_layers_that_do_nothing_have_the_value_of_their_bottom(loaded: Loaded) -> None:
    found, _ = loaded(
        'layer { name: "data" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }'
        'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }'
        'layer { name: "drop" type: "Dropout" bottom: "x" top: "y" }'
        'layer { name: "z" type: "TanH" bottom: "y" top: "z" }'
        'layer { name: "nothing" type: "Silence" bottom: "z" }'
    )
    expected = {(0, 0): "x", (1, 0): "x@1", (2, 0): "x@1", (3, 0): "z"}
    assert convert.values(found, "onnx") == convert.values(found, "ncnn") == expected


def stored_bytes(kind: str, params: dict[str, str]) -> int:
    """The bytes of a layer in the .bin file, by its parameters."""
    number = {int(key): float(value) for key, value in params.items() if "," not in value}
    numbers = 0.0
    if kind.startswith(("Convolution", "Deconvolution")):
        numbers = 1 + number[6] + number[0] * number[5]
    elif kind == "InnerProduct":
        numbers = 1 + number[2] + number[0] * number[1]
    elif kind == "BatchNorm":
        numbers = 4 * number[0]
    elif kind == "Scale":
        numbers = 0 if number[0] == -233 else number[0] * (1 + number[1])
    elif kind == "PReLU":
        numbers = number[0]
    elif kind == "Normalize":
        numbers = number[3]
    elif kind == "MemoryData":
        numbers = prod(number.values())
    return 4 * int(numbers)


def test_values_arrive_as_they_are(tmp_path: Path, loaded: Loaded) -> None:
    found, weights = loaded(CASES["Convolution"].text)
    kernel, bias = dict(caffemodel.mapped_values(weights))["Convolution"]
    (path,) = convert.convert(found, weights, "onnx", tmp_path / "own")
    stored = [onnx.numpy_helper.to_array(one) for one in onnx.load(str(path)).graph.initializer]
    assert [one.shape for one in stored] == [(8, 6, 3, 3), (8,)]
    assert np.array_equal(stored[0].reshape(-1), kernel)
    _, values = convert.convert(found, weights, "ncnn", tmp_path / "own")
    own = np.fromfile(values, "<f4")
    assert np.array_equal(own, np.concatenate([np.zeros(1, np.float32), kernel, bias]))


def test_what_layers_share_is_stored_once_in_onnx(tmp_path: Path, loaded: Loaded) -> None:
    found, weights = loaded(CASES["two convolutions"].text)
    (path,) = convert.convert(found, weights, "onnx", tmp_path / "own")
    assert len(onnx.load(str(path)).graph.initializer) == 2


def test_a_model_above_the_limit_of_a_message_is_refused(
    tmp_path: Path, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 1000)
    found, weights = loaded(CASES["Convolution"].text)
    with pytest.raises(InvalidInputError, match=r"own\.onnx: would have more than 2 GiB"):
        convert.convert(found, weights, "onnx", tmp_path / "own")


def test_an_input_that_nothing_reads_is_an_output(tmp_path: Path, loaded: Loaded) -> None:
    head = CASES["Eltwise coeff"].text.splitlines()[1].replace('"b"', '"label"')
    found, weights = loaded(f"{CASES['ReLU'].text}\n{head}")
    for to in convert.FORMATS:
        names = {"a": "a", "label": "label"}
        assert convert.ends(found, to) == (names, {"label": "label", "y": "y"})
    (path,) = convert.convert(found, weights, "onnx", tmp_path / "own")
    onnx.checker.check_model(str(path), full_check=True)


@pytest.mark.parametrize(
    ("name", "to", "what"),
    [(name, to, what) for to, all_of in (("onnx", NO_ONNX), ("ncnn", NO_NCNN))
     for name, what in all_of.items()],
)  # fmt: skip
def test_what_a_format_lacks_is_refused(
    name: str, to: convert.Format, what: str, tmp_path: Path, loaded: Loaded
) -> None:
    found, weights = loaded(TEXTS[name])
    before = set(tmp_path.iterdir())
    with pytest.raises(InvalidInputError) as refused:
        convert.convert(found, weights, to, tmp_path / "own", path="net.prototxt")
    line = refused.value.line()
    assert line.startswith("net.prototxt: layer '")
    assert f"': {convert.LABELS[to]} has no exact equal of {what}" in line
    assert set(tmp_path.iterdir()) == before


LAYER = 'layer { name: "l" type: "KIND" bottom: "a" top: "y" TOP BODY }'
POOL = LAYER.replace("KIND", "Pooling").replace("BODY", "pooling_param { BODY }")


NOWHERE = {
    "with its mask as second top": POOL.replace("BODY", "kernel_size: 2").replace(
        "TOP", 'top: "z"'
    ),
    "with a window behind the input": POOL.replace("BODY", "kernel_size: 1 stride: 9"),
    "of kind STOCHASTIC": POOL.replace("BODY", "kernel_size: 2 pool: STOCHASTIC"),
    "that normalizes by its own input": LAYER.replace("KIND", "BatchNorm").replace(
        "BODY", "batch_norm_param { use_global_stats: false }"
    ),
    "with a kernel larger than its input": LAYER.replace("KIND", "Convolution").replace(
        "BODY", "convolution_param { num_output: 2 kernel_size: 10 stride: 4 }"
    ),
    "with channels on axis 2": LAYER.replace("KIND", "Convolution").replace(
        "BODY", "convolution_param { num_output: 2 kernel_size: 3 axis: 2 }"
    ),
    "with random values": (
        'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 1 dim: 2 } '
        'data_filler { type: "gaussian" } } }'
    ),
    "that draws at random": LAYER.replace("KIND", "SpatialDropout").replace(
        "BODY", "spatial_dropout_param { p: 0.2 train: true }"
    ),
}


@pytest.mark.parametrize("to", convert.FORMATS)
@pytest.mark.parametrize("what", NOWHERE)
def test_what_no_format_has_is_refused(
    what: str, to: convert.Format, tmp_path: Path, loaded: Loaded
) -> None:
    head = CASES["ReLU"].text.splitlines()[0]
    found, weights = loaded(f"{head}\n{NOWHERE[what].replace('TOP', '')}")
    with pytest.raises(InvalidInputError, match=what):
        convert.convert(found, weights, to, tmp_path / "own")


def test_a_missing_package_is_one_line(
    tmp_path: Path, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    found, weights = loaded(CASES["ReLU"].text)
    with pytest.raises(MissingExtraError, match=r"onnx is not installed; .*pibench\[engines\]"):
        convert.convert(found, weights, "onnx", tmp_path / "own")


def test_weights_of_another_network_are_refused(tmp_path: Path, loaded: Loaded) -> None:
    _, weights = loaded(CASES["Convolution"].text)
    text = CASES["InnerProduct"].text
    (tmp_path / "own.prototxt").write_text(text)
    found = networks.load(str(tmp_path / "own.prototxt")).shapes_under("inference")
    with pytest.raises(InvalidInputError, match="layer 'InnerProduct': the file has no parameter"):
        convert.convert(found, weights, "ncnn", tmp_path / "own")


def test_names_of_outputs_are_those_of_blobs(loaded: Loaded) -> None:
    found, _ = loaded(CASES["names"].text)
    assert convert.ends(found, "onnx") == ({"a": "a"}, {"a b": "a b", "a_b": "a_b"})
    assert convert.ends(found, "ncnn") == ({"a": "a"}, {"a b": "a_b", "a_b": "a_b_2"})
    found, _ = loaded(CASES["in place, output"].text)
    assert convert.ends(found, "onnx") == ({"a": "a"}, {"a": "a@1"})


def test_stems_are_what_users_name(tmp_path: Path) -> None:
    assert convert.stem_of(Path("a/b.onnx"), "onnx", force=False) == Path("a/b")
    assert convert.stem_of(Path("a/resnet-v1.5"), "ncnn", force=False) == Path("a/resnet-v1.5")
    (tmp_path / "own.bin").touch()
    with pytest.raises(InvalidInputError, match=r"own\.bin: is there already"):
        convert.stem_of(tmp_path / "own.param", "ncnn", force=False)
    assert convert.stem_of(tmp_path / "own.param", "ncnn", force=True) == tmp_path / "own"
