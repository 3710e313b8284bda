"""Cut a network down to one of its layers, with that layer's bottoms as inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe.shapes import Shape, Shapes

INPUTS = "pibench inputs"
"""The Input layer of a cut network: no layer in a weights file has this name."""


@dataclass(frozen=True)
class Reading:
    """A blob that a layer reads: `blob`, as `layer` wrote it."""

    blob: str
    layer: str


def find_layer(found: Shapes, name: str, blob: str) -> int | None:
    """Return the position of the layer called `name` that writes `blob`; None if there is none."""
    for position, layer in enumerate(found.layers):
        if layer.name == name and blob in layer.top:
            return position
    return None


def readings(found: Shapes, position: int) -> list[Reading]:
    """Return each blob that a layer reads, once, with the layer that wrote it last before."""
    wanted = dict.fromkeys(found.layers[position].bottom)
    last: dict[str, str] = {}
    for layer in found.layers[:position]:
        last.update(dict.fromkeys(layer.top, layer.name))
    return [Reading(blob=blob, layer=last[blob]) for blob in wanted]


def alone(
    net: caffe.NetParameter, layer: caffe.LayerParameter, inputs: Mapping[str, Shape]
) -> caffe.NetParameter:
    """Return a network of that one layer, with inputs of the given shapes as its bottoms.

    The layer keeps its name, by which Caffe finds its weights. Its phase rules are dropped: the
    layer is known to run in the phase of interest.
    """
    cut = caffe.NetParameter(name=f"{net.name}, {layer.name} alone")
    if inputs:
        shapes = [caffe.BlobShape(dim=shape) for shape in inputs.values()]
        cut.layer.add(
            name=INPUTS,
            type="Input",
            top=list(inputs),
            input_param=caffe.InputParameter(shape=shapes),
        )
    kept = cut.layer.add()
    kept.CopyFrom(layer)
    kept.ClearField("include")
    kept.ClearField("exclude")
    return cut


def definition(layer: caffe.LayerParameter) -> Sequence[str]:
    """Return the layer as lines of a prototxt, without weights, for a comparison."""
    bare = deepcopy(layer)
    bare.ClearField("blobs")
    return str(bare).splitlines()
