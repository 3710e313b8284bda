"""Determine the layers that a phase runs, what each of them reads, and the network's inputs.

All of it follows Caffe's Net (src/caffe/net.cpp). Inputs and layers can be changed in place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Final, Literal, get_args

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.errors import InvalidInputError

Layer = caffe.LayerParameter
Phase = Literal["TRAIN", "TEST"]
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)

IMAGE_AXES = 4
"""Axes of an image blob, N, C, H, W; each legacy `input` takes as many numbers of `input_dim`."""
LEGACY_DIMS = ("num", "channels", "height", "width")
"""Fields of a DummyData without `shape`: each has one value for all tops, or one per top."""


def type_of(layer: caffe.LayerParameter) -> str:
    """Return the type that a layer has in its file: one that is unknown is planned as Python."""
    given = layer.python_param
    return (
        given.layer if layer.type == "Python" and given.layer and not given.module else layer.type
    )


def place(layer: Layer) -> str:
    """Return the layer's name in errors."""
    return f"layer '{layer.name}'" if layer.name else f"an unnamed {layer.type or 'layer'}"


def kind_and_place(layer: Layer) -> str:
    """Return the layer's type and name, for sentences about it."""
    return f"{layer.type} {place(layer)}" if layer.name else place(layer)


def layers(net: caffe.NetParameter, path: object, *, phase: Phase = "TEST") -> list[Layer]:
    """Return the layers that `phase` runs; legacy `input` fields become an Input layer.

    Raises:
        InvalidInputError: The network has first-generation `layers`, an `input` without a matching
            shape, or a layer with both kinds of rules; the error names `path`.
    """
    if net.layers:
        raise InvalidInputError.at(
            str(path),
            None,
            f"mixes {len(net.layers)} first-generation 'layers {{ }}' with 'layer {{ }}'",
            hint="use --repair to turn them into 'layer { }'",
        )
    for layer in net.layer:
        if layer.include and layer.exclude:
            raise InvalidInputError.at(
                str(path), place(layer), "has include and exclude rules", hint="keep one kind"
            )
    implied = implied_input(net, path)
    own = [layer for layer in net.layer if included(layer, net.state, phase)]
    return [implied, *own] if implied else own


def implied_input(net: caffe.NetParameter, path: object) -> Layer | None:
    """Return the Input layer for legacy `input`, `input_shape` and `input_dim` fields."""
    if not net.input:
        return None
    # Caffe reads as many as there are inputs, and none after them.
    shapes = list(net.input_shape)[: len(net.input)]
    if not shapes:
        dims = list(net.input_dim)[: len(net.input) * IMAGE_AXES]
        shapes = [
            caffe.BlobShape(dim=dims[at : at + IMAGE_AXES])
            for at in range(0, len(dims), IMAGE_AXES)
        ]
        if len(dims) % IMAGE_AXES:
            shapes = []
    if len(shapes) != len(net.input):
        raise InvalidInputError.at(
            str(path),
            "input",
            f"{len(net.input)} input(s) but {len(net.input_shape)} input_shape and "
            f"{len(net.input_dim)} input_dim",
            hint="give each input one input_shape, or four input_dim",
        )
    return Layer(
        name="input", type="Input", top=net.input, input_param=caffe.InputParameter(shape=shapes)
    )


def included(layer: Layer | caffe.V1LayerParameter, state: caffe.NetState, phase: Phase) -> bool:
    """Return whether a net in `phase`, at level 0 and the stages of `state`, has this layer."""
    if rules := layer.include:
        return any(meets(rule, state, phase) for rule in rules)
    rules = layer.exclude
    return not rules or not any(meets(rule, state, phase) for rule in rules)


def meets(rule: caffe.NetStateRule, state: caffe.NetState, phase: Phase) -> bool:
    """Return whether every condition that `rule` sets is met.

    The level is 0: `caffe time` and pycaffe set it so, regardless of the file.
    """
    if rule.HasField("phase") and rule.phase != caffe.Phase.Value(phase):
        return False
    if rule.HasField("min_level") and rule.min_level > 0:
        return False
    if rule.HasField("max_level") and rule.max_level < 0:
        return False
    # `caffe time` splits its empty --stage into one stage without a name (tools/caffe.cpp).
    stages = {*state.stage, ""} if phase == "TRAIN" else set(state.stage)
    return stages.issuperset(rule.stage) and stages.isdisjoint(rule.not_stage)


def other_phase(phase: Phase) -> Phase:
    """Return the phase that this one is not."""
    return "TEST" if phase == "TRAIN" else "TRAIN"


