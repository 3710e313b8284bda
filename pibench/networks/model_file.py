"""A user's own model file, ONNX or TFLite: what runs, targets and records need to know of it."""

from __future__ import annotations

import hashlib
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, TypeAlias

from pibench.engines import formats
from pibench.errors import InvalidInputError
from pibench.file_io import size_bytes, unreadable
from pibench.networks.network import MAX_BATCH, Network, label, recorded, slug_of

if TYPE_CHECKING:
    from pibench.engines.formats import Contents, Dim, FileFormat, Tensor

Shape = tuple[int, ...]
Range = tuple[float, float]

RANGES: Final[dict[str, Range]] = {
    **dict.fromkeys(("float16", "float32", "float64"), (-1.0, 1.0)),
    "uint8": (0.0, 255.0),
    "int8": (-128.0, 127.0),
    # Wider integers are indices, masks and lengths: these two are valid in most models.
    **dict.fromkeys(("int16", "int32", "int64", "uint16", "uint32", "uint64", "bool"), (0.0, 1.0)),
}
"""The element types of inputs and outputs, by NumPy's names, and the range of seeded values."""
MOST_FILES: Final = 10_000
"""Files with weights beside a model: one for each tensor at most."""
_SHAPE: Final = re.compile(r"[1-9]\d{0,9}([,x][1-9]\d{0,9})*", re.ASCII)
_EXAMPLE: Final = {"image": 224, "other": 128}


@dataclass(frozen=True, kw_only=True)
class Input:
    """An input as it runs: its name, NumPy's name of its element type, and its shape."""

    name: str
    type: str
    shape: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelFile:
    """A model that an engine runs as it is.

    Attributes:
        path: The file.
        form: Its format.
        contents: What the file declares.
        inputs: Its inputs, with the shapes that run.
        shapes: The shape of each output by its name, None where the file leaves it open.
        data: The files with weights beside it, by the names that the model has for them.
        batch: The images per forward pass.
        assumptions: What was assumed about its inputs, one sentence each.
        input_size: The shapes that were given, as records have them; None if none were.
    """

    path: Path
    form: FileFormat
    contents: Contents
    inputs: tuple[Input, ...]
    shapes: Mapping[str, Shape | None]
    data: Mapping[str, Path]
    batch: int
    assumptions: tuple[str, ...]
    input_size: str | None

    # What a network of Caffe can have besides.
    entry: None = None
    weights: None = None
    repairs: tuple[str, ...] = ()
    fork_layers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name without its ending: the name in the file is often the exporter's."""
        return label(self.path.stem)

    @property
    def slug(self) -> str:
        """A name for file names."""
        return slug_of(self.path.stem)

    @property
    def source(self) -> str:
        """The path as it was given."""
        return str(self.path)

    @property
    def recorded_source(self) -> str:
        """The path as records have it."""
        return recorded(self.source)

    @property
    def place(self) -> str:
        """Its name in errors."""
        return self.source

    @cached_property
    def sha256(self) -> str:
        """The hash of the file, without the files beside it."""
        return _sha256(self.path)

    @cached_property
    def data_sha256(self) -> str | None:
        """The hash of the file with weights beside it; of several, of their list of hashes."""
        hashes = {name: _sha256(path) for name, path in sorted(self.data.items())}
        if len(hashes) < 2:
            return next(iter(hashes.values()), None)
        lines = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def leaves_sizes_open(self) -> bool:
        """Whether the file does not have all sizes of its inputs."""
        dims = [one.dims for one in self.contents.inputs]
        return any(one is None or any(isinstance(dim, str) for dim in one) for one in dims)

    @property
    def size_bytes(self) -> int:
        """The size of all its files."""
        return sum(path.stat().st_size for path in (self.path, *self.data.values()))


Runnable: TypeAlias = Network | ModelFile
"""What can be run: a network of Caffe, or a user's own model file."""


