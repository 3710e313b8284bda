"""The layers of Caffe's forks that pibench implements, and how stock Caffe's parser reads them.

Stock Caffe's schema lacks the forks' parameter messages. The text of `python_param`, which only a
layer of type Python reads otherwise, carries the fields to the library in `qemu/caffe-layers`:

    permute_param { order: 0 order: 2 }
    python_param { layer: "permute_param" param_str: "order: 0 order: 2" }
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import descriptor_pool, message_factory, text_format

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import outline
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

    from pibench.engines.caffe.outline import UnknownField


@dataclass(frozen=True)
class ForkLayer:
    """A layer type of a fork: the fork's name, and the field that has its parameters."""

    origin: str
    field: str = ""


_SSD: Final = "SSD"
LAYERS: Final[dict[str, ForkLayer]] = {
    "Axpy": ForkLayer("SENet"),
    "BN": ForkLayer("SegNet and PSPNet", "bn_param"),
    "BReLU": ForkLayer("DehazeNet", "brelu_param"),
    "BoxGroupOutput": ForkLayer("Cascade R-CNN", "box_group_output_param"),
    "BoxOutput": ForkLayer("MS-CNN", "box_output_param"),
    "CTCGreedyDecoder": ForkLayer("text recognition", "ctc_decoder_param"),
    "ContinuationIndicator": ForkLayer("CRNN", "continuation_indicator_param"),
    "ConvolutionDepthwise": ForkLayer("depthwise"),
    "CropCenter": ForkLayer("Synopsys", "crop_center_param"),
    "DecodeBBox": ForkLayer("Cascade R-CNN", "bbox_reg_param"),
    "DepthwiseConvolution": ForkLayer("depthwise"),
    "DetectionOutput": ForkLayer(_SSD, "detection_output_param"),
    "HardSigmoid": ForkLayer("MobileNet V3"),
    "HardSwish": ForkLayer("MobileNet V3"),
    "Interp": ForkLayer("DeepLab and PSPNet", "interp_param"),
    "Lstm": ForkLayer("text recognition", "lstm_param"),
    "Mish": ForkLayer("YOLO"),
    "Mul": ForkLayer("Synopsys", "mul_param"),
    "Normalize": ForkLayer(_SSD, "norm_param"),
    "PSROIPooling": ForkLayer("R-FCN", "psroi_pooling_param"),
    "Permute": ForkLayer(_SSD, "permute_param"),
    "PriorBox": ForkLayer(_SSD, "prior_box_param"),
    "PriorBoxClustered": ForkLayer("Intel", "prior_box_param"),
    "Proposal": ForkLayer("Faster R-CNN", "proposal_param"),
    "ROIPooling": ForkLayer("Fast R-CNN", "roi_pooling_param"),
    "ReLU6": ForkLayer("MobileNet", "relu6_param"),
    "Reorg": ForkLayer("YOLO", "reorg_param"),
    "ResizeBilinear": ForkLayer("Synopsys", "resize_bilinear_param"),
    "ResizeNearestNeighbor": ForkLayer("Synopsys", "resize_nearest_neighbor_param"),
    "Reverse": ForkLayer("CRNN", "reverse_param"),
    "ShuffleChannel": ForkLayer("ShuffleNet", "shuffle_channel_param"),
    "SpatialDropout": ForkLayer("ENet", "spatial_dropout_param"),
    "Squeeze": ForkLayer("Synopsys", "squeeze_param"),
    "Transpose": ForkLayer("text recognition", "transpose_param"),
    "UnPooling": ForkLayer("DeconvNet", "unpooling_param"),
    "Unpooling": ForkLayer("DeconvNet", "unpooling_param"),
    "Upsample": ForkLayer("SegNet", "upsample_param"),
    "YoloDetectionOutput": ForkLayer("YOLO", "yolo_detection_output_param"),
    "Yolov3DetectionOutput": ForkLayer("YOLO", "yolov3_detection_output_param"),
}

