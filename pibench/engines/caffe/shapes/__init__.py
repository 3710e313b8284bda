"""Infer the shape of every blob and parameter of a network, by Caffe's own rules.

A shape is a tuple of element counts, N x C x H x W for images; () is a scalar. The table RULES has
one entry per layer type of Caffe 1.0; its functions follow the Reshape and LayerSetUp of that type
and reject what Caffe's checks abort on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import topology
from pibench.engines.caffe.shapes import checks
from pibench.engines.caffe.shapes.checks import (
    MAX_ELEMENTS,
    Layer,
    Made,
    Refused,
    Shape,
    elements,
    times,
)
from pibench.engines.caffe.shapes.rules import DATA_TYPES, RULES, rule_of
from pibench.errors import InvalidInputError

__all__ = ["DATA_TYPES", "MAX_ELEMENTS", "RULES", "Shape", "Shapes", "elements", "infer", "times"]


@dataclass(frozen=True)
class Shapes:
    """The result of `infer`, for one phase."""

    layers: tuple[Layer, ...]
    """The layers that run, in order; legacy inputs come first as an Input layer."""
    bottoms: tuple[tuple[Shape, ...], ...]
    """Input shapes of each of `layers`."""
    tops: tuple[tuple[Shape, ...], ...]
    """Output shapes of each of `layers`."""
    blobs: Mapping[str, Shape]
    """Shape of every blob by name."""
    weights: tuple[tuple[Shape, ...], ...]
    """Parameter shapes of each of `layers`."""
    params: Mapping[str, tuple[Shape, ...]]
    """Shapes of the parameters of each layer that has any, by layer name."""
    parameter_count: int
    """Elements of all parameters; one shared under a name counts once."""
    readers: Mapping[topology.Source, int]
    """How often each blob is read (see `topology.readers`)."""
    sources: Sequence[Sequence[topology.Source]]
    """The blob that each bottom of each of `layers` is."""


def infer(
    net: caffe.NetParameter, *, path: object = "network", phase: topology.Phase = "TEST"
) -> Shapes:
    """Infer the shapes of all blobs and parameters of `net` in `phase`.

    Raises:
        InvalidInputError: Stock Caffe would abort: unknown layer type, unknown or doubly made blob,
            shapes and counts that do not fit. The error names `path` and the layer.
    """
    walk = _Walk(path)
    for layer in topology.layers(net, path, phase=phase):
        walk.add(layer)
    if not walk.layers:
        raise InvalidInputError.at(
            str(path), None, f"no layer runs in phase {phase}", hint="check the include rules"
        )
    counts, sources = topology.readers(walk.layers)
    if overwriter := checks.overwriter(walk.layers, counts, sources):
        raise walk.error(*overwriter)
    return Shapes(
        layers=tuple(walk.layers),
        bottoms=tuple(walk.bottoms),
        tops=tuple(walk.tops),
        blobs=MappingProxyType(walk.blobs),
        weights=tuple(walk.weights),
        params=MappingProxyType(walk.params),
        parameter_count=walk.parameter_count,
        readers=counts,
        sources=sources,
    )


class _Walk:
    """Blobs and parameters known so far, layer by layer."""

    def __init__(self, path: object) -> None:
        self.path = path
        self.layers: list[Layer] = []
        self.bottoms: list[tuple[Shape, ...]] = []
        self.tops: list[tuple[Shape, ...]] = []
        self.weights: list[tuple[Shape, ...]] = []
        self.blobs: dict[str, Shape] = {}
        self.params: dict[str, tuple[Shape, ...]] = {}
        self.shared: dict[str, checks.Owner] = {}
        self.parameter_count = 0

    def add(self, layer: Layer) -> None:
        try:
            bottoms = self._look_up(layer)
            tops, params = self._apply(layer, bottoms)
            self._count(layer, params)
        except Refused as refused:
            raise self.error(layer, refused) from None
        self.layers.append(layer)
        self.bottoms.append(tuple(bottoms))
        self.tops.append(tuple(tops))
        self.weights.append(tuple(params))
        self.blobs.update(zip(layer.top, tops, strict=True))
        if params:
            self.params[layer.name] = tuple(params)

    def error(self, layer: Layer, refused: Refused) -> InvalidInputError:
        """Return the error with file and layer."""
        return InvalidInputError.at(
            str(self.path), topology.place(layer), refused.problem, hint=refused.hint
        )

    def _look_up(self, layer: Layer) -> list[Shape]:
        for name in layer.bottom:
            if name not in self.blobs:
                raise Refused(
                    f"bottom '{name}' is written by no earlier layer", "correct the blob's name"
                )
        for index, name in enumerate(layer.top):
            in_place = index < len(layer.bottom) and layer.bottom[index] == name
            if (name in self.blobs and not in_place) or name in layer.top[:index]:
                raise Refused(
                    f"top '{name}' is written by two layers", "give the second one another name"
                )
        return [self.blobs[name] for name in layer.bottom]

    def _apply(self, layer: Layer, bottoms: list[Shape]) -> Made:
        rule = rule_of(layer)
        checks.check_count("bottom", len(bottoms), rule.bottoms)
        checks.check_count("top", len(layer.top), rule.tops)
        tops, params = rule.function(layer, bottoms)
        for name, shape in (
            *zip(layer.top, tops, strict=True),
            *((f"parameter {index}", shape) for index, shape in enumerate(params)),
        ):
            checks.check_size(name, shape)
        checks.check_counts(layer, len(params))
        checks.check_engines(layer)
        checks.check_fillers(layer, params, tops)
        checks.check_in_place(layer, bottoms, tops)
        return tops, params

    def _count(self, layer: Layer, params: list[Shape]) -> None:
        for index, shape in enumerate(params):
            spec = layer.param[index] if index < len(layer.param) else None
            if spec is not None and spec.name:
                if spec.name in self.shared:
                    checks.check_shared(spec, shape, self.shared[spec.name])
                    continue
                self.shared[spec.name] = checks.Owner(shape, checks.rates(spec))
            self.parameter_count += elements(shape)
