"""Fix what stock Caffe would reject or run with another meaning, on request only.

Every repair is listed in one plain sentence: a repaired network differs from the one in the file,
and readers of a result need to know how.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from copy import deepcopy
from types import MappingProxyType
from typing import TYPE_CHECKING

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import data_layers, fork_fields, outline, prototxt, topology
from pibench.engines.caffe.shapes import infer
from pibench.engines.caffe.shapes.checks import cudnn_engines
from pibench.engines.caffe.shapes.rules import DEPTHWISE_PATCH, is_data
from pibench.engines.caffe.topology import batch_size, set_batch, why_no_batch
from pibench.engines.caffe.upgrade import upgrade
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

Layer = caffe.LayerParameter | caffe.V1LayerParameter
_UNROLLED = frozenset({"ContinuationIndicator", "LSTM", "RNN", "Recurrent", "Reverse"})

_WEIGHTED = frozenset({"Convolution", "Deconvolution", "InnerProduct", "LSTM", "RNN"})
_LOSSES = frozenset(
    {"ContrastiveLoss", "EuclideanLoss", "HingeLoss", "InfogainLoss", "MultinomialLogisticLoss",
     "SigmoidCrossEntropyLoss", "Accuracy"}
)  # fmt: skip


def repair_text(
    text: str,
    path: Path | str,
    *,
    image: data_layers.Size | None = None,
    as_paper: bool = False,
    opaque: Collection[str] = (),
) -> tuple[caffe.NetParameter, list[str]]:
    """Parse the network in `text`, write or remove fields of forks and repair the rest.

    Args:
        text: The text.
        path: Its name in errors.
        image: Height and width of images whose size the file does not state.
        as_paper: Take `ceil_mode: false` out, as the paper did.
        opaque: Names of layers whose user gives the shapes of their tops: sources among them stay.

    Returns:
        The network, and a sentence for each change.

    Raises:
        InvalidInputError: Something cannot be fixed.
    """
    text, unknown = prototxt.scan(text, path)
    sizes = data_layers.sizes(text, unknown)
    text = outline.without(text, unknown)
    net = prototxt.parse_known(text, path)

    def layer_of(field: outline.UnknownField) -> Layer | None:
        return prototxt.enclosing(net, field)

    for field in filter(outline.is_layer_type, unknown):
        if (layer := layer_of(field)) and topology.included(layer, net.state, "TEST"):
            raise prototxt.unknown_type(field, path)
    written = list(filter(fork_fields.has_meaning, unknown))
    done = fork_fields.as_stock(written, layer_of, path, as_paper=as_paper)
    done += _taken_out([field for field in unknown if not fork_fields.has_meaning(field)])
    order = outline.top_level_messages(outline.tokens(text))
    net, more = repair(net, path, order=order, sizes=sizes, image=image, opaque=opaque)
    return net, done + more


def _taken_out(unknown: list[outline.UnknownField]) -> list[str]:
    """Return one sentence for each kind of removed field, however often it occurred."""
    counts = Counter((field.name, field.value, field.parent) for field in unknown)
    firsts = {(field.name, field.value, field.parent): field for field in reversed(unknown)}
    sentences = []
    for (name, value, parent), count in counts.items():
        first = firsts[name, value, parent]
        what = f"'{name}: {value}'" if value else f"'{name}'"
        inside = f" of {parent}" if parent else ""
        where = f"line {first.line}" if count == 1 else f"{count} times, first on line {first.line}"
        origin = outline.describe_field(name, value)
        consequence = f"{origin}, unknown to stock Caffe" if origin else "unknown to stock Caffe"
        if first.near and not origin:
            consequence += f"; did the file mean {first.near!r}?"
        sentences.append(f"took out {what}{inside} ({where}): {consequence}")
    return sentences


def repair(
    net: caffe.NetParameter,
    path: Path | str,
    *,
    order: Sequence[str] = (),
    sizes: Mapping[int, data_layers.Size] = MappingProxyType({}),
    image: data_layers.Size | None = None,
    opaque: Collection[str] = (),
) -> tuple[caffe.NetParameter, list[str]]:
    """Return a copy of `net` that stock Caffe runs as a deployed network.

    Layers of older forms become current ones (`order` as in `upgrade`). Unless stock Caffe runs
    both phases then, the layers of training are removed, no layer asks for cuDNN, data layers
    become inputs, and layers that need labels are removed. The batch is 1 where the first dimension
    is a batch. `sizes` are those of `data_layers.sizes`, `image` and `opaque` as in `repair_text`.

    Returns:
        The network, and a sentence for each change.

    Raises:
        InvalidInputError: Stock Caffe cannot read the file, or a data layer has no known size.
    """
    repaired = deepcopy(net)
    done: list[str] = []
    mixed = bool(net.layer)
    if (count := upgrade(repaired, path, order)) and mixed:
        done.append(f"turned {count} first-generation 'layers' into 'layer'")
    if len(repaired.layer) != len(net.layer) + len(net.layers):
        # Padding layers of 2013 are gone. No fork is that old.
        sizes = {}
    for index, (height, width) in sizes.items():
        if is_data(layer := repaired.layer[index]):
            # Only ImageData reads this message otherwise.
            layer.image_data_param.new_height, layer.image_data_param.new_width = height, width
    if repaired.input:
        done.append("left the legacy 'input' as it is: stock Caffe reads it as an Input layer")
    done += _take_stock_types(repaired)
    running = {phase for phase in topology.PHASES if _runs(repaired, phase)}
    own, so_far = deepcopy(repaired), list(done)
    if running != set(topology.PHASES):
        done += _keep_test_phase(repaired, [] if "TRAIN" in running else _only_sources(repaired))
        done += _drop_cudnn(repaired)
        repaired, sentences = _without_data(repaired, path, image, opaque)
        done += sentences
    if "TRAIN" in running and not _runs(repaired, "TEST"):
        # Only training has what its layers read.
        return own, so_far
    done += _single_batch(repaired)
    return repaired, done


def _runs(net: caffe.NetParameter, phase: topology.Phase) -> bool:
    """Return whether the layers of a phase can be set up."""
    try:
        infer(net, phase=phase)
    except InvalidInputError:
        return False
    return True


# Layers without use outside training or stock Caffe


def _replace_layers(net: caffe.NetParameter, layers: list[caffe.LayerParameter]) -> None:
    kept = deepcopy(layers)  # the message's own layers end with the field
    net.ClearField("layer")
    net.layer.extend(kept)


def _keep_test_phase(net: caffe.NetParameter, sources: Sequence[caffe.LayerParameter]) -> list[str]:
    """Remove layers that only training has but `sources`, and rules that keep training from blobs.

    `caffe time` runs the training phase. A layer for the test phase alone, whose tops no layer of
    training reads, stays so: in training, some even abort. One that other rules leave out of both
    phases stays where the test phase reads its tops, so that errors can name it.
    """
    kept, done = [], []
    lacking = _lacking(net)
    for layer in net.layer:
        if any(layer is one for one in sources):
            layer.ClearField("include")
            layer.ClearField("exclude")
            done.append(f"kept {topology.place(layer)}: the test phase has no other source")
            kept.append(layer)
        elif topology.included(layer, net.state, "TEST"):
            kept.append(layer)
        elif topology.included(layer, net.state, "TRAIN"):
            done.append(f"took out {topology.place(layer)}: it belongs to training only")
        elif layer.bottom and lacking.intersection(layer.top):
            kept.append(layer)
        else:
            done.append(f"took out {topology.place(layer)}: its rules leave it out of both phases")
    own = [layer for layer in kept if topology.included(layer, net.state, "TEST")]
    for needed in _needed_in_training(own, net):
        needed.ClearField("include")
        needed.ClearField("exclude")
        done.append(
            f"removed the phase rules of {topology.place(needed)}: it belongs to every phase"
        )
    _replace_layers(net, kept)
    return done


def _needed_in_training(
    layers: list[caffe.LayerParameter], net: caffe.NetParameter
) -> list[caffe.LayerParameter]:
    """Return the layers of the test phase alone that make what a layer of training reads.

    Where nothing but sources would run in training, any layer is needed.
    """
    runs = [topology.included(layer, net.state, "TRAIN") for layer in layers]
    writers: defaultdict[str, list[int]] = defaultdict(list)
    for at, layer in enumerate(layers):
        for name in set(layer.top).difference(layer.bottom) if not runs[at] else ():
            writers[name].append(at)
    needed: list[caffe.LayerParameter] = []
    made_at = dict.fromkeys(net.input, -1)
    """The first layer of training that makes a blob."""
    at = 0
    while at < len(layers):
        layer = layers[at]
        maker = None
        if runs[at]:
            lacking = (name for name in layer.bottom if made_at.get(name, at) >= at)
            makers = (one for name in lacking for one in writers[name])
            maker = next((one for one in makers if one < at and not runs[one]), None)
            for name in layer.top:
                made_at[name] = min(made_at.get(name, at), at)
        at += 1
        if at == len(layers) and not any(
            one.bottom for one, is_run in zip(layers, runs, strict=True) if is_run
        ):
            maker = next((one for one, is_run in enumerate(runs) if not is_run), None)
        if maker is not None:
            # It may read what only the test phase makes too.
            at = maker
            runs[at] = True
            needed.append(layers[at])
    return needed


def _only_sources(net: caffe.NetParameter) -> list[caffe.LayerParameter]:
    """Return the sources that the test phase leaves out, although its layers read them."""
    left_out = topology.left_out(net, "TEST")
    sources = (left_out[blob] for blob in _lacking(net) if blob in left_out)
    return [layer for layer in sources if not layer.bottom]


def _lacking(net: caffe.NetParameter) -> set[str]:
    """Return the blobs that layers of the test phase read and none of them makes."""
    own = [layer for layer in net.layer if topology.included(layer, net.state, "TEST")]
    read = {blob for layer in own for blob in layer.bottom}
    return read.difference(net.input, *(layer.top for layer in own))


def _drop_cudnn(net: caffe.NetParameter) -> list[str]:
    changed = []
    for layer in net.layer:
        for name in cudnn_engines(layer):
            getattr(layer, name).ClearField("engine")
            changed.append(layer)
    if not changed:
        return []
    return [f"took 'engine: CUDNN' out of {_place_of_all(changed)}: it is for GPUs"]


def _take_stock_types(net: caffe.NetParameter) -> list[str]:
    """Replace layer types of patches by stock Caffe's that compute the same."""
    patched = [layer for layer in net.layer if layer.type == DEPTHWISE_PATCH]
    for layer in patched:
        layer.type = "Convolution"
        if layer.convolution_param.group <= 1:
            layer.convolution_param.group = layer.convolution_param.num_output
    if not patched:
        return []
    where = _place_of_all(patched)
    return [f"made {DEPTHWISE_PATCH} {where} a Convolution with a group for each channel"]


