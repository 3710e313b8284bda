"""The layers of Caffe's forks, by pibench's library: values, gradients and peaks."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pibench import networks
from pibench.crosscheck.planned import compare, environment_of
from pibench.errors import InvalidInputError
from pibench.images.build import Builder
from pibench.images.rootfs import RootLoader
from pibench.plan import graph
from pibench.plan.planner import plan
from pibench.targets.local import TwinTarget
from tests.emulation.conftest import DEVICE, run
from tests.wild.fork_layers import LAYERS, fork_layers
from tests.wild.forks import FORKED

pytestmark = pytest.mark.emulation

Array = NDArray[np.float32]
NEAR = 1e-5

# Run by the root's Python 3.9: forward of each network, and the largest difference between its
# gradients and those by finite differences.
FORWARD = """
import json, sys
import caffe
import numpy as np

def gradient_error(net, name, top):
    random = np.random.RandomState(1)
    weights = random.randn(*net.blobs[top].data.shape).astype("f4")
    net.blobs[top].diff[...] = weights
    net.backward()
    found = net.blobs[name].diff.copy()
    values, worst, step = net.blobs[name].data, 0.0, 1e-2
    for _ in range(12):
        index = random.randint(values.size)
        old, sums = values.flat[index], []
        for moved in (old + step, old - step):
            values.flat[index] = moved
            net.forward()
            sums.append(float((net.blobs[top].data * weights).sum()))
        values.flat[index] = old
        by_steps = (sums[0] - sums[1]) / (2 * step)
        worst = max(worst, abs(by_steps - found.flat[index]) / max(1.0, abs(by_steps)))
    return worst

results = []
for case in json.load(open(sys.argv[1])):
    net = caffe.Net(case["model"], caffe.TRAIN)
    for name, path in case["inputs"].items():
        net.blobs[name].data[...] = np.load(path)
    net.forward()
    top = case["top"]
    np.save(case["output"], net.blobs[top].data)
    params = [blob.data for blobs in net.params.values() for blob in blobs]
    np.savez(case["params"], *params)
    errors = {name: gradient_error(net, name, top) for name in case["gradients"]}
    results.append(errors)
print(json.dumps(results))
"""

# What the nets' blobs and parameters are once they are set up; none where Caffe aborts.
SHAPES = """
import json, os, sys
import caffe
for path in sys.argv[1:]:
    if not os.fork():
        net = caffe.Net(path, caffe.TEST)
        shapes = {name: list(blob.shape) for name, blob in net.blobs.items()}
        params = [list(blob.shape) for blob in net.params.get("l", [])]
        net.forward()
        with open(path + ".json", "w") as file:
            json.dump([shapes, params], file)
        os._exit(0)
    os.wait()
