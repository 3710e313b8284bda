"""A user's own model file: what it declares of itself, read in place and without running it.

The file is not trusted. Readers walk the bytes of the mapped file within limits, and never copy
weights.
"""

from __future__ import annotations

import math
import mmap
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from pibench.engines.wire import CorruptError
from pibench.errors import InvalidInputError
from pibench.file_io import size_bytes, unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FileFormat = Literal["onnx", "tflite"]
FORMATS: Final[tuple[FileFormat, ...]] = get_args(FileFormat)
LABELS: Final[dict[FileFormat, str]] = {"onnx": "ONNX", "tflite": "TFLite"}
"""The format's name in messages; a file's name ends in the format's own."""
LONGEST_NAME: Final = 1000
"""The characters of an input's or output's name."""
LONGEST_TEXT: Final = 1 << 16
"""The bytes of any text that is read."""
MOST_AXES: Final = 32
MOST_ELEMENTS: Final = 1 << 53
"""The elements of all constants: far more than any file has."""
MOST_VALUES: Final = 2**31 - 1
"""The values of an input: those of the largest blob that records have."""
MOST_ENDS: Final = 500
"""Inputs and outputs of a model together."""

_PROTOTXT: Final = re.compile(rb"^\s*(layers?|input|input_shape|name)\s*[:{]", re.MULTILINE)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Dim = int | str
"""A dimension: a size, or what the file calls one that is not known; may be empty."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output as the file declares it.

    Attributes:
        name: Its name.
        type: NumPy's name of the element type, or what the file has in place of one, such as
            "string" or "sequence".
        dims: Its dimensions; None where the file does not have their number.
    """

    name: str
    type: str
    dims: tuple[Dim, ...] | None


@dataclass(frozen=True, kw_only=True)
class Operator:
    """An operator of an ONNX graph: its type, its name, and its attributes of integers and text."""

    type: str
    name: str
    integers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a model file declares.

    Attributes:
        inputs: Its inputs in order, without those that have a value in the file.
        outputs: Its outputs in order.
        parameter_count: The elements of all constants.
        operators: The operators of an ONNX model, those of subgraphs too.
        locations: The files with weights beside the model, as it names them.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parameter_count: int
    operators: tuple[Operator, ...] = ()
    locations: tuple[str, ...] = ()


def format_of(path: Path | str) -> FileFormat | None:
    """Return the format that the ending of a file's name means; None for another, or a folder."""
    ending = Path(path).suffix.removeprefix(".").lower()
    if ending in FORMATS and os.path.isdir(path):  # noqa: PTH112  (also for a name no file has)
        return None
    return next((one for one in FORMATS if one == ending), None)


def article(form: FileFormat) -> str:
    """Return the format's label with its article: "an ONNX model"."""
    return f"{'an' if form == 'onnx' else 'a'} {LABELS[form]} model"


def read(path: Path, form: FileFormat) -> Contents:
    """Read what a model file declares; its weights are not read.

    Raises:
        InvalidInputError: The file is missing, cut short, not of this format, or beyond a limit.
    """
    from pibench.engines.formats import onnx, tflite  # noqa: PLC0415  (they import this module)

    if not size_bytes(path, "model file"):
        raise InvalidInputError.at(path, None, "is empty", hint="export or copy it again")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = onnx.read(data) if form == "onnx" else tflite.read(data)
    except CorruptError as error:
        raise _other_kind(path, form) or InvalidInputError.at(
            path,
            f"byte {error.offset}",
            f"is not {article(form)} that can be read ({error.problem})",
            hint="export or copy it again",
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None
    return found


def _other_kind(path: Path, form: FileFormat) -> InvalidInputError | None:
    """Return the error for a file of another kind that its first bytes show."""
    from pibench.engines.caffe import foreign  # noqa: PLC0415  (only in case of an error)

    with path.open("rb") as file:
        start = file.read(4096)
    if _PROTOTXT.search(start):
        return InvalidInputError.at(
            path, None, "is the prototxt of a Caffe network", hint="rename it: NAME.prototxt"
        )
    kind = foreign.of_start(start)
    if kind is None or (form == "tflite" and kind == foreign.TFLITE):
        return None
    return InvalidInputError.at(
        path, None, f"is {kind}, not {article(form)}", hint="name the model's file"
    )


def elements(dims: Sequence[int], offset: int) -> int:
    """Return the elements of a constant. Raises CorruptError for one that no file can have."""
    if len(dims) > MOST_AXES or any(dim < 0 for dim in dims):
        raise CorruptError(offset, "a constant with dimensions that cannot be")
    found = math.prod(dims)
    if found > MOST_ELEMENTS:
        raise CorruptError(offset, f"a constant of {found} elements")
    return found


def text(data: mmap.mmap | bytes, start: int, end: int) -> str:
    """Return a text of the file. Raises CorruptError."""
    if end - start > LONGEST_TEXT:
        raise CorruptError(start, f"a text of {end - start} bytes")
    try:
        return bytes(data[start:end]).decode()
    except UnicodeDecodeError:
        raise CorruptError(start, "a text that is not UTF-8") from None


def checked(
    inputs: list[Tensor], outputs: list[Tensor], offset: int
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return inputs and outputs that are within the limits.

    Raises:
        CorruptError: There are no outputs, or too many, or a name is too long, not unique, or not
            a line of text.
    """
    if not outputs:
        raise CorruptError(offset, "it has no outputs")
    if len(inputs) + len(outputs) > MOST_ENDS:
        raise CorruptError(offset, f"more than {MOST_ENDS} inputs and outputs")
    for ends in (inputs, outputs):
        names = [end.name for end in ends]
        for end in ends:
            if not end.name or len(end.name) > LONGEST_NAME:
                raise CorruptError(offset, f"a name of {len(end.name)} characters")
            if _CONTROL.search(end.name):
                raise CorruptError(offset, f"a name with a control character: {end.name!r}")
            if names.count(end.name) > 1:
                raise CorruptError(offset, f"two inputs or outputs called {end.name!r}")
            if end.dims is not None and len(end.dims) > MOST_AXES:
                raise CorruptError(offset, f"{end.name!r} has more than {MOST_AXES} dimensions")
    return tuple(inputs), tuple(outputs)
