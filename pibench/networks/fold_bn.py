"""Fold BatchNorm and Scale into the convolution or inner product before them.

In the test phase BatchNorm (with `use_global_stats`) and Scale multiply and shift each channel by
constants: y = gamma x (x - mean) / sqrt(variance + eps) + beta. A convolution with other weights
and another bias computes the same: one layer, and none of BatchNorm's two copies of the blob.
Sources: src/caffe/layers/batch_norm_layer.cpp, scale_layer.cpp.
"""

from __future__ import annotations

import math
import warnings
from array import array
from copy import deepcopy
from dataclasses import dataclass
from itertools import cycle
from operator import add, mul
from pathlib import Path
from typing import TYPE_CHECKING

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import caffemodel, prototxt, topology
from pibench.errors import InvalidInputError
from pibench.networks.network import Network, slug_of, write_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FOLDABLE = ("Convolution", "InnerProduct")
_SCALE_DEFAULT_AXIS = 1


@dataclass(frozen=True)
class Fold:
    """A layer with weights, the BatchNorm after it, and the Scale after that, if any."""

    layer: caffe.LayerParameter
    norm: caffe.LayerParameter
    scale: caffe.LayerParameter | None


def find(layers: Sequence[caffe.LayerParameter]) -> list[Fold]:
    """Find chains that can be folded: nothing else reads their blobs, and they are not outputs."""
    counts, sources = topology.readers(layers)
    reader: dict[topology.Source, int] = {}
    for position, read in enumerate(sources):
        reader.update(dict.fromkeys(read, position))

    def next_layer(position: int, kind: str) -> int | None:
        behind = reader.get((position, 0))
        alone = counts.get((position, 0)) == 1 and len(layers[position].top) == 1
        return behind if behind is not None and alone and layers[behind].type == kind else None

    folds = []
    for position, layer in enumerate(layers):
        if layer.type not in _FOLDABLE or _is_shared(layer) or not _over_channels(layer):
            continue
        norm = next_layer(position, "BatchNorm")
        if norm is None or _is_shared(layers[norm]) or not _uses_statistics(layers[norm]):
            continue
        scale = next_layer(norm, "Scale")
        if scale is not None and not _is_plain(layers[scale]):
            scale = None
        folds.append(Fold(layer, layers[norm], layers[scale] if scale is not None else None))
    return folds


def fold(net: caffe.NetParameter, *, path: object = "network") -> caffe.NetParameter:
    """Return `net` for the test phase with every fold applied; the layers before get a bias.

    `fold_weights` converts the weights.

    Raises:
        InvalidInputError: As for `topology.layers`.
    """
    layers = topology.layers(net, path)
    folded = deepcopy(net)
    folded.ClearField("layer")
    folds = find(layers)
    gone = {id(part) for found in folds for part in (found.norm, found.scale)}
    ends = {id(found.layer): (found.scale or found.norm).top[0] for found in folds}
    for layer in layers:
        if id(layer) in gone or (net.input and layer is layers[0]):
            continue
        kept = folded.layer.add()
        kept.CopyFrom(layer)
        if id(layer) in ends:
            kept.top[0] = ends[id(layer)]
            _give_bias(kept)
    return folded


def fold_weights(
    net: caffe.NetParameter, weights: caffe.NetParameter, *, path: object = "network"
) -> caffe.NetParameter:
    """Return the weights of `fold(net)` from those of `net`; computed in double precision.

    Raises:
        InvalidInputError: The weights are of the first generation.
    """
    if weights.layers:
        raise InvalidInputError.at(
            str(path),
            None,
            "its weights are first-generation 'layers', which fold-bn cannot read",
            hint="rewrite them with Caffe's own upgrade_net_proto_binary",
        )
    folded = deepcopy(weights)
    folded.ClearField("layer")
    stored = {layer.name: layer for layer in weights.layer}
    folds = {found.layer.name: found for found in find(topology.layers(net, path))}
    gone = {part.name for found in folds.values() for part in (found.norm, found.scale) if part}
    for layer in weights.layer:
        if layer.name in gone:
            continue
        kept = folded.layer.add()
        kept.CopyFrom(layer)
        if layer.name in folds:
            _fold_blobs(kept, folds[layer.name], stored)
    return folded


