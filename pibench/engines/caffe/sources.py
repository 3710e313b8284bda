"""Find the blobs that a network starts from: inputs and dummy data, with their dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import topology
from pibench.engines.caffe.shapes.rules import LEGACY_DIMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

IMAGE_AXES = 4


@dataclass(frozen=True, kw_only=True)
class Source:
    """One shape that a network declares, and the blobs that have it.

    `set_dims` writes other dimensions, as many as before, into the definition.
    """

    blobs: tuple[str, ...]
    dims: tuple[int, ...]
    set_dims: Callable[[Sequence[int]], None]


def sources(net: caffe.NetParameter, phase: topology.Phase | None = None) -> list[Source]:
    """List what the layers of `phase` start from, in order; None means the whole file."""
    found = list(_legacy_inputs(net))
    for layer in net.layer:
        if phase is None or topology.included(layer, net.state, phase):
            if layer.type == "Input":
                found += _of_shapes(layer.input_param.shape, layer.top)
            elif layer.type == "DummyData":
                found += _of_shapes(layer.dummy_data_param.shape, layer.top)
                found += _legacy_dummies(layer)
    return found


def batch_size(net: caffe.NetParameter, phase: topology.Phase) -> int | None:
    """Return the images of one pass in `phase`; None if no source has a dimension.

    It is the first dimension of the first source with the four axes of images, else of the first
    source that has any.
    """
    dims = [source.dims for source in sources(net, phase) if source.dims]
    images = [one for one in dims if len(one) == IMAGE_AXES]
    return next((one[0] for one in (*images, *dims)), None)


def why_no_batch(net: caffe.NetParameter) -> str:
    """Explain why the batch of `net` cannot be set; return nothing if it can."""
    if not any(source.dims for source in sources(net)):
        return "it has no Input and no DummyData with a dimension, so no batch to set"
    for phase in topology.PHASES:
        own = [source for source in sources(net, phase) if source.dims]
        other = next((one for one in own if one.dims[0] != own[0].dims[0]), None)
        if other is not None:
            return (
                f"'{own[0].blobs[0]}' has a first dimension of {own[0].dims[0]} and "
                f"'{other.blobs[0]}' one of {other.dims[0]}: which one is the batch is unknown"
            )
    return ""


def set_batch(net: caffe.NetParameter, batch: int) -> None:
    """Give every source of `net`, in all phases, the first dimension `batch`, in place."""
    for source in sources(net):
        if source.dims:
            source.set_dims((batch, *source.dims[1:]))


def image_size(net: caffe.NetParameter) -> tuple[int, int] | None:
    """Return height and width of the first source with four axes; None if none has."""
    for source in sources(net):
        if len(source.dims) == IMAGE_AXES:
            return source.dims[2], source.dims[3]
    return None


def set_image_size(net: caffe.NetParameter, height: int, width: int) -> None:
    """Give every source of the first image's height and width the new ones, in place."""
    before = image_size(net)
    for source in sources(net):
        if source.dims[2:] == before:
            source.set_dims((*source.dims[:2], height, width))


def _of_shapes(shapes: Sequence[caffe.BlobShape], tops: Sequence[str]) -> Iterator[Source]:
    """List one shape for all tops, or one for each."""
    for index, shape in enumerate(shapes):

        def set_dims(dims: Sequence[int], shape: caffe.BlobShape = shape) -> None:
            shape.dim[:] = dims

        blobs = tuple(tops) if len(shapes) == 1 else tuple(tops[index : index + 1])
        yield Source(blobs=blobs or ("",), dims=tuple(shape.dim), set_dims=set_dims)


def _legacy_inputs(net: caffe.NetParameter) -> Iterator[Source]:
    """List the inputs of `input`, by their `input_shape` or else by four `input_dim` each."""
    if net.input and net.input_shape:
        yield from _of_shapes(net.input_shape, net.input)
        return
    for index, name in enumerate(net.input):
        place = slice(index * topology.INPUT_DIMS, (index + 1) * topology.INPUT_DIMS)

        def set_dims(dims: Sequence[int], place: slice = place) -> None:
            net.input_dim[place] = dims

        yield Source(blobs=(name,), dims=tuple(net.input_dim[place]), set_dims=set_dims)


def _legacy_dummies(layer: caffe.LayerParameter) -> Iterator[Source]:
    """List the blobs of `num`, `channels`, `height` and `width`: one value for all, or for each."""
    fields = [getattr(layer.dummy_data_param, name) for name in LEGACY_DIMS]
    for index, top in enumerate(layer.top if all(fields) else ()):

        def set_dims(dims: Sequence[int], index: int = index) -> None:
            for field, dim in zip(fields, dims, strict=True):
                field.extend([field[0]] * (len(layer.top) - len(field)))
                field[index] = dim

        dims = tuple(field[min(index, len(field) - 1)] for field in fields)
        yield Source(blobs=(top,), dims=dims, set_dims=set_dims)