def load(
    path: Path | str,
    form: FileFormat,
    *,
    given: Sequence[str] = (),
    batch: int | None = None,
) -> ModelFile:
    """Read and check a model file; its weights are not read.

    Args:
        path: The file.
        form: Its format.
        given: Shapes of inputs, such as 1,3,224,224, or NAME=1,3,224,224 where it has several.
        batch: The first dimension of each input that leaves it open.

    Raises:
        InvalidInputError: The file cannot be read, a file beside it is missing or elsewhere, or
            an input has a type or a size that cannot be given values.
    """
    path = Path(path)
    contents = formats.read(path, form)
    for end in (*contents.inputs, *contents.outputs):
        if end.type not in RANGES:
            kind = "input" if end in contents.inputs else "output"
            raise InvalidInputError.at(
                path, f"{kind} {end.name!r}", f"pibench has no values of its type, {end.type}",
                hint="export the model without it",
            )  # fmt: skip
    asked = _asked(path, contents.inputs, given)
    sizes = _Sizes(path, _bound(contents.inputs, asked), batch)
    inputs = tuple(
        Input(name=one.name, type=one.type, shape=sizes.of_input(one, asked.get(one.name)))
        for one in contents.inputs
    )
    sizes.check_known()
    firsts = [("",) if one.dims is None else one.dims[:1] for one in contents.inputs]
    is_open = any(isinstance(dim, str) for first in firsts for dim in first)
    if batch not in (None, _batch_of(inputs)) and not is_open:
        raise InvalidInputError.at(
            path, None, f"batch {batch}: the file has a batch of {_batch_of(inputs)}",
            hint="omit --batch, or export the model with another",
        )  # fmt: skip
    size = None
    if asked:
        alone = len(inputs) == 1
        size = ", ".join(
            ("" if alone else f"{one.name}=") + "x".join(map(str, one.shape))
            for one in inputs
            if one.name in asked
        )
    return ModelFile(
        path=path,
        form=form,
        contents=contents,
        inputs=inputs,
        shapes={one.name: sizes.of_output(one) for one in contents.outputs},
        data=_data_files(path, contents.locations),
        batch=batch or _batch_of(inputs),
        assumptions=tuple(sizes.assumptions),
        input_size=size,
    )


def _batch_of(inputs: Sequence[Input]) -> int:
    """Return the images of the first input with four axes, 1 where there is none."""
    return next((one.shape[0] for one in inputs if len(one.shape) == 4), 1)


def _asked(path: Path, inputs: Sequence[Tensor], given: Sequence[str]) -> dict[str, Shape]:
    """Return the shapes that were given, by the names of the inputs."""
    found: dict[str, Shape] = {}
    names = [one.name for one in inputs]
    listed = ", ".join(names[:5]) or "none"
    for text in given:
        name, separator, sizes = text.rpartition("=")
        if (separator and not name) or not _SHAPE.fullmatch(sizes):
            raise InvalidInputError(
                f"--input {text!r} is not a shape", hint="give all dimensions: 1,3,224,224"
            )
        if not name and len(names) == 1:
            name = names[0]
        if name not in names:
            which = f"it has no input {name!r}" if name else f"it has {len(names)} inputs"
            raise InvalidInputError.at(
                path, None, f"--input {text}: {which}",
                hint=f"give NAME={sizes}; its inputs: {listed}",
            )  # fmt: skip
        found[name] = tuple(map(int, re.split("[,x]", sizes)))
    return found


def _bound(inputs: Sequence[Tensor], asked: Mapping[str, Shape]) -> dict[str, int]:
    """Return the sizes that given shapes have for dimensions with a name of their own."""
    found: dict[str, set[int]] = {}
    for one in inputs:
        for dim, size in zip(one.dims or (), asked.get(one.name, ()), strict=False):
            if isinstance(dim, str) and dim:
                found.setdefault(dim, set()).add(size)
    # Some exporters call every open dimension the same, such as "?".
    return {dim: sizes.pop() for dim, sizes in found.items() if len(sizes) == 1}


