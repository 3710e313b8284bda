"""What OpenCV's importer makes of a prototxt: what it computes otherwise, and what it gets."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import text_format

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import forks, topology
from pibench.engines.caffe.prototxt import parse
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pibench.engines.formats import Contents, Operator

_DEPTHWISE: Final = ("ConvolutionDepthwise", "DepthwiseConvolution")
_NO_PADDING: Final = "NOTSET"
_DIFFERENCES: Final = Path(__file__).with_name("differences.toml")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What OpenCV computes otherwise than Caffe: an entry of differences.toml.

    Attributes:
        layer: The layer type.
        field: The field whose value matters, such as `lrn_param.k`; empty if any layer of the
            type differs.
        same: The values with which the results are the same.
        first: The first version that differs; empty for the oldest that pibench knows.
        last: The last version that differs; empty if the newest does too.
        effect: What OpenCV does.
        unread: It cannot read such a layer, where it otherwise computes other values silently.
        unset: It is about a field that a layer does not give, for which OpenCV has another default.
        rewritten: pibench writes such a layer otherwise, so that OpenCV computes the same.
    """

    layer: str
    effect: str
    unread: bool = False
    unset: bool = False
    rewritten: bool = False
    field: str = ""
    same: tuple[Any, ...] = ()
    first: str = ""
    last: str = ""

    def applies(self, layer: caffe.LayerParameter, version: str) -> bool:
        """Return whether this version computes something else for the layer."""
        if layer.type != self.layer or not self._is_in(version):
            return False
        if not self.field:
            return True
        parameters, name = self.field.split(".")
        is_fork = layer.type in forks.LAYERS
        value = forks.parameters(layer) if is_fork else getattr(layer, parameters)
        if self.unset:
            return not value.HasField(name)
        return getattr(value, name) not in self.same

    def rewrite(self, layer: caffe.LayerParameter) -> None:
        """Change a layer so that OpenCV computes what Caffe does."""
        if self.unset:
            parameters, name = self.field.split(".")
            message = getattr(layer, parameters)
            setattr(message, name, getattr(message, name))
        elif self.layer == "Axpy":
            layer.bottom[1], layer.bottom[2] = layer.bottom[2], layer.bottom[1]

    def _is_in(self, version: str) -> bool:
        found = _numbers(version)
        return (not self.first or found >= _numbers(self.first)) and (
            not self.last or found <= _numbers(self.last)
        )


@cache
def differences() -> tuple[Difference, ...]:
    """Return what is known of OpenCV's differences from Caffe."""
    entries = tomllib.loads(_DIFFERENCES.read_text())["difference"]
    return tuple(Difference(**{**entry, "same": tuple(entry.get("same", ()))}) for entry in entries)


def differing(layer: caffe.LayerParameter, version: str) -> list[Difference]:
    """Return what this version is known to do otherwise than Caffe for a layer."""
    return [one for one in differences() if one.applies(layer, version)]


def adapted(prototxt: str, place: str, version: str, *, as_it_is: bool = False) -> str:
    """Return the layers that the test phase runs, in the fields that OpenCV's importer reads.

    It takes no notice of phases (a layer for training is executed), and of an unknown field in
    a layer's parameters it makes defaults for all of that layer's other fields. Layers that it
    would compute otherwise are rewritten where that is possible, unless they are to stay.

    Args:
        prototxt: The network.
        place: Its name in errors.
        version: The version of OpenCV.
        as_it_is: Accept what this version computes otherwise.

    Raises:
        InvalidInputError: This version would compute something else, or cannot read a layer.
    """
    layers = topology.layers(parse(prototxt, place), place)
    check(layers, place, version, as_it_is=as_it_is)
    for layer in () if as_it_is else layers:
        for found in differing(layer, version):
            found.rewrite(layer)
    return "\n".join(written(layers))


def check(
    layers: Sequence[caffe.LayerParameter], place: str, version: str, *, as_it_is: bool = False
) -> None:
    """Check that a version of OpenCV reads the layers of a test phase and computes what Caffe does.

    With `as_it_is` it may compute something else.

    Raises:
        InvalidInputError: It would compute something else, or cannot read a layer; the error names
            `place`.
    """
    for layer in layers:
        for found in differing(layer, version):
            if found.unread or not (as_it_is or found.rewritten):
                raise InvalidInputError.at(
                    place,
                    topology.place(layer),
                    f"OpenCV {version} {found.effect}",
                    hint=_instead(layer, version),
                )