FIELDS: Final = {
    fork.field: [kind for kind, other in LAYERS.items() if other.field == fork.field]
    for fork in LAYERS.values()
    if fork.field
}
"""The fields with the parameters of these layers, and the layer types that each belongs to."""
_PYTHON: Final[dict[tuple[str, str], tuple[str, dict[str, str]]]] = {
    ("proposal_layer", "ProposalLayer"): (
        "Proposal",
        {"feat_stride": "feat_stride", "scales": "scale", "ratios": "ratio"},
    ),
    ("spatial_dropout", "SpatialDropoutLayer"): ("SpatialDropout", {"p": "p", "phase": "train"}),
}
"""Python layers by module and class: the type of the same layer here, and its fields."""
_PROPOSAL_BOTTOMS: Final = 3
"""Scores, deltas, and the size of the image."""
_BOUNDED: Final = frozenset({"BoxGroupOutput", "BoxOutput", "Proposal"})
"""Layers whose number of results depends on the data."""
_LEFT_OUT: Final = frozenset({"save_output_param", "label_map_file", "save_file", "engine"})
"""Fields that write files, or choose between implementations."""
_REGRESSION: Final = "bbox_reg_param"
"""A second message of a layer: it becomes a field of the first."""
_UNKNOWN_FIELD: Final = re.compile(r'Message type "\w+" has no field named "(\w+)"')


def label(layer: caffe.LayerParameter) -> str | None:
    """Return the remark that belongs to every figure of a layer; None for a stock layer."""
    if (fork := LAYERS.get(layer.type)) is None:
        return None
    most = "; the most regions that it can find" if layer.type in _BOUNDED else ""
    return f"{fork.origin}-fork layer, implemented by pibench{most}"


def is_known(field: UnknownField) -> bool:
    """Return whether an unknown field is a parameter message of one of these layers."""
    return field.parent == "layer" and field.name in FIELDS and not field.value


def as_stock(text: str, fields: Sequence[UnknownField], path: Path | str) -> str:
    """Return `text` with these messages, all of which `is_known`, as stock Caffe reads them.

    The number of lines stays, for messages about what follows.

    Raises:
        InvalidInputError: A message has a field that the fork lacks, or a wrong value.
    """
    pieces, before = [], 0
    hosts = {field.within: field.name for field in fields if field.name != _REGRESSION}
    inside = {
        field.within: text[field.start : field.end] for field in fields if field.name == _REGRESSION
    }
    found: set[tuple[tuple[str, int], str]] = set()
    for field in fields:
        source = text[field.start : field.end]
        blank = "\n" * source.count("\n")
        if (field.within, field.name) in found:
            raise InvalidInputError.at(
                path, f"line {field.line}", f"a second {field.name}", hint="keep one of them"
            )
        found.add((field.within, field.name))
        host = hosts.get(field.within) if field.name == _REGRESSION else None
        marks = [token for token in outline.tokens(source) if token.kind == "mark"]
        opened = next((mark.end for mark in marks if mark.text in "{<"), 0)
        closed = max((mark.start for mark in marks if mark.text in "}>"), default=0)
        try:
            if not opened:
                raise ValueError("has no { }")
            message = _parsed(field.name, source[opened:closed])
            if host and _REGRESSION not in _message(host).DESCRIPTOR.fields_by_name:
                raise ValueError(f"goes with other layers, not with {host}")
            if field.name != _REGRESSION and field.within in inside:
                # Where it is wrong, its own turn tells so.
                with suppress(*_UNREADABLE):
                    message = _parsed(
                        field.name, f"{source[opened:closed]}\n{inside[field.within]}"
                    )
        except _UNREADABLE as error:
            line = field.line + (getattr(error, "GetLine", lambda: 1)() or 1) - 1
            line += source.count("\n", 0, opened)
            what = _why(error)
            if unknown := _UNKNOWN_FIELD.match(what):
                problem = f"the {field.name} that pibench implements has no field '{unknown[1]}'"
                hint = "correct the name, or take it out"
            else:
                problem, hint = f"{field.name}: {what}", "correct the line"
            raise InvalidInputError.at(path, f"line {line}", problem, hint=hint) from None
        if host:
            pieces += [text[before : field.start], blank]
            before = field.end
            continue
        one_line = text_format.MessageToString(_carried(field.name, message), as_one_line=True)
        pieces += [text[before : field.start], f"python_param {{ {one_line} }}{blank}"]
        before = field.end
    return "".join(pieces) + text[before:]


_UNREADABLE: Final = (text_format.ParseError, ValueError, RecursionError)
"""What `_parsed` raises for bad text."""


def _parsed(field: str, text: str) -> Message:
    """Return the message of a field without those left out."""
    message: Message = text_format.Parse(text, _message(field))
    for name in _LEFT_OUT.intersection(message.DESCRIPTOR.fields_by_name):
        message.ClearField(name)
    written = text_format.MessageToString(message, as_one_line=True)
    if '"' in re.sub(r'"\w*"', "", written):
        # The library divides the text at blanks.
        raise ValueError(f"{written} has a text of several words")
    return message