@dataclass
class _Sizes:
    """The sizes of a model's dimensions, as far as they are known."""

    path: Path
    bound: dict[str, int]
    batch: int | None

    def __post_init__(self) -> None:
        self.assumptions: list[str] = []
        # Inputs with sizes that nobody gave, and a shape as an example of each.
        self.unknown: list[tuple[Tensor, str]] = []
        if self.batch is not None and not 1 <= self.batch <= MAX_BATCH:
            raise InvalidInputError(
                f"batch {self.batch} is out of range", hint=f"give 1 to {MAX_BATCH}"
            )

    def of_input(self, one: Tensor, asked: Shape | None) -> Shape:
        """Return the shape of an input; one that is not known is left to `check_known`."""
        if asked is not None:
            self._compare(one, asked)
        shape = asked or self._declared(one)
        if math.prod(shape) > formats.MOST_VALUES:
            raise self._refused(one, f"more than {formats.MOST_VALUES} values")
        return shape

    def check_known(self) -> None:
        """Raise InvalidInputError with what to give for all inputs whose sizes are not known."""
        if self.unknown:
            first = self.unknown[0][0]
            problem = "the file does not have its size"
            if first.dims is not None:
                problem = f"the file leaves its size open: {_listed(first.dims)}"
            examples = " ".join(
                f"--input {shlex.quote(f'{one.name}={shape}')}" for one, shape in self.unknown
            )
            raise self._refused(first, problem, hint=f"give it, such as {examples}")

    def of_output(self, one: Tensor) -> Shape | None:
        """Return the shape of an output, None where a dimension depends on what is computed."""
        if one.dims is None:
            return None
        known = [dim if isinstance(dim, int) else self.bound.get(dim) for dim in one.dims]
        return tuple(size for size in known if size) if all(known) else None

    def _compare(self, one: Tensor, asked: Shape) -> None:
        shape = "x".join(map(str, asked))
        if one.dims is None:
            return
        if len(asked) != len(one.dims):
            raise self._refused(
                one, f"--input {shape}: it has {len(one.dims)} dimensions, {_listed(one.dims)}"
            )
        for number, (dim, size) in enumerate(zip(one.dims, asked, strict=True), start=1):
            if isinstance(dim, int) and dim != size:
                raise self._refused(
                    one, f"--input {shape}: its dimension {number} is {dim} in the file"
                )
        if self.batch is not None and asked[:1] != (self.batch,):
            raise self._refused(
                one, f"--input {shape} and --batch {self.batch} contradict each other"
            )

    def _declared(self, one: Tensor) -> Shape:
        """Return the shape that the file declares; an open first dimension is the batch."""
        dims = one.dims
        if dims is None:
            self.unknown.append((one, "1,3,224,224"))
            return ()
        sizes = [dim if isinstance(dim, int) else self.bound.get(dim) for dim in dims]
        is_open = bool(dims) and not isinstance(dims[0], int)
        if is_open and (self.batch is not None or sizes[0] is None):
            if self.batch is None and all(sizes[1:]):
                named = f", {dims[0]!r}," if dims[0] else ""
                self.assumptions.append(
                    f"input {one.name!r}: its first dimension{named} is open in the file; it runs "
                    "with 1 (--batch or --input sets it)"
                )
            first = sizes[0] = self.batch or 1
            if isinstance(dims[0], str) and dims[0]:
                self.bound.setdefault(dims[0], first)
        if None in sizes:
            example = _example(sizes)
            self.unknown.append((one, ",".join(map(str, example))))
            # The example counts for what has the same name in other inputs, as a given size does.
            for dim, size in zip(dims, example, strict=True):
                if isinstance(dim, str) and dim:
                    self.bound.setdefault(dim, size)
        return tuple(size for size in sizes if size is not None)

    def _refused(self, one: Tensor, problem: str, hint: str | None = None) -> InvalidInputError:
        return InvalidInputError.at(self.path, f"input {one.name!r}", problem, hint=hint)


def _listed(dims: Sequence[Dim]) -> str:
    return " x ".join(str(dim or "?") for dim in dims) or "a scalar"


def _example(sizes: Sequence[int | None]) -> Shape:
    """Return a shape with usual sizes in place of those that are missing."""
    usual = _EXAMPLE["image" if len(sizes) == 4 else "other"]
    if len(sizes) == 3 and sizes[0] not in (None, 1) and sizes[2]:
        # The state of a recurrent layer: directions, batch, units.
        usual = 1
    return tuple(size or usual for size in sizes)


def _data_files(path: Path, locations: Sequence[str]) -> dict[str, Path]:
    """Return the files with weights beside a model, all of them within its folder.

    Raises:
        InvalidInputError: One is missing, or is elsewhere: a model could name any file.
    """
    if len(locations) > MOST_FILES:
        raise InvalidInputError.at(path, None, f"more than {MOST_FILES} files with weights")
    folder, found = path.parent, {}
    for name in locations:
        parts = PurePosixPath(name)
        outside = parts.is_absolute() or ".." in parts.parts or not parts.parts
        outside |= name.endswith("/") or folder / parts == path
        if outside or "\\" in name or not name.isprintable() or len(name) > 500:
            raise InvalidInputError.at(
                path, None, f"its weights are in {name!r}, which is not a file beside it",
                hint="export it again, with the weights in one folder",
            )  # fmt: skip
        file = folder / parts
        try:
            size_bytes(file, "file with weights")
            inside = file.resolve().is_relative_to(folder.resolve())
        except InvalidInputError as error:
            raise InvalidInputError.at(
                path, None, f"its weights: {error.message}",
                hint="copy that file beside the model",
            ) from None  # fmt: skip
        if not inside:
            raise InvalidInputError.at(
                path, None, f"its weights are in {name}, a link to a file outside its folder",
                hint="copy the files themselves into one folder",
            )  # fmt: skip
        found[str(parts)] = file
    return found


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None