def left_out(net: caffe.NetParameter, phase: Phase) -> dict[str, Layer]:
    """Return the layers that `phase` leaves out, by the blobs that they write.

    Of several that write one blob, a layer of the other phase is preferred.
    """
    other = other_phase(phase)
    found: dict[str, Layer] = {}
    for layer in sorted(net.layer, key=lambda layer: included(layer, net.state, other)):
        if not included(layer, net.state, phase):
            found.update(dict.fromkeys(layer.top, layer))
    return found


Source = tuple[int, int]
"""The producer of a blob: the position of a layer, and the index of its top."""


def readers(layers: Sequence[Layer]) -> tuple[defaultdict[Source, int], list[list[Source]]]:
    """Return how often each blob is read, and the source of each layer's bottoms.

    A blob is counted separately for each layer that writes it, in place too. A loss weight on it is
    one more reader.
    """
    counts: defaultdict[Source, int] = defaultdict(int)
    sources: list[list[Source]] = []
    made_by: dict[str, Source] = {}
    for position, layer in enumerate(layers):
        read = [made_by[name] for name in layer.bottom[:]]
        sources.append(read)
        for source in read:
            counts[source] += 1
        for index, name in enumerate(layer.top[:]):
            made_by[name] = position, index
        for index, weight in enumerate(layer.loss_weight[:]):
            counts[position, index] += bool(weight)
    return counts, sources


