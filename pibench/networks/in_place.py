"""Letting layers write over what they read: fewer activations, the same results."""

from __future__ import annotations

from pibench.networks import caffe_pb2 as caffe
from pibench.networks import topology

_WRITES_OVER = frozenset({"BatchNorm", "Dropout", "ELU", "ReLU", "Sigmoid", "TanH"})
"""Layers whose own gradient does not need what they overwrite (or keeps a copy)."""

_MAY_BE_OVERWRITTEN = frozenset(
    {"BatchNorm", "Concat", "Convolution", "Deconvolution", "Eltwise", "InnerProduct", "Pooling",
     "Scale"}
)  # fmt: skip
"""Layers whose gradient does not need their own output."""


def share(net: caffe.NetParameter, *, path: object = "network") -> int:
    """Let every layer of `net` that may work in place do so; how many were changed.

    A layer may where nothing else reads its bottom, what made the bottom does not need it
    for its gradient, and no other phase's layers are about. Raises InvalidInputError.
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
    """Have the layer read what blobs are called now, and write over those that it wrote over."""
    written_over = set(layer.bottom)
    for index, name in enumerate(layer.top):
        if name in written_over:
            layer.top[index] = renamed.get(name, name)
        else:
            # A blob of its own, whatever another was called before.
            renamed.pop(name, None)
    layer.bottom[:] = [renamed.get(name, name) for name in layer.bottom]
