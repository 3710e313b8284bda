"""Fix what stock Caffe would reject or run with another meaning, on request only.

Every repair is listed in one plain sentence: a repaired network differs from the one in the file,
and readers of a result need to know how.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from types import MappingProxyType
from typing import TYPE_CHECKING

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import data_layers, outline, prototxt, topology
from pibench.engines.caffe.shapes.checks import cudnn_engines
from pibench.engines.caffe.shapes.rules import (
    DATA_TYPES,
    DEPTHWISE_TYPES,
    RULES,
    UNSUPPORTED,
    is_data,
)
from pibench.engines.caffe.topology import batch_size, set_batch, why_no_batch
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_LOSSES = frozenset(
    {"ContrastiveLoss", "EuclideanLoss", "HingeLoss", "InfogainLoss", "MultinomialLogisticLoss",
     "SigmoidCrossEntropyLoss", "Accuracy"}
)  # fmt: skip


def repair_text(
    text: str, path: Path | str, image: data_layers.Size | None = None
) -> tuple[caffe.NetParameter, list[str]]:
    """Parse the network in `text`, remove fields of forks and repair the rest.

    `image` is the height and width of images whose size the file does not state.

    Returns:
        The network, and a sentence for each change.

    Raises:
        InvalidInputError: Something cannot be fixed.
    """
    text, unknown = prototxt.scan(text, path)
    sizes = data_layers.sizes(text, unknown)
    for field in reversed(unknown):
        # Blanks preserve the line numbers of the text after them.
        gap = "".join("\n" if c == "\n" else " " for c in text[field.start : field.end])
        text = text[: field.start] + gap + text[field.end :]
    net = prototxt.parse_known(text, path)
    done = _taken_out(unknown)
    order = outline.top_level_messages(text)
    net, more = repair(net, path, order=order, sizes=sizes, image=image)
    return net, done + more


def _taken_out(unknown: list[outline.UnknownField]) -> list[str]:
    """Return one sentence for each kind of removed field, however often it occurred."""
    counts = Counter((field.name, field.value, field.parent) for field in unknown)
    sentences = []
    for (name, value, parent), count in counts.items():
        first = next(f for f in unknown if (f.name, f.value, f.parent) == (name, value, parent))
        what = f"'{name}: {value}'" if value else f"'{name}'"
        inside = f" of {parent}" if parent else ""
        where = f"line {first.line}" if count == 1 else f"{count} times, first on line {first.line}"
        consequence = _consequence(name, value)
        if first.near and not outline.describe_field(name, value):
            consequence += f"; did the file mean {first.near!r}?"
        sentences.append(f"took out {what}{inside} ({where}): {consequence}")
    return sentences


def _consequence(name: str, value: str) -> str:
    if name == "ceil_mode" and value == "false":
        return (
            "the pooling now rounds sizes up, as stock Caffe does; "
            "to round down, write round_mode: FLOOR"
        )
    if name == "ceil_mode":
        return "stock Caffe rounds sizes up anyway"
    origin = outline.describe_field(name, value)
    return f"{origin}, unknown to stock Caffe" if origin else "unknown to stock Caffe"


def repair(
    net: caffe.NetParameter,
    path: Path | str,
    *,
    order: Sequence[str] = (),
    sizes: Mapping[int, data_layers.Size] = MappingProxyType({}),
    image: data_layers.Size | None = None,
) -> tuple[caffe.NetParameter, list[str]]:
    """Return a copy of `net` that stock Caffe runs as a deployed network.

    First-generation layers become current ones (`order` as in `upgrade`), only the test
    phase stays, no layer asks for cuDNN, data layers become inputs, layers that need labels are
    removed, the batch is 1. `sizes` are those of `data_layers.sizes`, `image` as in `repair_text`.

    Returns:
        The network, and a sentence for each change.

    Raises:
        InvalidInputError: The file has the form of 2013, or a data layer of unknown size.
    """
    repaired = deepcopy(net)
    done: list[str] = []
    if count := upgrade(repaired, path, order):
        done.append(f"turned {count} first-generation 'layers' into 'layer'")
    for index, (height, width) in sizes.items():
        if is_data(layer := repaired.layer[index]):
            # Only ImageData reads this message otherwise.
            layer.image_data_param.new_height, layer.image_data_param.new_width = height, width
    if repaired.input:
        done.append("left the legacy 'input' as it is: stock Caffe reads it as an Input layer")
    done += _keep_test_phase(repaired)
    done += _drop_cudnn(repaired)
    done += _take_stock_types(repaired)
    labels, sentences = _replace_data_layers(repaired, path, image)
    done += sentences
    done += _drop_label_users(repaired, labels)
    done += _single_batch(repaired)
    return repaired, done


# First-generation layers: 2014's `layers { type: CONVOLUTION }`


def upgrade(net: caffe.NetParameter, path: object, order: Sequence[str] = ()) -> int:
    """Turn every `layers` of `net` into a `layer`, in place; return how many there were.

    Args:
        net: The network.
        path: Its name in errors.
        order: The top-level messages in the order of the text ("layer" or "layers"), for files that
            mix both.

    Raises:
        InvalidInputError: The file has the still older form of 2013.
    """
    upgraded = [_upgraded(layer, path) for layer in net.layers]
    if not upgraded:
        return 0
    old, new = iter(upgraded), iter(list(net.layer))
    merged = [next(old if name == "layers" else new, None) for name in order]
    layers = [layer for layer in (*merged, *old, *new) if layer is not None]
    net.ClearField("layers")
    net.ClearField("layer")
    net.layer.extend(layers)
    return len(upgraded)


def _upgraded(old: caffe.V1LayerParameter, path: object) -> caffe.LayerParameter:
    if old.HasField("layer"):
        raise InvalidInputError.at(
            str(path),
            f"layer '{old.layer.name}'",
            "has a 'layer' inside 'layers' (the 2013 format), which pibench cannot repair",
            hint="upgrade the file with Caffe's own upgrade_net_proto_text",
        )
    kind = caffe.V1LayerParameter.LayerType.Name(old.type)
    new = caffe.LayerParameter(name=old.name, type=_current_type(kind))
    for field, value in old.ListFields():
        if field.name in ("name", "type", "param"):
            continue
        if field.name in new.DESCRIPTOR.fields_by_name:
            if isinstance(value, (bool, int, float, str)):
                setattr(new, field.name, value)
            elif hasattr(value, "extend"):
                getattr(new, field.name).extend(value)
            else:
                getattr(new, field.name).CopyFrom(value)
    _convert_param_specs(old, new)
    for source in (new.data_param, new.image_data_param, new.window_data_param):
        # Caffe moves it (UpgradeNetDataTransformation), and ignores it in a current layer.
        if crop := source.crop_size:
            new.transform_param.crop_size = crop
    return new


def _convert_param_specs(old: caffe.V1LayerParameter, new: caffe.LayerParameter) -> None:
    """Convert blobs_lr, weight_decay, names and share modes of the parameters to `param`."""
    count = max(len(old.param), len(old.blob_share_mode), len(old.blobs_lr), len(old.weight_decay))
    for index in range(count):
        spec = new.param.add()
        if index < len(old.param):
            spec.name = old.param[index]
        if index < len(old.blob_share_mode):
            strict = old.blob_share_mode[index] == caffe.V1LayerParameter.STRICT
            spec.share_mode = caffe.ParamSpec.STRICT if strict else caffe.ParamSpec.PERMISSIVE
        if index < len(old.blobs_lr):
            spec.lr_mult = old.blobs_lr[index]
        if index < len(old.weight_decay):
            spec.decay_mult = old.weight_decay[index]


def _current_type(kind: str) -> str:
    """Return the type string for a value of V1LayerParameter's enum; empty if there is none."""
    if kind == "SOFTMAX_LOSS":
        return "SoftmaxWithLoss"
    types = {name.lower(): name for name in (*RULES, *DATA_TYPES, *UNSUPPORTED)}
    return types.get(kind.replace("_", "").lower(), "")


