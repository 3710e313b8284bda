"""Determine which layers of a network a phase runs, in order, as Caffe's Net does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.errors import InvalidInputError

Phase = Literal["TRAIN", "TEST"]
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)

INPUT_DIMS = 4
"""Numbers that each legacy `input` takes from `input_dim`: N, C, H, W."""


def place(layer: caffe.LayerParameter) -> str:
    """Return the layer's name in errors."""
    return f"layer '{layer.name}'" if layer.name else f"an unnamed {layer.type or 'layer'}"


def layers(
    net: caffe.NetParameter, path: object, *, phase: Phase = "TEST"
) -> list[caffe.LayerParameter]:
    """Return the layers that `phase` runs; legacy `input` fields become an Input layer.

    Args:
        net: The network.
        path: Its name in errors.
        phase: The phase.

    Raises:
        InvalidInputError: The network has first-generation `layers`, an `input` without a matching
            shape, or a layer with both kinds of rules.
    """
    if net.layers:
        raise InvalidInputError.at(
            str(path),
            None,
            f"contains {len(net.layers)} first-generation 'layers {{ }}'",
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


def implied_input(net: caffe.NetParameter, path: object) -> caffe.LayerParameter | None:
    """Return the Input layer for legacy `input`, `input_shape` and `input_dim` fields."""
    if not net.input:
        return None
    shapes = list(net.input_shape)
    if not shapes:
        dims = list(net.input_dim)
        shapes = [
            caffe.BlobShape(dim=dims[at : at + INPUT_DIMS])
            for at in range(0, len(dims), INPUT_DIMS)
        ]
        if len(dims) % INPUT_DIMS:
            shapes = []
    if len(shapes) != len(net.input):
        raise InvalidInputError.at(
            str(path),
            "input",
            f"{len(net.input)} input(s) but {len(net.input_shape)} input_shape and "
            f"{len(net.input_dim)} input_dim",
            hint="give each input one input_shape, or four input_dim",
        )
    return caffe.LayerParameter(
        name="input", type="Input", top=net.input, input_param=caffe.InputParameter(shape=shapes)
    )


def included(layer: caffe.LayerParameter, state: caffe.NetState, phase: Phase) -> bool:
    """Return whether a net in `phase`, at level 0 and the stages of `state`, has this layer."""
    if layer.include:
        return any(meets(rule, state, phase) for rule in layer.include)
    return not any(meets(rule, state, phase) for rule in layer.exclude)


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


Source = tuple[int, int]
"""The producer of a blob: the position of a layer, and the index of its top."""


def readers(
    layers: Sequence[caffe.LayerParameter],
) -> tuple[dict[Source, int], list[list[Source]]]:
    """Return how often each blob is read, and the source of each layer's bottoms.

    A blob is counted separately for each layer that writes it, in place too. A loss weight on it is
    one more reader.
    """
    counts: dict[Source, int] = {}
    sources: list[list[Source]] = []
    made_by: dict[str, Source] = {}
    for position, layer in enumerate(layers):
        sources.append([made_by[name] for name in layer.bottom])
        for source in sources[-1]:
            counts[source] = counts.get(source, 0) + 1
        made_by.update({name: (position, index) for index, name in enumerate(layer.top)})
        for name, weight in zip(layer.top, layer.loss_weight, strict=False):
            counts[made_by[name]] = counts.get(made_by[name], 0) + bool(weight)
    return counts, sources


def insert_splits(layers: list[caffe.LayerParameter]) -> list[caffe.LayerParameter]:
    """Return the layers that Caffe's Net runs: with a Split after every blob that is read twice.

    Readers are counted as in `readers`. The given layers are not changed.
    """
    readers_of, sources = readers(layers)
    handed_out: dict[tuple[int, int], int] = {}
    result: list[caffe.LayerParameter] = []
    for position, layer in enumerate(layers):
        renamed = caffe.LayerParameter()
        renamed.CopyFrom(layer)
        for index, source in enumerate(sources[position]):
            if readers_of[source] > 1:
                count = handed_out.get(source, 0)
                handed_out[source] = count + 1
                renamed.bottom[index] = f"{_split_name(layers, source)}_{count}"
        result.append(renamed)
        for index in range(len(layer.top)):
            if readers_of.get((position, index), 0) > 1:
                result.append(_split(layers, (position, index), readers_of[position, index]))
    return result


def _split_name(layers: list[caffe.LayerParameter], source: tuple[int, int]) -> str:
    position, index = source
    return f"{layers[position].top[index]}_{layers[position].name}_{index}_split"


def _split(
    layers: list[caffe.LayerParameter], source: tuple[int, int], count: int
) -> caffe.LayerParameter:
    name = _split_name(layers, source)
    return caffe.LayerParameter(
        name=name,
        type="Split",
        bottom=[layers[source[0]].top[source[1]]],
        top=[f"{name}_{index}" for index in range(count)],
    )