@dataclass(frozen=True, kw_only=True)
class OnnxDifference:
    """What OpenCV computes otherwise of an ONNX model: an entry of differences.toml.

    Attributes:
        operator: The operator type.
        attribute: The attribute whose value matters.
        same: The values with which the results are the same.
        padded: Whether results differ only where the operator has padding.
        effect: What OpenCV does.
    """

    operator: str
    attribute: str
    effect: str
    same: tuple[int, ...] = ()
    padded: bool = False

    def applies(self, operator: Operator) -> bool:
        """Return whether OpenCV computes something else for the operator."""
        value = operator.integers.get(self.attribute, ())
        if operator.type != self.operator or not value or value[0] in self.same:
            return False
        padding = operator.texts.get("auto_pad", _NO_PADDING).startswith("SAME")
        return not self.padded or padding or any(operator.integers.get("pads", ()))


@cache
def onnx_differences() -> tuple[OnnxDifference, ...]:
    """Return what is known of OpenCV's differences from ONNX."""
    entries = tomllib.loads(_DIFFERENCES.read_text())["onnx"]
    return tuple(
        OnnxDifference(**{**entry, "same": tuple(entry.get("same", ()))}) for entry in entries
    )


def check_onnx(contents: Contents, place: str, version: str) -> None:
    """Check that OpenCV computes what an ONNX model means, as far as it is known.

    Raises:
        InvalidInputError: It would compute something else, or cannot read the model; the error
            names `place`.
    """
    if contents.locations:
        raise InvalidInputError.at(
            place,
            None,
            f"OpenCV {version} does not read weights from files beside a model",
            hint="use --engine onnxruntime, or export the model into one file",
        )
    for number, operator in enumerate(contents.operators, start=1):
        for difference in onnx_differences():
            if difference.applies(operator):
                name = operator.name or f"number {number}"
                raise InvalidInputError.at(
                    place,
                    f"{operator.type} {name!r}",
                    f"OpenCV {version} {difference.effect}",
                    hint="use --engine onnxruntime",
                )


def written(layers: Sequence[caffe.LayerParameter]) -> Iterator[str]:
    """Yield each layer as OpenCV's importer reads it."""
    for layer in layers:
        stock = caffe.LayerParameter()
        stock.CopyFrom(layer)
        stock.ClearField("include")
        stock.ClearField("exclude")
        own = ""
        if layer.type in _DEPTHWISE:
            # The same convolution, in the type that OpenCV has.
            stock.type = "Convolution"
            if layer.convolution_param.group == 1:
                stock.convolution_param.group = layer.convolution_param.num_output
        if layer.pooling_param.HasField("round_mode"):
            ceiling = layer.pooling_param.round_mode == caffe.PoolingParameter.CEIL
            stock.ClearField("pooling_param")
            pooling = caffe.PoolingParameter()
            pooling.CopyFrom(layer.pooling_param)
            pooling.ClearField("round_mode")
            fields = f"{text_format.MessageToString(pooling)}ceil_mode: {str(ceiling).lower()}"
            own = f"pooling_param {{ {fields} }}\n"
        if fork := forks.LAYERS.get(layer.type):
            stock.ClearField("python_param")
            if fork.field:
                message = forks.parameters(layer)
                if layer.type == "PriorBox":
                    # Without the field OpenCV clips, and the fork does not.
                    message.clip = message.clip
                own = f"{fork.field} {{ {text_format.MessageToString(message)} }}\n"
        yield f"layer {{ {text_format.MessageToString(stock)}{own} }}"


def values_inside(layers: Sequence[caffe.LayerParameter]) -> dict[topology.Source, tuple[str, int]]:
    """Return the name that the importer gives the layer of each blob, and the number of its top.

    Of layers with one name the later ones get a number, and a Convolution is one layer for each
    top, with that blob's name (populateNet in OpenCV's caffe_importer.cpp).
    """
    found = {}
    seen: Counter[str] = Counter()
    for position, layer in enumerate(layers):
        name = layer.name + (f"_{seen[layer.name]}" if seen[layer.name] else "")
        seen[layer.name] += 1
        for top, blob in enumerate(layer.top):
            is_convolution = layer.type in ("Convolution", *_DEPTHWISE)
            if layer.type != "Input":
                found[position, top] = (blob, 0) if is_convolution else (name, top)
    return found


def _instead(layer: caffe.LayerParameter, version: str) -> str:
    """Return what runs a layer that this version does not run as Caffe does."""
    from pibench.engines.opencv import VERSIONS  # noqa: PLC0415  (it imports this module)

    for other in VERSIONS:
        if other != version and all(one.rewritten for one in differing(layer, other)):
            return f"use --engine opencv=={other}"
    return "use --engine onnxruntime or ncnn, or caffe"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