def check(layer: caffe.LayerParameter) -> str:
    """Write a layer's parameters in the regular form; return what is wrong, empty if nothing is.

    A file can have them as `python_param` already.
    """
    if layer.type not in LAYERS or not (field := LAYERS[layer.type].field):
        return ""
    try:
        message = _parsed(field, layer.python_param.param_str)
    except _UNREADABLE as error:
        return f"python_param: {_why(error)}"
    if layer.HasField("python_param"):
        layer.python_param.CopyFrom(_carried(field, message))
    return ""


def _why(error: Exception) -> str:
    """Return the message of an error on one line, without position and package name."""
    text = str(error).replace("pibench.forks.", "").rpartition(" : ")[2]
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


def write_out(net: caffe.NetParameter) -> None:
    """Write into the file of a published network what its fork has in code.

    Python layers that pibench implements become its own: Faster R-CNN's proposals
    (rpn/proposal_layer.py), which are those of its test, 300 regions at most, and ENet's dropout
    (spatial_dropout.py), which names its phase itself. FaceBoxes' default boxes get their density.
    """
    _replace_python(net)
    _spread_boxes(net)


def _spread_boxes(net: caffe.NetParameter) -> None:
    """Write the density of FaceBoxes' default boxes, which a layer before them shows.

    Its fork has 16, 4 and 1 boxes of the three sizes of a PriorBox at each place: 84 numbers.
    """
    boxes = [(layer, parameters(layer)) for layer in net.layer if layer.type == "PriorBox"]
    if any(asked.aspect_ratio or asked.max_size or asked.density for _, asked in boxes):
        return
    heads = {
        (bottom, layer.convolution_param.num_output)
        for layer in net.layer
        if layer.type == "Convolution"
        for bottom in layer.bottom[:1]
    }
    if not any(
        len(asked.min_size) == len(_DENSITY)
        and (layer.bottom[0], 4 * sum(density**2 for density in _DENSITY)) in heads
        # 84 can be the scores of 28 classes too, beside the places of three boxes.
        and (layer.bottom[0], 4 * len(_DENSITY)) not in heads
        for layer, asked in boxes
        if layer.bottom
    ):
        return
    for layer, asked in boxes:
        sizes = len(asked.min_size)
        asked.density[:] = _DENSITY if sizes == len(_DENSITY) else [1] * sizes
        layer.python_param.CopyFrom(_carried("prior_box_param", asked))


_DENSITY: Final = (4, 2, 1)


def _replace_python(net: caffe.NetParameter) -> None:
    for layer in net.layer:
        given = layer.python_param
        kind, fields = _PYTHON.get((given.module.rpartition(".")[2], given.layer), ("", {}))
        if layer.type != "Python" or not kind:
            continue
        if kind == "Proposal" and len(layer.bottom) != _PROPOSAL_BOTTOMS:
            # Another layer of that name, such as one over several maps.
            continue
        words = []
        for theirs, name in fields.items():
            values = re.search(rf"\b{theirs}['\"]?\s*:([^:]*)", given.param_str)
            for value in re.findall(
                r"-?[0-9.]+(?:e[+-]?[0-9]+)?|TRAIN", values[1] if values else ""
            ):
                words.append(f"{name}: {'true' if value == 'TRAIN' else value}")
        message = _message(LAYERS[kind].field)
        try:
            text_format.Merge(" ".join(words), message)
        except _UNREADABLE:
            continue
        layer.type = kind
        layer.python_param.CopyFrom(_carried(LAYERS[kind].field, message))


def _carried(field: str, message: Message) -> caffe.PythonParameter:
    """Return a message as stock Caffe's parser takes it."""
    text = text_format.MessageToString(message, as_one_line=True)
    return caffe.PythonParameter(layer=field, param_str=text)


def parameters(layer: caffe.LayerParameter) -> Any:
    """Return the parameter message of a layer of LAYERS, with the fork's defaults."""
    return text_format.Parse(layer.python_param.param_str, _message(LAYERS[layer.type].field))


def _message(field: str) -> Any:
    """Return an empty message of the field's type."""
    return getattr(_layer_fields()(), field)


@cache
def _layer_fields() -> type[Message]:
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(Path(__file__).with_name("forks.binpb").read_bytes())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("pibench.forks.LayerFields"))


def mismatch(net: caffe.NetParameter) -> caffe.LayerParameter | None:
    """Return the first layer that has the parameter message of another layer type."""
    for layer in net.layer:
        if layer.type not in FIELDS.get(layer.python_param.layer, layer.type):
            return layer
    return None