"""


class Caffe:
    """Stock Caffe of the twin's root, with the library preloaded."""

    def __init__(self, builder: Builder, folder: Path) -> None:
        self.loader = RootLoader(builder.twin().content / "root", "amd64")
        self.library = builder.layers("amd64")
        self.folder = folder

    def forward(
        self, layers: str, inputs: dict[str, Array], *, top: str = "y", gradients: str = "x"
    ) -> tuple[Array, dict[str, float]]:
        """Return the top of a network of these layers, and the error of each gradient."""
        model, output = self.folder / "net.prototxt", self.folder / "output.npy"
        heads = [
            f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
            + " ".join(f"dim: {size}" for size in values.shape)
            + " } } }"
            for name, values in inputs.items()
        ]
        model.write_text("\n".join(["force_backward: true", *heads, layers]))
        # As pibench hands it over: the parameters in the form that stock Caffe reads.
        model.write_text(networks.load(str(model)).prototxt)
        paths = {}
        for name, values in inputs.items():
            paths[name] = str(self.folder / f"{name}.npy")
            np.save(paths[name], values)
        case = {
            "model": str(model), "inputs": paths, "top": top, "output": str(output),
            "gradients": gradients.split(), "params": str(self.folder / "params.npz"),
        }  # fmt: skip
        cases = self.folder / "cases.json"
        cases.write_text(json.dumps([case]))
        (errors,) = json.loads(self.python(FORWARD, cases))
        return np.load(output), errors

    def python(self, script: str, *arguments: Path) -> str:
        """Return the output of a script in the root's Python."""
        done = subprocess.run(
            [*self.loader.python(preload=self.library), "-c", script, *map(str, arguments)],
            capture_output=True, text=True, check=False, timeout=300,
            env={**os.environ, **self.loader.python_env(), "GLOG_minloglevel": "2"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


@pytest.fixture
def caffe(builder: Builder, tmp_path: Path) -> Caffe:
    return Caffe(builder, tmp_path)


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def layer(kind: str, bottoms: str = "x", body: str = "", top: str = "y") -> str:
    wires = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    return f'layer {{ name: "{kind}" type: "{kind}" {wires} top: "{top}" {body} }}'


def normalized(x: Array, axes: tuple[int, ...]) -> Array:
    return x / np.sqrt((x * x).sum(axes, keepdims=True) + 1e-10)


def batch_normalized(x: Array) -> Array:
    mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    return 2 * (x - mean) / np.sqrt(variance + 1e-9)


def interpolated(x: Array, height: int, width: int) -> Array:
    """Bilinear, corners on corners."""
    ys, xs = np.linspace(0, x.shape[2] - 1, height), np.linspace(0, x.shape[3] - 1, width)
    y0, x0 = np.floor(ys).astype(int), np.floor(xs).astype(int)
    y1, x1 = np.minimum(y0 + 1, x.shape[2] - 1), np.minimum(x0 + 1, x.shape[3] - 1)
    below, beside = (ys - y0)[:, None], (xs - x0)[None, :]
    rows = [x[:, :, rows][:, :, :, columns] for rows in (y0, y1) for columns in (x0, x1)]
    weights = (
        (1 - below) * (1 - beside), (1 - below) * beside, below * (1 - beside), below * beside,
    )  # fmt: skip
    return np.sum([part * weight for part, weight in zip(rows, weights, strict=True)], axis=0)


def reorganized(x: Array, stride: int) -> Array:
    """As darknet does it (src/blas.c, reorg_cpu): by the definition, one number at a time."""
    images, channels, height, width = x.shape
    deep = channels // stride**2
    wide = x.reshape(images, deep, height * stride, width * stride)
    result = np.empty_like(x)
    for c in range(channels):
        rows = np.arange(height) * stride + c // deep // stride
        columns = np.arange(width) * stride + c // deep % stride
        result[:, c] = wide[:, c % deep][:, rows][:, :, columns]
    return result.reshape(images, channels * stride**2, height // stride, width // stride)


def shuffled(x: Array, groups: int) -> Array:
    images, channels, height, width = x.shape
    parts = x.reshape(images, groups, channels // groups, height, width)
    return parts.swapaxes(1, 2).reshape(x.shape)


def resized(x: Array, height: int, width: int) -> Array:
    """Bilinear as TensorFlow's with half_pixel_centers: one number at a time, by the definition."""
    result = np.empty((*x.shape[:2], height, width), np.float32)
    for i, j in np.ndindex(height, width):
        at = [
            (k + 0.5) * size / to - 0.5
            for k, size, to in ((i, x.shape[2], height), (j, x.shape[3], width))
        ]
        (y0, x0), (y1, x1) = (
            [int(np.clip(move(v), 0, size - 1)) for v, size in zip(at, x.shape[2:], strict=True)]
            for move in (np.floor, np.ceil)
        )
        b, r = at - np.floor(at)
        above = x[..., y0, x0] + (x[..., y0, x1] - x[..., y0, x0]) * r
        below = x[..., y1, x0] + (x[..., y1, x1] - x[..., y1, x0]) * r
        result[..., i, j] = above + (below - above) * b
    return result


ONE_INPUT: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "Permute": (
        "permute_param { order: 0 order: 2 order: 3 order: 1 }",
        lambda x: x.transpose(0, 2, 3, 1),
    ),
    "ShuffleChannel": ("shuffle_channel_param { group: 3 }", lambda x: shuffled(x, 3)),
    "Normalize": (
        'norm_param { across_spatial: false scale_filler { type: "constant" value: 20 } }',
        lambda x: 20 * normalized(x, (1,)),
    ),
    "ReLU6": ("relu6_param { threshold: 5 }", lambda x: np.clip(x, 0, 5)),
    "BReLU": ("brelu_param { minval: -1 maxval: 2 }", lambda x: np.clip(x, -1, 2)),
    "HardSigmoid": ("", lambda x: np.clip(x + 3, 0, 6) / 6),
    "HardSwish": ("", lambda x: x * np.clip(x + 3, 0, 6) / 6),
    "Mish": ("", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    "BN": ("bn_param { bn_mode: LEARN scale_filler { value: 2 } }", batch_normalized),
    "Interp": ("interp_param { height: 9 width: 13 }", lambda x: interpolated(x, 9, 13)),
    "Reverse": ("reverse_param { axis: 1 }", lambda x: x[:, ::-1]),
    "CropCenter": (
        "crop_center_param { crop_size: 0 crop_size: 1 crop_size: 1 crop_size: 0 }",
        lambda x: x[:, 1:-1, 1:-1],
    ),
    "Upsample": (
        "upsample_param { scale: 2 }",
        lambda x: x.repeat(2, axis=2).repeat(2, axis=3),
    ),
}


@pytest.mark.parametrize("kind", ONE_INPUT)
def test_layers_with_one_input_have_the_values_of_their_definition(caffe: Caffe, kind: str) -> None:
    body, expected = ONE_INPUT[kind]
    x = 3 * numbers(2, 6, 4, 6)
    y, errors = caffe.forward(layer(kind, body=body), {"x": x})
    assert np.allclose(y, expected(x), rtol=NEAR, atol=NEAR)
    assert errors["x"] < 0.01


FORWARD_ONLY: dict[str, tuple[str, str, Callable[[Array], Array]]] = {
    "bilinear": (
        "ResizeBilinear",
        (
            'resize_bilinear_param { data_format: "NCHW" output_height: 7 output_width: 4 '
            "half_pixel_centers: true }"
        ),
        lambda x: resized(x, 7, 4),
    ),
    "corners": (
        "ResizeBilinear",
        (
            'resize_bilinear_param { data_format: "NCHW" output_height: 9 output_width: 13 '
            "align_corners: true }"
        ),
        lambda x: interpolated(x, 9, 13),
    ),
    "nearest": (
        "ResizeNearestNeighbor",
        "resize_nearest_neighbor_param { scale_height: 2 scale_width: 1.5 }",
        lambda x: x[:, np.arange(12) // 2][:, :, np.arange(6) * 4 // 6],
    ),
    "squeeze": ("Squeeze", "squeeze_param { axis: 0 }", lambda x: x[0]),
    "learned": ("Mul", "mul_param { mul_shape: 4 mul_shape: 1 }", lambda x: 0 * x),
}


@pytest.mark.parametrize("name", FORWARD_ONLY)
def test_layers_without_a_way_back_have_the_values_of_their_definition(
    caffe: Caffe, name: str
) -> None:
    kind, body, expected = FORWARD_ONLY[name]
    x = 3 * numbers(1, 6, 4, 6)
    y, _ = caffe.forward(layer(kind, body=body), {"x": x}, gradients="")
    assert np.allclose(y, expected(x), rtol=NEAR, atol=NEAR)


def test_mul_repeats_axes_of_size_1(caffe: Caffe) -> None:
    x, z = numbers(2, 6, 4, 5), numbers(6, 1, 1, seed=1)
    y, _ = caffe.forward(layer("Mul", "x z"), {"x": x, "z": z}, gradients="")
    assert np.allclose(y, x * z, atol=NEAR)


@pytest.mark.parametrize("kind", ["ReLU6", "BReLU", "HardSigmoid", "HardSwish", "Mish"])
def test_activations_work_in_place(caffe: Caffe, kind: str) -> None:
    x = 3 * numbers(1, 4, 3, 3)
    copied = 'layer { name: "copy" type: "Power" bottom: "x" top: "y" }'
    body, expected = ONE_INPUT[kind]
    y, errors = caffe.forward(copied + layer(kind, "y", body), {"x": x})
    assert np.allclose(y, expected(x), rtol=NEAR, atol=NEAR)
    assert errors["x"] < 0.01


def test_vectors_are_normalized(caffe: Caffe) -> None:
    x = numbers(3, 5)
    y, errors = caffe.forward(layer("Normalize"), {"x": x})
    assert np.allclose(y, x / np.sqrt((x**2).sum(1, keepdims=True)), atol=NEAR)
    assert errors["x"] < 0.01


def test_reorg_is_darknets(caffe: Caffe) -> None:
    x = numbers(2, 8, 4, 6)
    y, errors = caffe.forward(layer("Reorg", body="reorg_param { stride: 2 }"), {"x": x})
    assert np.array_equal(y, reorganized(x, 2))
    assert errors["x"] < 0.01


def test_axpy_scales_channels_and_adds(caffe: Caffe) -> None:
    a, x, z = numbers(2, 6, 1, 1), numbers(2, 6, 4, 4, seed=1), numbers(2, 6, 4, 4, seed=2)
    y, errors = caffe.forward(layer("Axpy", "a x z"), {"a": a, "x": x, "z": z}, gradients="a x z")
    assert np.allclose(y, a * x + z, atol=NEAR)
    assert max(errors.values()) < 0.01


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("Upsample", "upsample_param { scale: 2 }"),
        ("Unpooling", "unpooling_param { unpool: MAX kernel_size: 2 stride: 2 unpool_size: 4 }"),
        ("UnPooling", "unpooling_param { kernel_size: 2 stride: 2 unpool_h: 4 unpool_w: 4 }"),
    ],
)
def test_upsample_puts_maxima_back_where_they_were(caffe: Caffe, kind: str, body: str) -> None:
    x = numbers(2, 3, 4, 4)
    pool = (
        'layer { name: "pool" type: "Pooling" bottom: "x" top: "p" top: "mask" '
        "pooling_param { pool: MAX kernel_size: 2 stride: 2 } }"
    )
    up = layer(kind, "p mask", body)
    y, _ = caffe.forward(pool + up, {"x": x}, gradients="")
    blocks = x.reshape(2, 3, 2, 2, 2, 2).max((3, 5), keepdims=True)
    is_largest = x == np.broadcast_to(blocks, (2, 3, 2, 2, 2, 2)).reshape(x.shape)
    assert np.array_equal(y, np.where(is_largest, x, 0))


REGIONS = np.array(
    # The last is of an image that there is not, as random numbers are.
    [[0, 0, 0, 3, 3], [1, 1, 1, 2, 3], [0, 2, 0, 9, 1], [5, 0, 1, 2, 2]],
    np.float32,
)


def cells(region: Array, size: int, grid: int, *, mean: bool) -> list[slice]:
    """The rows or columns of each cell: Fast R-CNN's rounding, or R-FCN's."""
    start, end = (region + np.array([0, 1])) if mean else np.round(region)
    step = max(end - start, 0.1) / grid if mean else max(end - start + 1, 1) / grid
    return [
        slice(
            int(np.clip(np.floor(i * step + start), 0, size)),
            int(np.clip(np.ceil((i + 1) * step + start), 0, size)),
        )
        for i in range(grid)
    ]


@pytest.mark.parametrize(("mean", "pad_ratio"), [(False, 0), (False, 0.3), (True, 0)])
def test_regions_are_pooled_cell_by_cell(caffe: Caffe, mean: bool, pad_ratio: float) -> None:
    x = numbers(2, 8, 4, 5)
    if mean:
        body = "psroi_pooling_param { output_dim: 2 group_size: 2 spatial_scale: 1 }"
        text = layer("PSROIPooling", "x r", body)
    else:
        body = f"roi_pooling_param {{ pooled_h: 2 pooled_w: 2 pad_ratio: {pad_ratio} }}"
        text = layer("ROIPooling", "x r", body)
    y, _ = caffe.forward(text, {"x": x, "r": REGIONS}, gradients="")
    for number, (image, x0, y0, x1, y1) in enumerate(REGIONS):
        pad = np.array([-pad_ratio, pad_ratio])
        rows = cells(np.array([y0, y1]) + (y1 - y0 + 1) * pad, 4, 2, mean=mean)
        columns = cells(np.array([x0, x1]) + (x1 - x0 + 1) * pad, 5, 2, mean=mean)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                patch = x[min(int(image), 1)][:, row, column]
                if mean:
                    own = [4 * output + 2 * i + j for output in range(2)]
                    expected = patch[own].mean((1, 2)) if patch[0].size else np.zeros(2)
                else:
                    expected = patch.max((1, 2)) if patch[0].size else np.zeros(8)
                assert np.allclose(y[number, :, i, j], expected, atol=NEAR)


def test_prior_boxes_are_around_each_place(caffe: Caffe) -> None:
    body = (
        "prior_box_param { min_size: 10 max_size: 20 aspect_ratio: 2 "
        "variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 }"
    )
    inputs = {"x": numbers(1, 4, 3, 2), "image": numbers(1, 3, 30, 40)}
    y, _ = caffe.forward(layer("PriorBox", "x image", body), inputs, gradients="")
    sizes = [(10, 10), (200**0.5, 200**0.5), (10 * 2**0.5, 10 / 2**0.5), (10 / 2**0.5, 10 * 2**0.5)]
    expected = [
        ((x + s * w / 2) / 40 if axis == 0 else (v + s * h / 2) / 30)
        for v in (5, 15, 25)
        for x in (10, 30)
        for w, h in sizes
        for s in (-1, 1)
        for axis in (0, 1)
    ]
    assert np.allclose(y[0, 0], expected, atol=NEAR)
    assert np.allclose(y[0, 1], [0.1, 0.1, 0.2, 0.2] * 24)


def test_prior_boxes_of_faceboxes_are_dense_where_they_are_small(caffe: Caffe) -> None:
    box = "prior_box_param { min_size: 32 min_size: 64 min_size: 128 step: 32 }"
    head = layer("Convolution", body="convolution_param { num_output: 84 kernel_size: 1 }", top="h")
    inputs = {"x": numbers(1, 4, 2, 3), "image": numbers(1, 3, 64, 96)}
    y, _ = caffe.forward(layer("PriorBox", "x image", box) + head, inputs, gradients="")
    expected = [
        [(x - half) / 96, (v - half) / 64, (x + half) / 96, (v + half) / 64]
        for middle_v in (16, 48)
        for middle_x in (16, 48, 80)
        for half, steps in ((15.5, (-16, -8, 0, 8)), (31.5, (-16, 0)), (63.5, (0,)))
        for v in (middle_v + step for step in steps)
        for x in (middle_x + step for step in steps)
    ]
    assert np.allclose(y[0, 0].reshape(-1, 4), expected, atol=NEAR)

    # Other networks' boxes of these sizes stay as SSD has them: 84 can be scores of 28 classes.
    places = layer(
        "Convolution", body="convolution_param { num_output: 12 kernel_size: 1 }", top="p"
    )
    for other in ("", head + places.replace('"l"', '"other"')):
        text = layer("PriorBox", "x image", box).replace('"l"', '"box"') + other
        y, _ = caffe.forward(text, inputs, gradients="")
        assert y.shape == (1, 2, 4 * 3 * 6)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("marked", [False, True])
def test_a_forks_lstm_has_the_values_of_its_definition(caffe: Caffe, marked: bool) -> None:
    x, marks = numbers(5, 2, 3), np.ones((5, 2), np.float32)
    marks[0], marks[3, 1] = 0, 0
    filler = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "gaussian" }'
    body = f"lstm_param {{ num_output: 4 {filler} }}"
    inputs = {"x": x, "m": marks} if marked else {"x": x}
    y, errors = caffe.forward(layer("Lstm", " ".join(inputs), body), inputs)
    of_inputs, of_hidden, bias = np.load(caffe.folder / "params.npz").values()
    hidden, cell = np.zeros((2, 4)), np.zeros((2, 4))
    for step in range(5):
        goes_on = marks[step][:, None] if marked else float(step > 0)
        gates = x[step] @ of_inputs.T + bias + goes_on * (hidden @ of_hidden.T)
        into, keep, out, candidate = np.split(gates, 4, axis=1)
        cell = goes_on * sigmoid(keep) * cell + sigmoid(into) * np.tanh(candidate)
        hidden = sigmoid(out) * np.tanh(cell)
        assert np.allclose(y[step], hidden, atol=NEAR)
    assert errors["x"] < 0.01


def test_greedy_decoding_leaves_out_blanks_and_repetitions(caffe: Caffe) -> None:
    best = np.array([[0, 1], [1, 1], [1, 2], [0, 0], [1, 2]])
    x = np.eye(3, dtype=np.float32)[best]
    y, _ = caffe.forward(layer("CTCGreedyDecoder"), {"x": x}, gradients="")
    expected = np.array([[1, 1, -1, -1, -1], [1, 2, 2, -1, -1]])
    assert np.array_equal(y.reshape(2, 5), expected)


def test_greedy_decoding_ends_where_the_marks_do(caffe: Caffe) -> None:
    best = np.array([[1, 2], [0, 1], [2, 2], [1, 1]])
    marks = np.array([[0, 0], [1, 1], [1, 0], [1, 1]], np.float32)
    inputs = {"x": np.eye(3, dtype=np.float32)[best], "m": marks}
    y, _ = caffe.forward(layer("CTCGreedyDecoder", "x m"), inputs, gradients="")
    assert np.array_equal(y.reshape(2, 4), np.array([[1, 2, 1, -1], [2, 1, -1, -1]]))


def test_interp_takes_the_size_of_a_second_bottom(caffe: Caffe) -> None:
    inputs = {"x": numbers(1, 2, 3, 4), "s": numbers(2, 1, 5, 7)}
    text = layer("Interp", "x s", "interp_param { use_blob_size: true }")
    y, errors = caffe.forward(text, inputs)
    assert np.allclose(y, interpolated(inputs["x"], 5, 7), atol=NEAR)
    assert errors["x"] < 0.01


def test_indicators_count_the_sequences_of_an_axis(caffe: Caffe) -> None:
    body = "continuation_indicator_param { time_step: 3 axis: 1 }"
    y, _ = caffe.forward(
        layer("ContinuationIndicator", body=body), {"x": numbers(2, 4)}, gradients=""
    )
    assert np.array_equal(y, np.array([[0.0] * 4, [1.0] * 4, [1.0] * 4]))


def test_clustered_prior_boxes_have_the_sizes_that_are_given(caffe: Caffe) -> None:
    body = "prior_box_param { width: 9.5 width: 20 height: 15 height: 7 step: 10 offset: 0.5 }"
    inputs = {"x": numbers(1, 4, 3, 2), "image": numbers(1, 3, 30, 40)}
    y, _ = caffe.forward(layer("PriorBoxClustered", "x image", body), inputs, gradients="")
    expected = [
        ((x + s * w / 2) / 40 if axis == 0 else (v + s * h / 2) / 30)
        for v in (5, 15, 25)
        for x in (5, 15)
        for w, h in ((9.5, 15), (20, 7))
        for s in (-1, 1)
        for axis in (0, 1)
    ]
    assert np.allclose(y[0, 0], expected, atol=NEAR)
    assert np.allclose(y[0, 1], 0.1)


def iou(a: Array, b: Array, extra: float = 0) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0]) + extra
    high = min(a[3], b[3]) - max(a[1], b[1]) + extra
    if min(a[2], b[2]) < max(a[0], b[0]) or min(a[3], b[3]) < max(a[1], b[1]):
        return 0.0
    areas = [(one[2] - one[0] + extra) * (one[3] - one[1] + extra) for one in (a, b)]
    return float(wide * high / (sum(areas) - wide * high))