def write(network: Network, folder: Path, *, force: bool = False) -> list[Path]:
    """Write the folded network, and its weights if it has some, into `folder`; return the paths.

    Raises:
        InvalidInputError: Nothing can be folded, or a file exists already.
    """
    layers = network.shapes_under("inference").layers
    if not find(layers):
        problem = "no BatchNorm follows a convolution or inner product that nothing else reads"
        hint = "there is nothing to fold"
        for layer in layers:
            if layer.type == "BatchNorm" and not _uses_statistics(layer):
                problem = f"{topology.place(layer)}: use_global_stats: false takes no stored values"
                hint = "take that field out, if the network is deployed so"
                break
        raise InvalidInputError.at(
            network.place,
            None,
            problem,
            hint=hint,
        )
    net = fold(network.net, path=network.place)
    # Records are identified by this name, and this is another network than its origin.
    net.name = f"{network.name} folded"
    content = None
    if network.weights:
        weights = caffemodel.read(network.weights)
        folded = fold_weights(network.net, weights, path=network.weights)
        content = [folded.SerializeToString(deterministic=True)]
    slug = slug_of(f"{network.slug}-folded")
    return write_files(folder, slug, prototxt.write(net), content, force=force)


def _is_shared(layer: caffe.LayerParameter) -> bool:
    """Return whether other layers use the same parameters."""
    return any(spec.name for spec in layer.param)


def _over_channels(layer: caffe.LayerParameter) -> bool:
    """Return whether outputs lie along axis 1, where BatchNorm has its channels."""
    if layer.type == "InnerProduct":
        return layer.inner_product_param.axis == 1
    return layer.convolution_param.axis == 1 and len(layer.bottom) == 1


def _uses_statistics(norm: caffe.LayerParameter) -> bool:
    """Return whether the test phase uses the stored mean and variance, as it does by default."""
    param = norm.batch_norm_param
    return param.use_global_stats if param.HasField("use_global_stats") else True


def _is_plain(scale: caffe.LayerParameter) -> bool:
    """Return whether the factors are the layer's own, one per channel."""
    param = scale.scale_param
    return (
        len(scale.bottom) == 1
        and not _is_shared(scale)
        and param.axis == _SCALE_DEFAULT_AXIS
        and param.num_axes == 1
    )


def _give_bias(layer: caffe.LayerParameter) -> None:
    if layer.type == "InnerProduct":
        layer.inner_product_param.bias_term = True
    else:
        layer.convolution_param.bias_term = True


def _fold_blobs(
    kept: caffe.LayerParameter, found: Fold, stored: dict[str, caffe.LayerParameter]
) -> None:
    mean, variance, factor = (_values(blob) for blob in stored[found.norm.name].blobs)
    share = 1 / factor[0] if factor[0] else 0.0
    eps = found.norm.batch_norm_param.eps
    spread = [one * share + eps for one in variance]
    if any(one < 0 for one in spread):
        warnings.warn(
            f"{found.norm.name}: a variance below 0 makes its values NaN, as in Caffe", stacklevel=2
        )
    gain = [_reciprocal_root(one) for one in spread]
    shift = [-one * share * by for one, by in zip(mean, gain, strict=True)]
    if found.scale is not None:
        factors, *shifts = (_values(blob) for blob in stored[found.scale.name].blobs)
        gain, shift = [list(map(mul, one, factors)) for one in (gain, shift)]
        if found.scale.scale_param.bias_term:
            shift = list(map(add, shift, shifts[0]))
    weights = _values(kept.blobs[0])
    each = len(weights) // len(gain)
    if found.layer.type == "InnerProduct" and found.layer.inner_product_param.transpose:
        # The outputs lie in columns.
        _store(kept.blobs[0], map(mul, weights, cycle(gain)))
    else:
        _store(kept.blobs[0], map(mul, weights, (one for one in gain for _ in range(each))))
    if len(kept.blobs) == 1:
        kept.blobs.add(shape=caffe.BlobShape(dim=[len(gain)]))
        _store(kept.blobs[1], shift)
    else:
        _store(kept.blobs[1], map(add, map(mul, _values(kept.blobs[1]), gain), shift))
    _give_bias(kept)


def _reciprocal_root(variance: float) -> float:
    """Return what Caffe divides by, also where a file has a variance of 0 or below."""
    if variance > 0:
        return 1 / math.sqrt(variance)
    return math.inf if variance == 0 else math.nan


def _values(blob: caffe.BlobProto) -> array[float]:
    # As Caffe does (Blob::FromProto): doubles where there are any.
    return array("d", blob.double_data or blob.data)


def _store(blob: caffe.BlobProto, values: Iterable[float]) -> None:
    found = array("f", values)
    blob.ClearField("double_data")
    blob.ClearField("data")
    blob.data.extend(found)