# Layers without use outside training or stock Caffe


def _replace_layers(net: caffe.NetParameter, layers: list[caffe.LayerParameter]) -> None:
    kept = deepcopy(layers)  # the message's own layers end with the field
    net.ClearField("layer")
    net.layer.extend(kept)


def _keep_test_phase(net: caffe.NetParameter) -> list[str]:
    """Remove layers that only training has, and the rules: `caffe time` runs the training phase."""
    kept, done = [], []
    only = _only_sources(net)
    for layer in net.layer:
        if any(layer is one for one in only):
            done.append(f"kept {topology.place(layer)}: the test phase has no other source")
        elif not topology.included(layer, net.state, "TEST"):
            done.append(f"took out {topology.place(layer)}: it belongs to training only")
            continue
        if layer.include or layer.exclude:
            layer.ClearField("include")
            layer.ClearField("exclude")
            done.append(
                f"removed the phase rules of {topology.place(layer)}: it belongs to every phase"
            )
        kept.append(layer)
    _replace_layers(net, kept)
    return done


def _only_sources(net: caffe.NetParameter) -> list[caffe.LayerParameter]:
    """Return the sources that the test phase leaves out, although its layers read them."""
    own = [layer for layer in net.layer if topology.included(layer, net.state, "TEST")]
    read = {blob for layer in own for blob in layer.bottom}
    lacking = read.difference(net.input, *(layer.top for layer in own))
    left_out = topology.left_out(net, "TEST")
    sources = (left_out[blob] for blob in lacking if blob in left_out)
    return [layer for layer in sources if not layer.bottom]