def _place_of_all(layers: Sequence[caffe.LayerParameter]) -> str:
    where = topology.place(layers[0])
    return f"{where} and {len(layers) - 1} more" if len(layers) > 1 else where


# Data layers


def _without_data(
    net: caffe.NetParameter,
    path: Path | str,
    image: data_layers.Size | None,
    opaque: Collection[str],
) -> tuple[caffe.NetParameter, list[str]]:
    """Return a copy without data layers and what needs labels, and a sentence for each change.

    Where only the data has the number of channels, it is the first that all layers can take.
    """
    found = []
    for channels in data_layers.ASSUMED_CHANNELS:
        tried = deepcopy(net)
        labels, is_assumed, done = _replace_data_layers(tried, path, image, opaque, channels)
        done += _drop_label_users(tried, labels, path)
        if not is_assumed or _runs(tried, "TEST"):
            return tried, done
        found.append((tried, done))
    return found[0]


def _replace_data_layers(
    net: caffe.NetParameter,
    path: Path | str,
    image: data_layers.Size | None,
    opaque: Collection[str],
    channels: int,
) -> tuple[set[str], bool, list[str]]:
    """Replace data layers by inputs, of `channels` where only the data has their number.

    Returns:
        The removed label blobs, whether `channels` was used, and a sentence for each change.
    """
    labels: set[str] = set()
    is_assumed = False
    done = []
    for layer in net.layer:
        # A Python layer without bottoms reads files or a database too.
        if not is_data(layer) and (layer.type != "Python" or layer.bottom):
            continue
        try:
            own, remark = data_layers.image_dims(layer, path, image, channels)
        except InvalidInputError:
            if layer.name in opaque:
                continue
            raise
        dims = [1, *own]
        shape = caffe.BlobShape(dim=dims)
        replacement = caffe.LayerParameter(
            name=layer.name,
            type="Input",
            top=layer.top[:1],
            input_param=caffe.InputParameter(shape=[shape]),
        )
        size = " x ".join(map(str, dims))
        done.append(f"put an Input of {size} in place of {topology.kind_and_place(layer)}{remark}")
        labels.update(layer.top[1:])
        layer.CopyFrom(replacement)
        is_assumed |= bool(remark)
    return labels, is_assumed, done


