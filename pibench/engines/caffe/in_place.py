"""Let layers overwrite their bottoms: fewer activations, the same results."""

from __future__ import annotations

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import topology

_WRITES_OVER = frozenset({"BatchNorm", "Dropout", "ELU", "ReLU", "Sigmoid", "TanH"})
"""Layers whose own gradient does not need the overwritten values (or keeps a copy)."""

_MAY_BE_OVERWRITTEN = frozenset(
    {"BatchNorm", "Concat", "Convolution", "Deconvolution", "Eltwise", "InnerProduct", "Pooling",
     "Scale"}
)  # fmt: skip
"""Layers whose gradient does not need their own output."""


def share(net: caffe.NetParameter, *, path: object = "network") -> int:
    """Let every layer of `net` that can work in place do so; return how many were changed.

    A layer can if nothing else reads its bottom, the layer that made the bottom does not need it
    for its gradient, and the network has no layers of other phases.

    Raises:
        InvalidInputError: As for `topology.layers`.
    """
    if any(layer.include or layer.exclude for layer in net.layer):
        return 0
    layers = topology.layers(net, path)
    counts, sources = topology.readers(layers)
    renamed: dict[str, str] = {}
    changed = 0
    for layer, read in zip(layers, sources, strict=True):
        makes_new = bool(layer.bottom) and layer.top[:1] != layer.bottom[:1]
        _rename(layer, renamed)
        if layer.type not in _WRITES_OVER or not makes_new or counts[read[0]] != 1:
            continue
        maker = layers[read[0][0]]
        if maker.type in _MAY_BE_OVERWRITTEN:
            renamed[layer.top[0]] = layer.bottom[0]
            layer.top[0] = layer.bottom[0]
            changed += 1
    return changed


def _rename(layer: caffe.LayerParameter, renamed: dict[str, str]) -> None:
    """Rename the layer's bottoms, and the tops that it writes in place."""
    written_over = set(layer.bottom)
    for index, name in enumerate(layer.top):
        if name in written_over:
            layer.top[index] = renamed.get(name, name)
        else:
            # A new blob, even if an earlier one with this name was renamed.
            renamed.pop(name, None)
    layer.bottom[:] = [renamed.get(name, name) for name in layer.bottom]