def suppressed(boxes: Array, scores: Array, threshold: float, extra: float = 0) -> list[int]:
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if all(iou(boxes[index], boxes[other], extra) <= threshold for other in kept):
            kept.append(int(index))
    return kept


def decoded(boxes: Array, offsets: Array) -> Array:
    """Boxes moved by offsets of centres and sizes, with SSD's variances."""
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    moves = offsets.reshape(-1, 4) * [0.1, 0.1, 0.2, 0.2]
    x = moves[:, 0] * wide + (boxes[:, 0] + boxes[:, 2]) / 2
    v = moves[:, 1] * high + (boxes[:, 1] + boxes[:, 3]) / 2
    w, h = np.exp(moves[:, 2]) * wide, np.exp(moves[:, 3]) * high
    return np.stack([x - w / 2, v - h / 2, x + w / 2, v + h / 2], axis=1)


@pytest.mark.parametrize("clip", ["", "clip: true"])
@pytest.mark.parametrize("first_stage", ["", "objects", "objects moves"])
def test_detections_are_decoded_and_suppressed(caffe: Caffe, first_stage: str, clip: str) -> None:
    count, classes = 12, 3
    random = np.random.default_rng(5)
    corners = np.sort(random.uniform(0, 1, (count, 2, 2)), axis=1).reshape(count, 4)
    variances = np.tile([0.1, 0.1, 0.2, 0.2], count)
    priors = np.stack([corners.ravel(), variances]).reshape(1, 2, 4 * count, 1).astype(np.float32)
    offsets = numbers(1, 4 * count)
    scores = random.uniform(0, 1, (1, count * classes)).astype(np.float32)
    body = (
        f"detection_output_param {{ num_classes: {classes} nms_param {{ nms_threshold: 0.3 "
        "top_k: 9 } code_type: CENTER_SIZE keep_top_k: 7 confidence_threshold: 0.4 "
        f"objectness_score: 0.3 {clip} }}"
    )
    objects = random.uniform(0, 1, (1, 2 * count)).astype(np.float32)
    moves = numbers(1, 4 * count, seed=3)
    inputs = {"loc": offsets, "conf": scores, "prior": priors, "objects": objects, "moves": moves}
    bottoms = f"loc conf prior {first_stage}"
    inputs = {name: inputs[name] for name in bottoms.split()}
    y, _ = caffe.forward(layer("DetectionOutput", bottoms, body), inputs, gradients="")

    start = decoded(corners, moves) if "moves" in first_stage else corners
    boxes = decoded(start, offsets)
    assert boxes.min() < 0
    assert boxes.max() > 1
    if clip:
        boxes = boxes.clip(0, 1)
    rows = []
    by_class = scores.reshape(count, classes)
    if first_stage:
        by_class[objects.reshape(count, 2)[:, 1] < 0.3] = [1, 0, 0]
    for label in (1, 2):
        chosen = [i for i in np.argsort(-by_class[:, label]) if by_class[i, label] > 0.4][:9]
        for index in suppressed(boxes[chosen], by_class[chosen, label], 0.3):
            box = chosen[index]
            rows.append([0, label, by_class[box, label], *boxes[box]])
    rows = sorted(sorted(rows, key=lambda row: -row[2])[:7], key=lambda row: row[1])
    assert np.allclose(y[0, 0], rows, atol=NEAR)