def insert_splits(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers that Caffe's Net runs: with a Split after every blob that is read twice.

    Readers are counted as in `readers`. The given layers are not changed.
    """
    counts, sources = readers(layers)
    copies: dict[Source, Iterator[str]] = {}
    result: list[Layer] = []
    for position, layer in enumerate(layers):
        renamed = deepcopy(layer)
        for index, source in enumerate(sources[position]):
            if source in copies:
                renamed.bottom[index] = next(copies[source])
        result.append(renamed)
        for index, top in enumerate(layer.top):
            count = counts[position, index]
            if count > 1:
                name = f"{top}_{layer.name}_{index}_split"
                tops = [f"{name}_{copy}" for copy in range(count)]
                copies[position, index] = iter(tops)
                result.append(Layer(name=name, type="Split", bottom=[top], top=tops))
    return result


# Inputs


@dataclass(frozen=True, kw_only=True)
class Input:
    """One shape that a network declares, and the blobs that have it.

    `set_dims` writes other dimensions, as many as before, into the definition.
    """

    blobs: tuple[str, ...]
    dims: tuple[int, ...]
    set_dims: Callable[[Sequence[int]], None]


def inputs(net: caffe.NetParameter, phase: Phase | None = None) -> list[Input]:
    """List what the layers of `phase` start from, in order; None means the whole file."""
    found = list(_legacy_inputs(net))
    for layer in net.layer:
        kind = layer.type
        if kind not in ("Input", "DummyData"):
            continue
        if phase is not None and not included(layer, net.state, phase):
            continue
        if kind == "Input":
            found += _of_shapes(layer.input_param.shape, layer.top)
        else:
            found += _of_shapes(layer.dummy_data_param.shape, layer.top)
            found += _legacy_dummies(layer)
    return found


def batch_size(net: caffe.NetParameter, phase: Phase) -> int | None:
    """Return the images of one pass in `phase`; None if no input has a dimension.

    It is the second dimension of a recurrent layer's indicators, else the first one of the first
    input with the four axes of images, else of the first input that has any.
    """
    for layer in _recurrent(net):
        for one in inputs(net, phase):
            if layer.bottom[1] in one.blobs and len(one.dims) == 2:
                return one.dims[1]
    dims = [one.dims for one in inputs(net, phase) if one.dims]
    images = [one for one in dims if len(one) == IMAGE_AXES]
    return next((one[0] for one in (*images, *dims)), None)


def _recurrent(net: caffe.NetParameter) -> list[Layer]:
    """Return the layers whose blobs begin with time steps and batch."""
    return [layer for layer in net.layer if layer.type in ("LSTM", "RNN") and layer.bottom[1:]]


def why_no_batch(net: caffe.NetParameter) -> str:
    """Explain why the batch of `net` cannot be set; return nothing if it can."""
    for layer in net.layer:
        if layer.type == "Python" and layer.input_param.shape:
            return f"{place(layer)} has the shapes that were given, whatever the batch is"
    for layer in _recurrent(net):
        return f"{place(layer)} is recurrent: its blobs begin with time steps, not with a batch"
    if not any(one.dims for one in inputs(net)):
        return "it has no Input and no DummyData with a dimension, so no batch to set"
    for phase in PHASES:
        own = [one for one in inputs(net, phase) if one.dims]
        other = next((one for one in own if one.dims[0] != own[0].dims[0]), None)
        if other is not None:
            return (
                f"'{own[0].blobs[0]}' has a first dimension of {own[0].dims[0]} and "
                f"'{other.blobs[0]}' one of {other.dims[0]}: which one is the batch is unknown"
            )
    return ""


def set_batch(net: caffe.NetParameter, batch: int) -> None:
    """Give every input of `net`, in all phases, the first dimension `batch`, in place."""
    for one in inputs(net):
        if one.dims:
            one.set_dims((batch, *one.dims[1:]))


def image_size(net: caffe.NetParameter) -> tuple[int, int] | None:
    """Return height and width of the first input with four axes; None if none has."""
    for one in inputs(net):
        if len(one.dims) == IMAGE_AXES:
            return one.dims[2], one.dims[3]
    return None


def set_image_size(net: caffe.NetParameter, height: int, width: int) -> None:
    """Give every input of the first image's height and width the new ones, in place."""
    before = image_size(net)
    for one in inputs(net):
        if one.dims[2:] == before:
            one.set_dims((*one.dims[:2], height, width))


def _of_shapes(shapes: Sequence[caffe.BlobShape], tops: Sequence[str]) -> Iterator[Input]:
    """List one shape for all tops, or one for each."""
    for index, shape in enumerate(shapes):

        def set_dims(dims: Sequence[int], shape: caffe.BlobShape = shape) -> None:
            shape.dim[:] = dims

        blobs = tuple(tops) if len(shapes) == 1 else tuple(tops[index : index + 1])
        yield Input(blobs=blobs or ("",), dims=tuple(shape.dim), set_dims=set_dims)


def _legacy_inputs(net: caffe.NetParameter) -> Iterator[Input]:
    """List the inputs of `input`, by their `input_shape` or else by four `input_dim` each."""
    if net.input and net.input_shape:
        yield from _of_shapes(net.input_shape[: len(net.input)], net.input)
        return
    for index, name in enumerate(net.input):
        span = slice(index * IMAGE_AXES, (index + 1) * IMAGE_AXES)

        def set_dims(dims: Sequence[int], span: slice = span) -> None:
            net.input_dim[span] = dims

        yield Input(blobs=(name,), dims=tuple(net.input_dim[span]), set_dims=set_dims)


def _legacy_dummies(layer: Layer) -> Iterator[Input]:
    """List the blobs of `num`, `channels`, `height` and `width`: one value for all, or for each."""
    fields = [getattr(layer.dummy_data_param, name) for name in LEGACY_DIMS]
    for index, top in enumerate(layer.top if all(fields) else ()):

        def set_dims(dims: Sequence[int], index: int = index) -> None:
            for field, dim in zip(fields, dims, strict=True):
                field.extend([field[0]] * (len(layer.top) - len(field)))
                field[index] = dim

        dims = tuple(field[min(index, len(field) - 1)] for field in fields)
        yield Input(blobs=(top,), dims=dims, set_dims=set_dims)


# Layers in place

_WRITES_OVER = frozenset({"BatchNorm", "Dropout", "ELU", "ReLU", "Sigmoid", "TanH"})
"""Layers whose own gradient does not need the overwritten values (or keeps a copy)."""

_MAY_BE_OVERWRITTEN = frozenset(
    {"BatchNorm", "Concat", "Convolution", "Deconvolution", "Eltwise", "InnerProduct", "Pooling",
     "Scale"}
)  # fmt: skip
"""Layers whose gradient does not need their own output."""


def make_in_place(net: caffe.NetParameter, *, path: object = "network") -> int:
    """Let every layer of `net` that can work in place do so; return how many were changed.

    A layer can if nothing else reads its bottom, the layer that made the bottom does not need it
    for its gradient, and the network has no layers of other phases.

    Raises:
        InvalidInputError: As for `layers`.
    """
    if any(layer.include or layer.exclude for layer in net.layer):
        return 0
    own = layers(net, path)
    counts, sources = readers(own)
    renamed: dict[str, str] = {}
    changed = 0
    for layer, read in zip(own, sources, strict=True):
        makes_new = bool(layer.bottom) and layer.top[:1] != layer.bottom[:1]
        _rename(layer, renamed)
        if layer.type not in _WRITES_OVER or not makes_new or counts[read[0]] != 1:
            continue
        maker = own[read[0][0]]
        if maker.type in _MAY_BE_OVERWRITTEN:
            renamed[layer.top[0]] = layer.bottom[0]
            layer.top[0] = layer.bottom[0]
            changed += 1
    return changed


def _rename(layer: Layer, renamed: dict[str, str]) -> None:
    """Rename the layer's bottoms, and the tops that it writes in place."""
    written_over = set(layer.bottom)
    for index, name in enumerate(layer.top):
        if name in written_over:
            layer.top[index] = renamed.get(name, name)
        else:
            # A new blob, even if an earlier one with this name was renamed.
            renamed.pop(name, None)
    if not renamed.keys().isdisjoint(layer.bottom):
        layer.bottom[:] = [renamed.get(name, name) for name in layer.bottom]
