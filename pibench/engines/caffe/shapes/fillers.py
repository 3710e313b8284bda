"""Check the parameters of Caffe's fillers (include/caffe/filler.hpp); functions raise Refused."""

from __future__ import annotations

from collections.abc import Iterator

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe.shapes.contract import Layer, Refused, Shape, times

TYPES = (
    "constant", "gaussian", "positive_unitball", "uniform", "xavier", "msra", "bilinear",
)  # fmt: skip


def check_fillers(layer: Layer, params: list[Shape], tops: list[Shape]) -> None:
    """Check that every filler that the layer's set-up runs exists and accepts the blob's shape."""
    for name, filler, shape in _fillers(layer, params, tops):
        if filler.type not in TYPES:
            raise Refused(
                f"{name} has no type {filler.type!r} in stock Caffe",
                f"take one of {', '.join(TYPES)}",
            )
        if problem := _problem(filler, shape):
            raise Refused(f"{name}: {problem}", "correct the filler, or take it out")


def _fillers(
    layer: Layer, params: list[Shape], tops: list[Shape]
) -> Iterator[tuple[str, caffe.FillerParameter, Shape]]:
    """Yield name, filler and shape of each blob that is filled."""
    if layer.type == "DummyData":
        fillers = list(layer.dummy_data_param.data_filler)
        if len(fillers) not in (0, 1, len(tops)):
            raise Refused(f"{len(fillers)} data_filler for {len(tops)} tops", "give one per top")
        for filler, shape in zip(fillers * len(tops), tops, strict=False):
            yield "data_filler", filler, shape
        return
    names, param = _of_params(layer, len(params))
    for name, shape in zip(names, params, strict=False):
        yield name, getattr(param, name), shape


def _of_params(layer: Layer, count: int) -> tuple[tuple[str, ...], object]:
    """Return the fillers' names for a layer's parameters, in order, and the message with them."""
    names: tuple[str, ...] = ("weight_filler", "bias_filler")
    if layer.type == "Scale":
        learned = ("filler",) if count == 2 or not layer.scale_param.bias_term else ()
        names = (*learned, "bias_filler")
    elif layer.type == "Bias":
        names = ("filler",)
    elif layer.type == "PReLU":
        names = ("filler",) if layer.prelu_param.HasField("filler") else ()
    elif layer.type not in _OF_WEIGHTS:
        return (), None
    return names, getattr(layer, _OF_WEIGHTS.get(layer.type, f"{layer.type.lower()}_param"))


_OF_WEIGHTS = {
    "Convolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "Embed": "embed_param",
    "InnerProduct": "inner_product_param",
}


def _problem(filler: caffe.FillerParameter, shape: Shape) -> str:
    """Explain why the filler aborts on a blob of that shape; empty if it does not."""
    kind = filler.type
    outputs = shape[0] if shape else -1
    faults = {
        f"{kind} cannot be sparse": kind != "gaussian" and filler.sparse != -1,
        f"std is {filler.std:g}, and must be above 0": kind == "gaussian" and not filler.std > 0,
        f"sparse is {filler.sparse} for {times(shape)}": not -1 <= filler.sparse <= outputs,
        f"min {filler.min:g} is above max {filler.max:g}": kind == "uniform"
        and not filler.min <= filler.max,
        f"bilinear needs a square kernel, not {times(shape)}": kind == "bilinear"
        and (len(shape) != 4 or shape[2] != shape[3]),
        f"{kind} takes four axes at most, not {times(shape)}": len(shape) > 4
        and kind in ("xavier", "msra", "positive_unitball"),
    }
    return next((fault for fault, applies in faults.items() if applies), "")