def test_proposals_are_the_best_regions_that_do_not_overlap(caffe: Caffe) -> None:
    scores = np.random.default_rng(2).uniform(0, 1, (1, 6, 4, 4)).astype(np.float32)
    deltas = 0.2 * numbers(1, 12, 4, 4)
    image = np.array([[64, 64, 1]], np.float32)
    body = "proposal_param { ratio: 0.5 ratio: 1 ratio: 2 scale: 2 min_size: 4 post_nms_topn: 6 }"
    inputs = {"s": scores, "d": deltas, "image": image}
    y, _ = caffe.forward(layer("Proposal", "s d image", body), inputs, gradients="")

    found: list[Any] = []
    for row in range(4):
        for column in range(4):
            for number, ratio in enumerate((0.5, 1.0, 2.0)):
                width = np.round(np.sqrt(256 / ratio))
                wide, high = 2 * width, 2 * np.round(width * ratio)
                x0 = 7.5 - (wide - 1) / 2 + 16 * column
                y0 = 7.5 - (high - 1) / 2 + 16 * row
                d = deltas[0, 4 * number : 4 * number + 4, row, column]
                x, v = x0 + wide / 2 + d[0] * wide, y0 + high / 2 + d[1] * high
                w, h = np.exp(d[2]) * wide, np.exp(d[3]) * high
                box = np.clip([x - w / 2, v - h / 2, x + w / 2, v + h / 2], 0, 63)
                if box[2] - box[0] + 1 >= 4 and box[3] - box[1] + 1 >= 4:
                    found.append((scores[0, 3 + number, row, column], box))
    boxes, marks = np.array([box for _, box in found]), np.array([score for score, _ in found])
    kept = suppressed(boxes, marks, 0.7, extra=1)[:6]
    assert np.allclose(y[:, 1:], boxes[kept], atol=NEAR)

    # As Faster R-CNN writes it, as a Python layer: 300 regions at most.
    published = layer(
        "Python", "s d image",
        "python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' "
        "param_str: \"'feat_stride': 16, 'scales': [2]\" }",
    )  # fmt: skip
    y, _ = caffe.forward(published, inputs, gradients="")
    assert 6 < len(y) <= 48