def _drop_cudnn(net: caffe.NetParameter) -> list[str]:
    done = []
    for layer in net.layer:
        for name in cudnn_engines(layer):
            getattr(layer, name).ClearField("engine")
            done.append(f"took 'engine: CUDNN' out of {topology.place(layer)}: it is for GPUs")
    return done


def _take_stock_types(net: caffe.NetParameter) -> list[str]:
    """Replace layer types of patches by stock Caffe's that compute the same."""
    done = []
    for layer in net.layer:
        if layer.type in DEPTHWISE_TYPES:
            done.append(
                f"made {layer.type} {topology.place(layer)} a Convolution with a group for each "
                "channel"
            )
            layer.type = "Convolution"
            if layer.convolution_param.group <= 1:
                layer.convolution_param.group = layer.convolution_param.num_output
    return done


# Data layers


def _replace_data_layers(
    net: caffe.NetParameter, path: Path | str, image: data_layers.Size | None
) -> tuple[set[str], list[str]]:
    """Replace data layers by inputs; return the removed label blobs, and a sentence per change."""
    labels: set[str] = set()
    done = []
    for layer in net.layer:
        if not is_data(layer):
            continue
        own, remark = data_layers.image_dims(layer, path, image)
        dims = [1, *own]
        shape = caffe.BlobShape(dim=dims)
        replacement = caffe.LayerParameter(
            name=layer.name,
            type="Input",
            top=layer.top[:1],
            input_param=caffe.InputParameter(shape=[shape]),
        )
        size = " x ".join(map(str, dims))
        done.append(
            f"put an Input of {size} in place of {layer.type} {topology.place(layer)}{remark}"
        )
        labels.update(layer.top[1:])
        layer.CopyFrom(replacement)
    return labels, done


# Losses


def _drop_label_users(net: caffe.NetParameter, labels: set[str]) -> list[str]:
    """Replace softmax losses by softmax; remove other losses, accuracies and users of labels."""
    gone = set(labels)
    kept, done = [], []
    for layer in net.layer:
        if layer.type == "SoftmaxWithLoss":
            done.append(f"made {topology.place(layer)} a Softmax: there are no labels")
            kept.append(_softmax_of(layer))
        elif layer.type in _LOSSES or gone.intersection(layer.bottom):
            done.append(f"took out {layer.type} {topology.place(layer)}: it needs labels")
            gone.update(set(layer.top) - set(layer.bottom))
        else:
            kept.append(layer)
    _replace_layers(net, kept)
    return done


def _softmax_of(loss: caffe.LayerParameter) -> caffe.LayerParameter:
    softmax = caffe.LayerParameter(
        name=loss.name, type="Softmax", bottom=loss.bottom[:1], top=loss.top[:1] or [loss.name]
    )
    if loss.HasField("softmax_param"):
        softmax.softmax_param.CopyFrom(loss.softmax_param)
    return softmax


# Batch size


def _single_batch(net: caffe.NetParameter) -> list[str]:
    before = batch_size(net, "TEST")
    if before in (None, 1) or why_no_batch(net):
        return []
    set_batch(net, 1)
    return [f"set the batch to 1, from {before}"]
