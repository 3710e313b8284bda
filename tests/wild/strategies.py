"""Random networks that Caffe can set up, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.wild.text import Text

ACTIVATIONS = (
    "ReLU", "Sigmoid", "TanH", "ELU", "PReLU", "Dropout", "BNLL", "AbsVal", "Power", "Swish", "MVN",
)  # fmt: skip
ENDS = {
    "SPP": "spp_param { pyramid_height: 2 pool: MAX }",
    "Flatten": "",
    "Reshape": "reshape_param { shape { dim: 0 dim: -1 dim: 1 } }",
    "Reduction": "reduction_param { axis: 2 operation: MEAN }",
    "Im2col": "convolution_param { kernel_size: 2 pad: 1 }",
    "ArgMax": "argmax_param { axis: 1 }",
}
"""Layers that change the number of axes, or whose result only an inner product can take."""


@st.composite
def networks(draw: st.DrawFn) -> str:
    """A trunk of up to eight layers of many types, with branches that meet again."""
    size = draw(st.integers(12, 48))
    channels = draw(st.integers(1, 6))
    net = Text("random", channels, size)
    width = channels
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(list(STEPS)))
        width = STEPS[kind](draw, net, width)
    if end := draw(st.sampled_from((None, *ENDS))):
        net.add(end, None, ENDS[end])
    if draw(st.booleans()):
        net.dense(draw(st.integers(1, 40)))
    if draw(st.booleans()):
        net.add("Softmax")
    return net.text()


def _convolution(draw: st.DrawFn, net: Text, width: int) -> int:
    outputs = draw(st.integers(1, 4)) * width
    kernel = draw(st.sampled_from((1, 2, 3, 5)))
    stride = draw(st.integers(1, 2))
    group = draw(st.sampled_from((1, width)))
    bias = draw(st.sampled_from(("true", "false")))
    # With this padding the result never shrinks to nothing.
    net.conv(outputs, kernel, f"pad: {kernel // 2 + 1} stride: {stride} group: {group} "
             f"bias_term: {bias}")  # fmt: skip
    return outputs


def _deconvolution(draw: st.DrawFn, net: Text, _: int) -> int:
    outputs = draw(st.integers(1, 4))
    kernel = draw(st.integers(2, 4))
    body = f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} }}"
    net.add("Deconvolution", None, body)
    return outputs


def _pooling(draw: st.DrawFn, net: Text, width: int) -> int:
    how = draw(st.sampled_from(("MAX", "AVE")))
    kernel = draw(st.integers(2, 3))
    net.pool(how, kernel, draw(st.integers(1, 2)), f"pad: {kernel - 1}")
    return width


def _activation(draw: st.DrawFn, net: Text, width: int) -> int:
    kind = draw(st.sampled_from(ACTIVATIONS))
    in_place = draw(st.booleans()) and kind not in ("AbsVal",) and net.top != "data"
    (net.inplace if in_place else net.add)(kind)
    return width


def _norm(draw: st.DrawFn, net: Text, width: int) -> int:
    net.norm(in_place=draw(st.booleans()) and net.top != "data")
    return width


def _lrn(draw: st.DrawFn, net: Text, width: int) -> int:
    region = draw(st.sampled_from(("ACROSS_CHANNELS", "WITHIN_CHANNEL")))
    net.add("LRN", None, f"lrn_param {{ local_size: 3 norm_region: {region} }}")
    return width


def _branches(draw: st.DrawFn, net: Text, width: int) -> int:
    source = net.top
    left = net.conv(width, 1, bottom=source)
    right = net.conv(width, 3, "pad: 1", bottom=source)
    if draw(st.booleans()):
        net.add("Concat", [left, right])
        return 2 * width
    operation = draw(st.sampled_from(("SUM", "PROD", "MAX")))
    net.add("Eltwise", [left, right], f"eltwise_param {{ operation: {operation} }}")
    return width


def _crop(_: st.DrawFn, net: Text, width: int) -> int:
    source = net.top
    # Never down to one place, which no pyramid of SPP can be pooled from.
    smaller = net.conv(width, 3, "pad: 2 stride: 2", bottom=source)
    net.add("Crop", [source, smaller], "crop_param { axis: 2 }")
    return width


def _gate(_: st.DrawFn, net: Text, width: int) -> int:
    source = net.top
    net.add("Pooling", None, "pooling_param { pool: AVE global_pooling: true }")
    gate = net.add("Flatten")
    net.add("Scale", [source, gate], "scale_param { axis: 0 }")
    return width


def _slices(_: st.DrawFn, net: Text, width: int) -> int:
    at = net.count
    tops = [f"part{at}_{index}" for index in range(width)]
    net.add("Slice", None, "slice_param { axis: 1 }", *tops)
    net.add("Concat", tops)
    return width


def _tile(_: st.DrawFn, net: Text, width: int) -> int:
    net.add("Tile", None, "tile_param { axis: 1 tiles: 2 }")
    return 2 * width


STEPS = {
    "convolution": _convolution,
    "deconvolution": _deconvolution,
    "pooling": _pooling,
    "activation": _activation,
    "norm": _norm,
    "lrn": _lrn,
    "branches": _branches,
    "crop": _crop,
    "gate": _gate,
    "slices": _slices,
    "tile": _tile,
}