def fields_moved(
    deltas: Array, field: tuple[float, float], stride: float, extra: float
) -> tuple[Array, Array]:
    """Boxes of a map of deltas around its places, by corners, and the size of the image."""
    _, height, width = deltas.shape
    std = np.array([0.1, 0.2, 0.3, 0.4]).reshape(4, 1, 1)
    moves = deltas * std + np.array([0.01, 0.02, 0.03, 0.04]).reshape(4, 1, 1)
    moves[:2] = moves[:2].clip(-0.5, 0.5)
    moves[2:] = moves[2:].clip(-np.log(2), np.log(2))
    rows, columns = np.mgrid[:height, :width]
    x = moves[0] * field[0] + (columns + 0.5) * stride
    y = moves[1] * field[1] + (rows + 0.5) * stride
    w, h = field[0] * np.exp(moves[2]), field[1] * np.exp(moves[3])
    corners = [x - w / 2, y - h / 2, x + w / 2 - extra, y + h / 2 - extra]
    return np.stack(corners, -1).reshape(-1, 4), stride * np.array([width, height])


BY_MAP = (
    "bbox_reg_param { bbox_mean: [0.01, 0.02, 0.03, 0.04] bbox_std: [0.1, 0.2, 0.3, 0.4] } "
    "box_output_param { fg_thr: 0.1 iou_thr: 0.4 min_size: 5 max_nms_num: 30 max_post_nms_num: 9 "
    "field_w: [30, 50] field_h: [20, 60] downsample_rate: [8, 16] }"
)
BY_GROUP = (
    "box_group_output_param { fg_thr: 0.4 iou_thr: 0.4 min_size: 5 max_nms_num: 60 "
    "max_post_nms_num: 9 box_group_param { stride: 8 field_w: [30, 20] field_h: [20, 30] } "
    "box_group_param { stride: 16 field_w: [50, 60] field_h: [60, 50] } } "
    "bbox_reg_param { bbox_mean: [0.01, 0.02, 0.03, 0.04] bbox_std: [0.1, 0.2, 0.3, 0.4] }"
)


