"""Find the size of what a data layer gives: the file has it where the layer's own fields set it.

Each type sets the shape of its first top by other fields (src/caffe/layers/*_data_layer.cpp and
data_transformer.cpp). What only the database or the files have is not known here.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from pibench.engines.caffe import outline, topology
from pibench.engines.caffe.shapes.rules import SHAPES_IN_FILES, SHAPES_IN_FILES_HINT
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pibench.engines.caffe import caffe_pb2 as caffe
    from pibench.engines.caffe.outline import UnknownField

Size = tuple[int, int]
"""Height and width."""

_COLOUR_CHANNELS: Final = 3
ASSUMED_CHANNELS: Final = (_COLOUR_CHANNELS, 1, 2, 4, 6)
"""Where only the data has the number: colour, else gray, two gray, colour and depth, two colour."""
_SIDE: Final = r"\b(?:new_)?{}\s*:\s*([0-9]{{1,9}})\b"


def sizes(text: str, unknown: Sequence[UnknownField]) -> dict[int, Size]:
    """Return the image sizes in fields of forks, by the index of the layer that has them.

    They are the SSD fork's `resize_param` and messages such as SegNet's `dense_image_data_param`.
    """
    found: dict[int, Size] = {}
    index: dict[tuple[str, int], int] = {}
    opened: Counter[str] = Counter()
    for name in outline.top_level_messages(outline.tokens(text)) if unknown else ():
        if name in ("layer", "layers"):
            index[name, opened[name]] = len(index)
            opened[name] += 1
    for field in unknown:
        message = text[field.start : field.end]
        resized = field.name == "resize_param" and "FIT_SMALL_SIZE" not in message
        if not (resized or field.name.endswith("_data_param")):
            continue
        height, width = (re.search(_SIDE.format(side), message) for side in ("height", "width"))
        if height and width and field.within in index:
            # Of several sizes to train with, the first is that of the network.
            found.setdefault(index[field.within], (int(height[1]), int(width[1])))
    return found


def image_dims(
    layer: caffe.LayerParameter, path: Path | str, given: Size | None, assumed: int
) -> tuple[tuple[int, int, int], str]:
    """Return channels, height and width of a data layer's first top, and a remark about them.

    `given` is the size to take in place of the file's, `assumed` the channels where only the data
    has them.

    Raises:
        InvalidInputError: Neither the file nor `given` has the size.
    """
    kind, place = layer.type, topology.place(layer)
    if kind in SHAPES_IN_FILES:
        raise InvalidInputError.at(
            path,
            place,
            f"the shapes of {kind} are in the files that it reads",
            hint=SHAPES_IN_FILES_HINT,
        )
    memory = layer.memory_data_param
    if kind == "MemoryData":
        if not (memory.channels and memory.height and memory.width):
            raise InvalidInputError.at(
                path,
                place,
                "memory_data_param lacks channels, height or width",
                hint="give all three",
            )
        return (memory.channels, memory.height, memory.width), ""
    size = given or _size(layer)
    if size is None:
        fields = {
            "ImageData": "new_height and new_width, or crop_size",
            "WindowData": "crop_size, which Caffe requires",
        }
        lacking = f"no {fields.get(kind, 'crop_size')}"
        if kind == "Python":
            lacking = "its code decides"
        raise InvalidInputError.at(
            path,
            place,
            f"the file does not state the image size of {kind}: {lacking}",
            hint="give it: --input HxW, or put an Input layer there",
        )
    channels = _channels(layer)
    if channels:
        return (channels, *size), ""
    why = "the data decides"
    if assumed != _COLOUR_CHANNELS:
        why += f", but the layers after it cannot take {_COLOUR_CHANNELS}"
    return (assumed, *size), f" ({assumed} channel{'s' * (assumed > 1)} assumed: {why})"


def _size(layer: caffe.LayerParameter) -> Size | None:
    """Return the image size that the layer's own fields set."""
    image, crop = layer.image_data_param, layer.transform_param.crop_size
    if crop:
        return crop, crop
    if layer.type in ("Data", "WindowData") or not (image.new_height and image.new_width):
        return None
    return image.new_height, image.new_width


def _channels(layer: caffe.LayerParameter) -> int | None:
    """Return the number of channels; None if only the data has it."""
    transform, images = layer.transform_param, layer.image_data_param
    # Forks' data layers with this message read images as ImageData does, whose default is colour.
    if layer.type == "ImageData" or images.HasField("is_color"):
        return _COLOUR_CHANNELS if images.is_color else 1
    if layer.type == "Data" and transform.force_gray:
        return 1
    if layer.type == "Data" and transform.force_color:
        return _COLOUR_CHANNELS
    # One value is for all channels, several are one for each.
    return len(transform.mean_value) if len(transform.mean_value) > 1 else None
