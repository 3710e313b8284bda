"""Infer the shape of every blob and parameter of a network, by Caffe's own rules.

A shape is a tuple of element counts, N x C x H x W for images; () is a scalar. The table RULES has
one entry per layer type of Caffe 1.0; its functions follow the Reshape and LayerSetUp of that type
and reject what Caffe's checks abort on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import topology
from pibench.engines.caffe.shapes import checks
from pibench.engines.caffe.shapes.checks import (
    MAX_ELEMENTS,
    Layer,
    Refused,
    Shape,
    Unwritten,
    elements,
    times,
)
from pibench.engines.caffe.shapes.recurrent import STATES
from pibench.engines.caffe.shapes.rules import (
    DATA_TYPES,
    RULES,
    data_hint,
    has_rule,
    is_data,
    rule_of,
)
from pibench.errors import InvalidInputError, NoSourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DATA_TYPES", "MAX_ELEMENTS", "RULES", "Shape", "Shapes", "elements", "has_rule", "infer",
    "times",
]  # fmt: skip

MAX_TIME_STEPS = 5000
"""Each is a network of its own, which takes a millisecond to plan."""


@dataclass(eq=False)
class Shapes:
    """The result of `infer`, for one phase."""

    phase: topology.Phase = "TEST"
    """The phase that was asked for."""
    layers: list[Layer] = field(default_factory=list)
    """The layers that run, in order; legacy inputs come first as an Input layer."""
    bottoms: list[tuple[Shape, ...]] = field(default_factory=list)
    """Input shapes of each of `layers`."""
    tops: list[tuple[Shape, ...]] = field(default_factory=list)
    """Output shapes of each of `layers`."""
    blobs: dict[str, Shape] = field(default_factory=dict)
    """Shape of every blob by name."""
    weights: list[tuple[Shape, ...]] = field(default_factory=list)
    """Parameter shapes of each of `layers`."""
    params: dict[str, tuple[Shape, ...]] = field(default_factory=dict)
    """Shapes of the parameters of each layer that has any, by layer name."""
    parameter_count: int = 0
    """Elements of all parameters; one shared under a name counts once."""
    time_steps: int = 0
    """Time steps of all recurrent layers."""
    readers: dict[topology.Source, int] = field(default_factory=dict)
    """How often each blob is read (see `topology.readers`)."""
    sources: list[list[topology.Source]] = field(default_factory=list)
    """The blob that each bottom of each of `layers` is."""
    computed_by: set[str] = field(default_factory=set)
    """Engines that are known to compute what Caffe does, with their versions."""

    def unfilled(self) -> Iterator[tuple[int, int]]:
        """Yield the layers with parameters that no weights file fills, and the layers it fills.

        Caffe copies weights by name, to the first layer that has it (Net::CopyTrainedLayersFrom).
        """
        first: dict[str, int] = {}
        for position, layer in enumerate(self.layers):
            filled = first.setdefault(layer.name, position)
            if filled != position and self.weights[position]:
                yield position, filled


def infer(
    net: caffe.NetParameter, *, path: object = "network", phase: topology.Phase = "TEST"
) -> Shapes:
    """Infer the shapes of all blobs and parameters of `net` in `phase`.

    Raises:
        InvalidInputError: Stock Caffe would abort: unknown layer type, unknown or doubly made blob,
            shapes and counts that do not fit. The error names `path` and the layer.
    """
    found = Shapes(phase=phase)
    shared: dict[str, checks.Owner] = {}
    for layer in topology.layers(net, path, phase=phase):
        try:
            _add(found, _with_automatic_top(found, layer), shared)
        except Unwritten as missing:
            raise _error(path, layer, _no_source(net, missing, phase)) from None
        except Refused as refused:
            raise _error(path, layer, refused) from None
    if not found.layers:
        raise InvalidInputError.at(
            str(path), None, f"no layer runs in phase {phase}", hint="check the include rules"
        )
    found.readers, found.sources = topology.readers(found.layers)
    if overwriter := checks.overwriter(found.layers, found.readers, found.sources):
        raise _error(path, *overwriter)
    return found


def _with_automatic_top(found: Shapes, layer: Layer) -> Layer:
    """Return a loss without a top with the one that Caffe makes (Layer::AutoTopBlobs).

    Caffe calls each such blob "(automatic)"; here they need names of their own.
    """
    if layer.top or not layer.type.endswith("Loss"):
        return layer
    name = next(name for name in _automatic_names() if name not in found.blobs)
    changed = caffe.LayerParameter()
    changed.CopyFrom(layer)
    changed.top.append(name)
    return changed


def _automatic_names() -> Iterator[str]:
    yield "(automatic)"
    yield from (f"(automatic {number})" for number in count(2))


def _error(path: object, layer: Layer, refused: Refused) -> InvalidInputError:
    """Return the error with file and layer."""
    place = topology.place(layer)
    return refused.error.at(str(path), place, refused.problem, hint=refused.hint)


def _add(found: Shapes, layer: Layer, shared: dict[str, checks.Owner]) -> None:
    """Infer one layer from the blobs before it; `shared` has the parameters with names."""
    # A slice of a repeated field is a list too, in half the time.
    kind, read, names = layer.type, layer.bottom[:], layer.top[:]
    bottoms = _look_up(found.blobs, read, names)
    rule = rule_of(layer, bottoms)
    checks.check_count("bottom", len(bottoms), rule.bottoms)
    checks.check_count("top", len(names), rule.tops)
    tops, params = rule.function(layer, bottoms)
    if kind in STATES:
        found.time_steps += bottoms[1][0]
        if found.time_steps > MAX_TIME_STEPS:
            raise Refused(
                f"the network unrolls {found.time_steps} time steps",
                f"pibench takes {MAX_TIME_STEPS} at most, of all layers together",
            )
    made = list(zip(names, tops, strict=True))
    for name, shape in made:
        checks.check_size(name, shape)
    for index, shape in enumerate(params):
        checks.check_size(f"parameter {index}", shape)
    checks.check_counts(layer, len(params))
    checks.check_engines(layer)
    if params or kind == "DummyData":
        checks.check_fillers(layer, params, tops)
    checks.check_in_place(kind, list(zip(read, bottoms, strict=True)), made)
    specs = layer.param[:] if params else []
    for index, shape in enumerate(params):
        if index < len(specs) and (name := specs[index].name):
            if name in shared:
                checks.check_shared(specs[index], shape, shared[name])
                continue
            shared[name] = checks.Owner(shape, checks.rates(specs[index]))
        found.parameter_count += elements(shape)
    found.layers.append(layer)
    found.bottoms.append(tuple(bottoms))
    found.tops.append(tuple(tops))
    found.weights.append(tuple(params))
    found.blobs.update(made)
    if params:
        found.params[layer.name] = tuple(params)


def _no_source(net: caffe.NetParameter, missing: Unwritten, phase: topology.Phase) -> Refused:
    """Return the error for a blob without a source, with the layer that `phase` leaves out."""
    writer = topology.left_out(net, phase).get(missing.blob)
    if writer is None:
        return missing
    other = topology.other_phase(phase)
    elsewhere = topology.included(writer, net.state, other)
    fork = "a fork's " if is_data(writer) and writer.type not in DATA_TYPES else ""
    problem = (
        f"phase {phase} has no source of bottom '{missing.blob}': "
        f"{fork}{topology.kind_and_place(writer)} is "
        + (f"for {other} only" if elsewhere else "left out by its rules")
    )
    if is_data(writer):
        return Refused(f"{problem}, and reads a database or files", data_hint(writer))
    if not elsewhere:
        return Refused(problem, "correct its rules, or add an Input layer")
    protocol = "inference" if phase == "TRAIN" else "caffe-time"
    hint = f"--protocol {protocol} sets up phase {other}; for {phase} add an Input layer"
    refused = Refused(problem, hint)
    refused.error = NoSourceError
    return refused


def _look_up(blobs: dict[str, Shape], read: list[str], made: list[str]) -> list[Shape]:
    """Return the shapes of a layer's bottoms, after a check of the names of its blobs."""
    for name in read:
        if name not in blobs:
            raise Unwritten(name)
    before: set[str] = set()
    for index, name in enumerate(made):
        in_place = read[index : index + 1] == [name]
        if (name in blobs and not in_place) or name in before:
            raise Refused(
                f"top '{name}' is written by two layers", "give the second one another name"
            )
        before.add(name)
    return [blobs[name] for name in read]