def test_boxes_of_maps_are_the_best_that_do_not_overlap(caffe: Caffe) -> None:
    maps = {"a": numbers(2, 7, 4, 5), "b": numbers(2, 7, 2, 3, seed=1)}
    y, _ = caffe.forward(layer("BoxOutput", "a b", BY_MAP), maps, gradients="")
    expected = []
    for image in range(2):
        boxes, scores = [], []
        for name, field, stride in (("a", (30, 20), 8), ("b", (50, 60), 16)):
            values = maps[name][image]
            found, image_size = fields_moved(values[3:].astype(np.float64), field, stride, 0)
            # MS-CNN cuts the size that the box had before its corner was cut.
            wide, start = found[:, 2:] - found[:, :2], found[:, :2].clip(0)
            boxes.append(np.hstack([start, start + np.minimum(wide, image_size - start)]))
            scores.append((values[1:3].max(0) - values[0]).ravel())
        corners, marks = np.vstack(boxes), np.concatenate(scores)
        good = (marks >= 0.1) & ((corners[:, 2:] - corners[:, :2]).min(1) >= 5)
        corners, marks = corners[good], marks[good]
        best = np.argsort(-marks, kind="stable")[:30]
        kept = suppressed(corners[best], marks[best], 0.4)[:9]
        expected += [[image, *corners[best][index]] for index in kept]
    assert y.shape == (len(expected), 5, 1, 1)
    assert np.allclose(y[:, :, 0, 0], expected, atol=NEAR)


