"""Recognise, by its first bytes or words, a file that is something else than a Caffe network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pibench.engines import wire

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = tuple[str, str]
"""What a file is, and what to do."""

TFLITE: Final = "a TensorFlow Lite model"
_RUN_IT: Final = "pibench run takes it under a name that ends in .onnx or .tflite"
_CONVERT: Final = "pibench runs prototxts, ONNX and TFLite models: convert it to one of these"
_UNPACK: Final = "unpack it, and name the prototxt"
_NAME: Final = "name the network's prototxt"
_DOWNLOAD: Final = "download the file itself (of GitHub, the raw one)"

_PICKLE: Final = ("a Python pickle, such as a PyTorch model", _CONVERT)
_PICTURE: Final = ("a picture", _NAME)
_STARTS: Final[dict[bytes, Kind]] = {
    rb"\x89HDF\r\n\x1a\n": ("an HDF5 file, such as a Keras model", _CONVERT),
    rb"\x80[\x02-\x05]": _PICKLE,
    rb"PK\x03\x04.{0,4096}?data\.pkl": ("a PyTorch model", _CONVERT),
    rb"PK\x03\x04.{0,4096}?(config\.json|model\.weights\.h5)": ("a Keras model", _CONVERT),
    rb"PK\x03\x04": ("a zip archive", _UNPACK),
    rb"\x1f\x8b|BZh|\xfd7zXZ": ("a compressed file", _UNPACK),
    rb".{257}ustar": ("a tar archive", _UNPACK),
    rb".{4}TFL3": (TFLITE, _RUN_IT),
    rb"\x93NUMPY": ("a NumPy array", _NAME),
    rb"\x89PNG|\xff\xd8\xff": _PICTURE,
    rb"version https://git-lfs": (
        "a Git LFS pointer, not the file itself", "fetch the file: git lfs pull",
    ),
    rb"404: Not Found": ("a web server's error message", _DOWNLOAD),
    rb"7767517\s": ("an ncnn model", "give the prototxt that it was made from, with --engine ncnn"),
}  # fmt: skip
"""The kind of a file, by a pattern of its first bytes."""
_TEXT_STARTS: Final[dict[bytes, Kind]] = {
    rb"(?i)\s*<(!doctype html|html|head|!--)": ("an HTML page", _DOWNLOAD),
    rb"\s*<": ("XML, such as an OpenVINO model", _CONVERT),
    rb"\s*\{": ("JSON", _CONVERT),
    rb"(\s*#[^\n]*\n)*\s*\[(net|network)\]\s*\n": ("a Darknet model", _CONVERT),
}
"""The same, of text: a caffemodel whose name has 60 characters starts with a line feed and `<`."""

CAFFEMODEL: Final = (
    "a caffemodel (binary weights), not a prototxt (text)",
    "give the prototxt as the network and this file with --weights",
)

_ENOUGH: Final = 12
"""Fields of a message that show its kind."""


def of_bytes(raw: bytes) -> Kind | None:
    """Return the kind of a file that starts with `raw`; None if it may be a prototxt."""
    content = raw.removeprefix(b"\xef\xbb\xbf")
    patterns = _STARTS if _starts_as_caffemodel(raw) else _STARTS | _TEXT_STARTS
    for pattern, kind in patterns.items():
        if _begins(pattern, content):
            return kind
    return _of_message(raw)


def of_start(raw: bytes) -> str | None:
    """Return what a file is that starts with `raw`; None where no pattern shows it."""
    patterns = _STARTS | _TEXT_STARTS
    return next((kind for start, (kind, _) in patterns.items() if _begins(start, raw)), None)


def _begins(pattern: bytes, content: bytes) -> bool:
    return re.match(pattern, content, re.DOTALL) is not None


def _of_message(raw: bytes) -> Kind | None:
    """Return the kind of a binary protobuf message."""
    found: list[wire.Field] = []
    try:
        for field in wire.fields(raw, 0, len(raw)):
            found.append(field)
            if len(found) == _ENOUGH:
                break
    except wire.CorruptError:
        # The last field may be longer than `raw`, or it is text.
        pass
    numbers = [field.number for field in found]
    contents = [raw[field.start : field.end] for field in found]
    varints = [field.number for field in found if field.kind == wire.VARINT]
    if varints[:4] == [1, 2, 3, 4] or (numbers == [5, 7] and not varints):
        return "a blob, such as the mean image of a data set (binaryproto)", _NAME
    if varints[:1] == numbers[:1] == [1] and found[0].value <= 64:
        if len(found) > 1 and numbers[1] == 2 and not _is_text(contents[1]):
            return "a TensorFlow SavedModel", _CONVERT
        if len(found) > 1 and numbers[1] in (2, 3, 4, 6, 7, 8):
            return "an ONNX model", _RUN_IT
    if numbers[:1] == [1] and contents[0].startswith(b"\n") and _is_node(contents[0]):
        return "a TensorFlow graph", _CONVERT
    return CAFFEMODEL if _starts_as_caffemodel(raw) else None


def _is_node(message: bytes) -> bool:
    """Return whether a message starts like TensorFlow's NodeDef: name, operation."""
    try:
        fields = list(wire.fields(message, 0, len(message)))
    except wire.CorruptError:
        return False
    texts = [message[field.start : field.end] for field in fields[:2]]
    return [field.number for field in fields[:2]] == [1, 2] and all(map(_is_text, texts))


def _is_text(content: bytes) -> bool:
    return content.isascii() and content.decode("ascii").isprintable()


def _starts_as_caffemodel(raw: bytes) -> bool:
    """Return whether `raw` starts like a binary NetParameter: with its name or its first layer.

    0x0A is field 1 (name), 0x12 field 2 (V1 layers), 0xA2 0x06 field 100 (layer). 0x0A is also a
    line feed, so control characters must follow within the first bytes.
    """
    if not raw.startswith((b"\x0a", b"\x12", b"\xa2\x06")):
        return False
    return any(byte < 9 or 13 < byte < 32 for byte in raw[1:4096])


# Text with the syntax of a prototxt

_SOLVER: Final = frozenset(
    {"base_lr", "lr_policy", "max_iter", "net", "net_param", "snapshot_prefix", "solver_mode",
     "test_iter", "test_net", "train_net"}
)  # fmt: skip
_OTHERS: Final = {
    "item": "a map of labels",
    "node": "a TensorFlow graph as text",
    "model": "a configuration of TensorFlow's object detection",
}


def of_fields(fields: Mapping[str, str]) -> Kind | None:
    """Return the kind of a text without layers by its top-level fields that a network lacks."""
    if not _SOLVER.isdisjoint(fields):
        names = ("net", "train_net", "test_net")
        nets = dict.fromkeys(fields[name].strip("\"'") for name in names if name in fields)
        if nets:
            return "a solver", f"its network is {' and '.join(nets)}"
        return "a solver", "write the network that it contains into a file of its own"
    kind = next((kind for name, kind in _OTHERS.items() if name in fields), None)
    return (kind, _NAME if "item" in fields else _CONVERT) if kind else None