# Losses


def _drop_label_users(net: caffe.NetParameter, labels: set[str], path: Path | str) -> list[str]:
    """Replace softmax losses by softmax; remove other losses, accuracies and users of labels.

    Raises:
        InvalidInputError: A layer with weights would go, or the bottom of a softmax, or all.
    """
    gone = set(labels)
    kept, done = [], []
    for layer in net.layer:
        softmax = layer.type == "SoftmaxWithLoss"
        if softmax or layer.type in _WEIGHTED:
            # What is deployed needs it: the top of the data layer is no label, such as regions.
            for name in gone.intersection(layer.bottom[:1] if softmax else layer.bottom):
                raise InvalidInputError.at(
                    path,
                    topology.place(layer),
                    f"'{name}' is made of more than the images that a data layer gives",
                    hint="put Input layers in place of the data layer, one for each of its tops",
                )
        if softmax:
            done.append(f"made {topology.place(layer)} a Softmax: there are no labels")
            kept.append(_softmax_of(layer))
        elif layer.type in _LOSSES or gone.intersection(layer.bottom):
            done.append(f"took out {topology.kind_and_place(layer)}: it needs labels")
            gone.update(set(layer.top) - set(layer.bottom))
        else:
            kept.append(layer)
    if done and not any(layer.bottom for layer in kept):
        raise InvalidInputError.at(
            path,
            None,
            "nothing but inputs is left without the layers that need labels",
            hint="give the network for deployment",
        )
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
    """Set the batch to 1 if the first dimension is one: if nothing but first dimensions changes."""
    before = batch_size(net, "TEST")
    if before in (None, 1) or why_no_batch(net):
        return []
    single = deepcopy(net)
    set_batch(single, 1)
    if not _same_but_for_batch(net, single):
        return []
    set_batch(net, 1)
    return [f"set the batch to 1, from {before}"]


def _same_but_for_batch(net: caffe.NetParameter, single: caffe.NetParameter) -> bool:
    """Return whether the shapes of both differ in first dimensions only, all by one factor.

    The first dimension is time, and not the batch, for layers that unroll it.
    """
    if any(layer.type in _UNROLLED for layer in net.layer):
        return False
    if not _runs(single, "TEST") or not _runs(net, "TEST"):
        # A file may be too large for Caffe by its batch alone.
        return _runs(single, "TEST")
    own, changed = infer(net), infer(single)
    if own.params != changed.params:
        return False
    factor = batch_size(net, "TEST") or 1
    return all(
        shape
        in (
            changed.blobs[name],
            tuple(first * factor for first in changed.blobs[name][:1]) + changed.blobs[name][1:],
        )
        for name, shape in own.blobs.items()
    )