def test_boxes_of_groups_are_the_best_that_do_not_overlap(caffe: Caffe) -> None:
    scores = {
        name: np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)
        for seed, (name, shape) in enumerate({"s": (4, 2, 4, 5), "t": (4, 2, 2, 3)}.items())
    }
    maps = {"s": scores["s"], "a": numbers(4, 4, 4, 5), "t": scores["t"], "b": numbers(4, 4, 2, 3)}
    text = layer("BoxGroupOutput", "s a t b", BY_GROUP).replace('top: "y"', 'top: "r" top: "y"')
    y, _ = caffe.forward(text, maps, gradients="")
    expected = []
    for image in range(2):
        boxes, marks = [], []
        for score, delta, fields, stride in (
            ("s", "a", ((30, 20), (20, 30)), 8), ("t", "b", ((50, 60), (60, 50)), 16),
        ):  # fmt: skip
            for number, field in enumerate(fields):
                at = 2 * image + number
                found, size = fields_moved(maps[delta][at].astype(np.float64), field, stride, 1)
                boxes.append(np.hstack([found[:, :2].clip(0), np.minimum(found[:, 2:], size)]))
                marks.append(1 - maps[score][at][0].ravel())
        corners, values = np.vstack(boxes), np.concatenate(marks)
        good = (values >= 0.4) & ((corners[:, 2:] - corners[:, :2] + 1).min(1) >= 5)
        corners, values = corners[good], values[good]
        best = np.argsort(-values, kind="stable")[:60]
        kept = suppressed(corners[best], values[best], 0.4, extra=1)[:9]
        expected += [[image, *corners[best][index], values[best][index]] for index in kept]
    assert y.shape == (len(expected), 6, 1, 1)
    assert np.allclose(y[:, :, 0, 0], expected, atol=NEAR)


def test_regions_are_moved_by_the_deltas_of_objects(caffe: Caffe) -> None:
    regions = np.array([[0, 1, 2, 9, 7], [0, 4, 4, 5, 20]], np.float32)
    deltas = numbers(2, 8)
    body = "bbox_reg_param { bbox_mean: [0.1, 0, 0, 0] bbox_std: [0.1, 0.1, 0.2, 0.2] }"
    y, _ = caffe.forward(
        layer("DecodeBBox", "d r", body), {"d": deltas, "r": regions}, gradients=""
    )
    moves = deltas[:, 4:] * [0.1, 0.1, 0.2, 0.2] + [0.1, 0, 0, 0]
    size = regions[:, 3:] - regions[:, 1:3] + 1
    middle = (regions[:, 1:3] + regions[:, 3:]) / 2 + moves[:, :2] * size
    new = size * np.exp(moves[:, 2:])
    start = middle - (new - 1) / 2
    expected = np.hstack([regions[:, :1], start, start + new - 1])
    assert np.allclose(y.reshape(2, 5), expected, atol=NEAR)


def test_depthwise_convolutions_have_a_filter_for_each_channel(caffe: Caffe) -> None:
    x = numbers(1, 4, 5, 5)
    filler = 'weight_filler { type: "constant" value: 1 } bias_term: false'
    for kind, group in (("DepthwiseConvolution", "group: 4"), ("ConvolutionDepthwise", "")):
        body = f"convolution_param {{ num_output: 4 {group} kernel_size: 3 {filler} }}"
        y, errors = caffe.forward(layer(kind, body=body), {"x": x})
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
        assert np.allclose(y, windows.sum((4, 5)), atol=NEAR)
        assert errors["x"] < 0.01


@pytest.mark.parametrize("legal", [True, False])
def test_random_layers_have_the_shapes_that_caffe_gives_them(
    caffe: Caffe, tmp_path: Path, legal: bool
) -> None:
    texts: list[str] = []

    @settings(
        # 5 of each type, and more with --hypothesis-profile=thorough.
        max_examples=settings.default.max_examples // (10 if legal else 25),
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*(fork_layers(kind, legal=legal) for kind in LAYERS)))
    def draw(drawn: tuple[str, ...]) -> None:
        texts.extend(drawn)

    draw()
    planned = {}
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.prototxt"
        path.write_text(text)
        try:
            network = networks.load(str(path))
        except InvalidInputError:
            assert not legal, text
            continue
        path.write_text(network.prototxt)
        nodes = graph.build(network.shapes, force_backward=False)
        planned[path] = [
            {blob.name: list(blob.shape) for node in nodes for blob in node.tops},
            [list(blob.shape) for node in nodes for blob in node.params],
        ]
    assert len(planned) > len(texts) // 4
    caffe.python(SHAPES, *planned)
    for path, shapes in planned.items():
        found = path.with_name(f"{path.name}.json")
        assert found.exists(), f"Caffe aborts on {path.read_text()}"
        assert json.loads(found.read_text()) == shapes, path.read_text()


@pytest.mark.parametrize(
    ("protocol", "compute"),
    [("caffe-time", "memory-only"), ("inference", "real"), ("inference", "memory-only")],
)
def test_published_styles_peak_where_planned(
    twin: TwinTarget, tmp_path: Path, protocol: str, compute: str
) -> None:
    loaded = []
    for name, text in FORKED.items():
        path = tmp_path / f"{name}.prototxt"
        path.write_text(text())
        loaded.append(networks.load(str(path)))
    if protocol == "caffe-time":
        regions = next(one for one in loaded if one.name.startswith("Faster R-CNN"))
        (ended,) = run(twin, [regions], protocol=protocol, compute=compute)
        assert "roi_pooling.cc" in ended.evidence.summary
        with pytest.raises(InvalidInputError, match="backward, where ROIPooling aborts"):
            plan(regions, protocol=ended.protocol, environment=environment_of(ended, DEVICE))
        loaded.remove(regions)
    for network, record in zip(
        loaded, run(twin, loaded, protocol=protocol, compute=compute, repeats=1), strict=True
    ):
        environment = environment_of(record, DEVICE)
        row = compare(record, plan(network, protocol=record.protocol, environment=environment))
        assert row.error is not None, record.evidence.summary
        # Which pages of libraries are resident depends on this machine's page cache.
        differ_bytes = abs(row.planned_bytes - record.peak_rss_bytes)
        assert differ_bytes < max(0.02 * row.planned_bytes, 2 << 20), (network.name, differ_bytes)


def blob(name: str, *shape: int) -> str:
    sizes = ", ".join(map(str, shape))
    return (
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ dim: [{sizes}] }} }} }}\n"
    )


def test_candidates_of_many_places_are_planned(twin: TwinTarget, tmp_path: Path) -> None:
    # No candidate is left out: a plan counts the most that there can be.
    box = (
        "box_output_param { field_w: 60 field_h: 60 downsample_rate: 8 max_nms_num: 2000 "
        "fg_thr: -1e9 min_size: -1e9 }"
    )
    texts = {
        "proposal": f"{blob('s', 1, 18, 150, 200)}{blob('d', 1, 36, 150, 200)}{blob('i', 1, 3)}"
        + layer("Proposal", "s d i", "proposal_param { min_size: 0 post_nms_topn: 300 }"),
        "boxes": blob("x", 1, 6, 600, 600) + layer("BoxOutput", "x", box),
        "decoded": blob("d", 300_000, 8) + blob("r", 300_000, 5) + layer("DecodeBBox", "d r"),
    }
    loaded = []
    for name, text in texts.items():
        (tmp_path / f"{name}.prototxt").write_text(text)
        loaded.append(networks.load(str(tmp_path / f"{name}.prototxt")))
    for network, record in zip(loaded, run(twin, loaded, protocol="inference"), strict=True):
        environment = environment_of(record, DEVICE)
        row = compare(record, plan(network, protocol="inference", environment=environment))
        assert row.error is not None, record.evidence.summary
        assert abs(row.error) < 0.02, network.source
