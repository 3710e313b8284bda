"""Read, check and write weights files (caffemodel), and compute their size.

Files of 553 MB are usual, and parsing one into messages takes more than 1 GB: names and shapes are
therefore read by a walk over the bytes in place (an mmap), and values are written in pieces.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import struct
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING, BinaryIO, Final

from google.protobuf.message import DecodeError

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import shapes, topology
from pibench.engines.caffe.shapes import Shape, elements
from pibench.engines.wire import LENGTH, VARINT, CorruptError, Field, fields, prefix, read_varint
from pibench.errors import InvalidInputError
from pibench.file_io import size_bytes, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from pibench.engines.caffe.topology import Phase

# Field numbers of the schema (caffe.proto) that the walk over the bytes needs.
_NET_V1_LAYERS, _NET_LAYER, _LAYER_BLOBS = 2, 100, 7
_NAME_AND_BLOBS = {_NET_LAYER: (1, _LAYER_BLOBS), _NET_V1_LAYERS: (4, 6)}
_BLOB_LEGACY, _BLOB_DATA, _BLOB_SHAPE, _BLOB_DOUBLES = (1, 2, 3, 4), 5, 7, 8
_FLOAT_BYTES = 4
_HDF5_MAGIC = b"\x89HDF"
_PIECE_ELEMENTS = 1 << 20
_CLASSIFIER_GAIN = 0.01

_OTHER_NETWORK = "give the weights that belong to this network"


# Reading


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """The blobs that a weights file has for one layer."""

    name: str
    blobs: tuple[Shape, ...]
    legacy: tuple[bool, ...]
    """Whether the blob's shape is a legacy one: four numbers, padded with ones in front."""


def index(path: Path | str) -> list[StoredLayer]:
    """Return names and shapes of the layers with blobs in the weights file at `path`.

    Both generations are read: `layer` and the older `layers`.

    Raises:
        InvalidInputError: The file is missing, empty, truncated, or not a caffemodel.
    """
    return [layer for layer in _layers(Path(path)) if layer.blobs]


def _layers(path: Path) -> list[StoredLayer]:
    """Return all layers, including those without blobs."""
    size_bytes(path, "caffemodel")
    try:
        with path.open("rb") as file:
            _refuse_other_kinds(path, file)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _index(data)
    except CorruptError as error:
        raise InvalidInputError.at(
            path,
            f"byte {error.offset}",
            f"is an incomplete caffemodel ({error.problem})",
            hint="copy or download the file again",
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None


def _refuse_other_kinds(path: Path, file: BinaryIO) -> None:
    """Raise a specific error if the file is of another kind that users take for weights."""
    from pibench.engines.caffe import foreign  # noqa: PLC0415  (it walks messages as here)

    start = file.read(4096)
    problem = None
    if not start:
        problem = "is empty: it contains no weights"
    elif start.startswith(_HDF5_MAGIC):
        problem = "is an HDF5 file; pibench reads weights from caffemodel files"
    elif kind := foreign.of_bytes(start):
        problem = f"is {kind[0]}" if kind != foreign.CAFFEMODEL else None
    elif not any(byte < 9 or 13 < byte < 32 or byte > 126 for byte in start):
        problem = "is text, not a caffemodel (binary weights)"
    if problem:
        raise InvalidInputError.at(path, None, problem, hint="give a .caffemodel file")


def _index(data: mmap.mmap) -> list[StoredLayer]:
    found = []
    generation = None
    for field in fields(data, 0, len(data)):
        if field.number in _NAME_AND_BLOBS and field.kind == LENGTH:
            generation = generation or field.number
            if field.number != generation:
                # UpgradeV1Net aborts on a file with layers of both generations.
                raise CorruptError(field.start, "'layer' and the older 'layers' in one")
            found.append(_stored_layer(data, field))
    return found


def _stored_layer(data: mmap.mmap, message: Field) -> StoredLayer:
    name_number, blob_number = _NAME_AND_BLOBS[message.number]
    name = ""
    blobs: list[tuple[Shape, bool]] = []
    for field in fields(data, message.start, message.end):
        if field.kind != LENGTH:
            continue
        if field.number == name_number:
            name = data[field.start : field.end].decode("utf-8", "replace")
        elif field.number == blob_number:
            blobs.append(_stored_shape(data, field))
    return StoredLayer(
        name, tuple(shape for shape, _ in blobs), tuple(legacy for _, legacy in blobs)
    )


def _stored_shape(data: mmap.mmap, blob: Field) -> tuple[Shape, bool]:
    """Return a blob's shape, checked against its number of values, and whether it is legacy."""
    shape: list[int] | None = None
    legacy: dict[int, int] = {}
    values = doubles = 0
    for field in fields(data, blob.start, blob.end):
        if field.number in _BLOB_LEGACY and field.kind == VARINT:
            legacy[field.number] = field.value
        elif field.number == _BLOB_SHAPE and field.kind == LENGTH:
            shape = _dims(data, field)
        elif field.number == _BLOB_DATA:
            values += _count(field, _FLOAT_BYTES)
        elif field.number == _BLOB_DOUBLES:
            doubles += _count(field, 2 * _FLOAT_BYTES)
    # Blob::FromProto takes doubles where there are any.
    values = doubles or values
    if shape is None and not legacy and values == 1:
        # A scalar: Caffe writes no dimension, and so no shape.
        shape = []
    found = tuple(legacy.get(n, 0) for n in _BLOB_LEGACY) if shape is None else tuple(shape)
    if values != elements(found):
        raise CorruptError(blob.start, f"{values} values for a blob of {shapes.times(found)}")
    return found, shape is None


def _count(field: Field, each_bytes: int) -> int:
    """Return the number of values in the field; raise CorruptError if the last one is cut."""
    count, rest = divmod(field.end - field.start, each_bytes)
    # A number of another type is a field that the parser does not know, and skips.
    if rest and field.kind == LENGTH:
        raise CorruptError(field.start, f"{rest} bytes after the last whole value of a blob")
    return count


def _dims(data: mmap.mmap, message: Field) -> list[int]:
    dims = []
    for field in fields(data, message.start, message.end):
        if field.kind == VARINT:
            dims.append(field.value)
        elif field.kind == LENGTH:
            at = field.start
            while at < field.end:
                dim, at = read_varint(data, at, field.end)
                dims.append(dim)
    return dims


def read(path: Path | str) -> caffe.NetParameter:
    """Return the whole file as a message, with values and unknown fields.

    Takes two to three times the file's size in memory.

    Raises:
        InvalidInputError: As for `index`.
    """
    index(path)  # reports every error better than the parser does
    net = caffe.NetParameter()
    try:
        net.ParseFromString(Path(path).read_bytes())
    except DecodeError as error:
        raise InvalidInputError.at(
            path, None, f"is not a caffemodel ({error})", hint="give a .caffemodel file"
        ) from None
    return net


def mapped_values(path: Path | str) -> list[tuple[str, list[np.ndarray]]]:
    """Return name and values of each layer's blobs in the file, in order, without reading them.

    The values are flat arrays over the file itself: their memory is the kernel's page cache.

    Raises:
        InvalidInputError: As for `index`.
    """
    layers = _layers(Path(path))
    with Path(path).open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    messages = [
        field
        for field in fields(data, 0, len(data))
        if field.number in _NAME_AND_BLOBS and field.kind == LENGTH
    ]
    return [
        (
            layer.name,
            [
                _mapped(data, blob)
                for blob in fields(data, message.start, message.end)
                if blob.number == _NAME_AND_BLOBS[message.number][1] and blob.kind == LENGTH
            ],
        )
        for layer, message in zip(layers, messages, strict=True)
    ]


def _mapped(data: mmap.mmap, blob: Field) -> np.ndarray:
    import numpy as np  # noqa: PLC0415  (only conversions need it)

    found: dict[int, list[np.ndarray]] = {_BLOB_DATA: [], _BLOB_DOUBLES: []}
    for field in fields(data, blob.start, blob.end):
        if field.number in found:
            kind = np.dtype("<f4" if field.number == _BLOB_DATA else "<f8")
            size = (field.end - field.start) // kind.itemsize
            found[field.number].append(np.frombuffer(data, kind, size, field.start))
    # Blob::FromProto takes doubles where there are any.
    parts = found[_BLOB_DOUBLES] or found[_BLOB_DATA] or [np.zeros(0, np.float32)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


# Checking


def check_weights(net: caffe.NetParameter, path: Path | str, phase: Phase = "TEST") -> None:
    """Check that the weights file at `path` belongs to `net` in `phase`.

    Layers that are only in the file are accepted, such as training heads.

    Raises:
        InvalidInputError: No layer is shared, a blob of a shared layer has another shape (Caffe
            would abort), or a layer of `net` has no weights in the file (Caffe would silently keep
            its initial values).
    """
    layers = _layers(Path(path))
    stored = {layer.name for layer in layers if layer.blobs}
    inferred = shapes.infer(net, phase=phase)
    wanted = inferred.params
    if wanted and stored.isdisjoint(wanted):
        raise InvalidInputError.at(
            path,
            None,
            f"contains weights of another network: none of its {len(stored)} layers is one of "
            f"{net.name or 'this network'}'s",
            hint=_OTHER_NETWORK,
        )
    # Caffe copies by name: a name that occurs twice is copied twice, even to a layer without
    # parameters.
    names = {layer.name for layer in inferred.layers}
    for layer in layers:
        if layer.name in names:
            _compare(path, layer, wanted.get(layer.name, ()))
    missing = [name for name in wanted if name not in stored]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InvalidInputError.at(
            path, f"layer '{missing[0]}'{more}", "not in this file", hint=_OTHER_NETWORK
        )


def _compare(path: Path | str, stored: StoredLayer, wanted: tuple[Shape, ...]) -> None:
    place = f"layer '{stored.name}'"
    if len(stored.blobs) != len(wanted):
        raise InvalidInputError.at(
            path,
            place,
            f"the file has {len(stored.blobs)} blob(s), the network has {len(wanted)}",
            hint=_OTHER_NETWORK,
        )
    triples = zip(stored.blobs, stored.legacy, wanted, strict=True)
    for number, (shape, legacy, expected) in enumerate(triples):
        # Legacy shapes always have four numbers: a bias of 96 is 1 x 1 x 1 x 96.
        padded = (1,) * (4 - len(expected)) + expected if legacy else expected
        if shape != padded:
            raise InvalidInputError.at(
                path,
                place,
                f"blob {number} is {shapes.times(shape)} where the network has "
                f"{shapes.times(expected)}",
                hint=_OTHER_NETWORK,
            )


# Sizes and writing


def _blob_head(shape: Shape) -> bytes:
    """Return a BlobProto up to its values, which follow as little-endian floats."""
    head = caffe.BlobProto(shape=caffe.BlobShape(dim=shape)).SerializeToString()
    return head + prefix(_BLOB_DATA, _FLOAT_BYTES * elements(shape))


def _blob_bytes(shape: Shape) -> int:
    return len(_blob_head(shape)) + _FLOAT_BYTES * elements(shape)


def _layer_head(layer: caffe.LayerParameter) -> bytes:
    """Return the layer without blobs, as Caffe stores it beside them.

    Caffe adds the phase, and for BatchNorm that its three parameters are not learned.
    """
    bare = deepcopy(layer)
    bare.ClearField("blobs")
    bare.phase = caffe.TEST
    if layer.type == "BatchNorm":
        for _ in range(len(bare.param), 3):
            bare.param.add(lr_mult=0.0)
    return bare.SerializeToString(deterministic=True)


@dataclass(frozen=True)
class _Entry:
    """One layer of the file to write: its head, and the shapes of its blobs."""

    layer: caffe.LayerParameter
    head: bytes
    blobs: tuple[Shape, ...]

    @property
    def body_bytes(self) -> int:
        blobs = (_blob_bytes(shape) for shape in self.blobs)
        return len(self.head) + sum(len(prefix(_LAYER_BLOBS, size)) + size for size in blobs)


def _entries(net: caffe.NetParameter, phase: Phase) -> Iterator[_Entry]:
    """Yield the layers that Caffe would store, Splits included, in order."""
    found = shapes.infer(net, phase=phase)
    for layer in topology.insert_splits(list(found.layers)):
        yield _Entry(layer, _layer_head(layer), found.params.get(layer.name, ()))


def file_size_bytes(net: caffe.NetParameter, phase: Phase = "TEST") -> int:
    """Return the size of the caffemodel that Caffe saves for `net` in `phase`, without writing it.

    It includes every layer's definition and its blobs as floats. `write_seeded` extends the name,
    and with it the file by a few bytes.
    """
    name = caffe.NetParameter(name=net.name).ByteSize()
    bodies = (entry.body_bytes for entry in _entries(net, phase))
    return name + sum(len(prefix(_NET_LAYER, size)) + size for size in bodies)


def seeded_name(name: str, seed: int) -> str:
    """Return the name of a network with seeded weights, so that no file passes for trained."""
    return f"{name} (seeded random weights, seed {seed})"


def write_seeded(
    net: caffe.NetParameter, path: Path | str, seed: int = 0, phase: Phase = "TEST"
) -> None:
    """Write a caffemodel with random weights for `net`: the same bytes for the same seed.

    The weights are those of `seeded_values`. The network's name in the file states that it is
    seeded. The largest piece in memory is 4 MB.
    """
    with Path(path).open("wb") as file:
        file.writelines(seeded_pieces(net, seed, phase))


def seeded_weights(net: caffe.NetParameter, seed: int = 0) -> caffe.NetParameter:
    """Return `net` with the blobs that `write_seeded` writes, in memory; for small networks."""
    return caffe.NetParameter.FromString(b"".join(seeded_pieces(net, seed, "TEST")))


def seeded_pieces(net: caffe.NetParameter, seed: int, phase: Phase) -> Iterator[bytes]:
    """Yield the content of the file that `write_seeded` writes."""
    yield caffe.NetParameter(name=seeded_name(net.name, seed)).SerializeToString()
    gains = residual_gains(net, phase)
    for entry in _entries(net, phase):
        yield prefix(_NET_LAYER, entry.body_bytes) + entry.head
        for number, shape in enumerate(entry.blobs):
            yield prefix(_LAYER_BLOBS, _blob_bytes(shape)) + _blob_head(shape)
            gain = gains.get(entry.layer.name, 1.0)
            yield from seeded_values(entry.layer, number, shape, seed=seed, gain=gain)


def residual_gains(net: caffe.NetParameter, phase: Phase = "TEST") -> dict[str, float]:
    """Return factors below 1 for convolutions whose outputs are summed, and for classifiers.

    He initialisation preserves the size of activations through a rectifier; every sum increases it.
    With a factor of sqrt(1 / (2 x sums)) on what is added to an identity, the whole network
    increases it by about e, at any depth. Where all terms of a sum are outputs of convolutions,
    each gets sqrt(1 / (2 x terms)). Convolutions that are not rectified get sqrt(1 / 2).
    Classifiers get 0.01, so that pixels of the usual size do not drive the softmax to 0 and 1.
    """
    found = shapes.infer(net, phase=phase)
    producers = {layer.top[0]: layer.name for layer in found.layers if layer.type == "Convolution"}
    sums = [layer for layer in found.layers if layer.type == "Eltwise"]
    gains = dict.fromkeys(_linear_convolutions(found), 0.5**0.5)
    for layer in sums:
        convolutions = [producers[blob] for blob in layer.bottom if blob in producers]
        whole = len(convolutions) == len(layer.bottom)
        terms = len(layer.bottom) if whole else len(sums)
        gains |= dict.fromkeys(convolutions, (1 / (2 * terms)) ** 0.5)
    return gains | dict.fromkeys(_classifiers(found), _CLASSIFIER_GAIN)


def _linear_convolutions(found: shapes.Shapes) -> set[str]:
    """Return convolutions read by another, or by a pooling, with no rectifier between them."""
    rectified = {blob for layer in found.layers if layer.type == "ReLU" for blob in layer.bottom}
    readers = ("Convolution", "InnerProduct", "Pooling")
    read = {blob for layer in found.layers if layer.type in readers for blob in layer.bottom}
    return {
        layer.name
        for layer in found.layers
        if layer.type == "Convolution" and layer.top[0] in read - rectified
    }


def _classifiers(found: shapes.Shapes) -> set[str]:
    """Return the last layers with weights on each path to an output: ZynqNet's has two halves."""
    behind: dict[str, set[str]] = {}
    read: set[str] = set()
    for layer in found.layers:
        weighted = layer.type in ("Convolution", "InnerProduct")
        sources = set().union(*(behind[blob] for blob in layer.bottom))
        behind.update(dict.fromkeys(layer.top, {layer.name} if weighted else sources))
        read.update(set(layer.bottom) - set(layer.top))
    return set().union(*(names for blob, names in behind.items() if blob not in read))


def seeded_values(
    layer: caffe.LayerParameter, number: int, shape: Shape, *, seed: int, gain: float = 1.0
) -> Iterator[bytes]:
    """Yield the values of blob `number` in pieces: float32, little-endian.

    Weights: normal with standard deviation gain x sqrt(2 / fan-in) (He et al. 2015), from 256
    equally probable levels (see `_drawn`). Biases: 0. BatchNorm: mean 0, variance 1, factor 1.
    Scale: 1 and 0. PReLU: 0.25. The forks' BN: scale 1, shift 0, mean 0, variance 1. Their
    Normalize: 1. All are a function of seed, name and shape only, on any machine.

    Args:
        layer: The layer.
        number: The blob's index in the layer.
        shape: The blob's shape.
        seed: The seed.
        gain: The factor of `residual_gains`.
    """
    constant = _constant(layer, number, shape)
    deviation = gain * math.sqrt(2 / max(elements(shape[1:]), 1))
    total = elements(shape)
    for start in range(0, total, _PIECE_ELEMENTS):
        size = min(total - start, _PIECE_ELEMENTS)
        if constant is not None:
            yield struct.pack("<f", constant) * size
        else:
            yield _drawn(f"{seed} {number} {start} {layer.name}", size, deviation)


def _drawn(key: str, size: int, deviation: float) -> bytes:
    """Return `size` random values with that standard deviation, as float32.

    Of each value's three random bytes one chooses a level, which gives sign, exponent and the first
    seven bits of the significand; two are its other bits. SHAKE128 (FIPS 202) makes the bytes.
    """
    random = hashlib.shake_128(key.encode()).digest(3 * size)
    levels = struct.pack("<256f", *(level * deviation for level in _levels()))
    chosen = random[2 * size :]
    drawn = bytearray(_FLOAT_BYTES * size)
    drawn[0::4], drawn[1::4] = random[:size], random[size : 2 * size]
    drawn[2::4], drawn[3::4] = (chosen.translate(levels[byte::4]) for byte in (2, 3))
    return bytes(drawn)


@cache
def _levels() -> tuple[float, ...]:
    """Return the medians of 256 equally probable parts of a normal distribution, with variance 1.

    The medians alone have a variance of 0.995: what is beyond the last ones is cut off.
    """
    medians = [NormalDist().inv_cdf((part + 0.5) / 256) for part in range(256)]
    deviation = math.sqrt(fmean(level**2 for level in medians))
    return tuple(level / deviation for level in medians)


_CONSTANTS: Final[dict[str, tuple[float, ...]]] = {
    "BatchNorm": (0.0, 1.0, 1.0),
    "BN": (1.0, 0.0, 0.0, 1.0),
    "Normalize": (1.0,),
    "PReLU": (0.25,),
}
"""The values of each blob of layers whose parameters are not random."""


def _constant(layer: caffe.LayerParameter, number: int, shape: Shape) -> float | None:
    """Return the one value of a blob that is not random, or None."""
    if layer.type in _CONSTANTS:
        return _CONSTANTS[layer.type][number]
    if layer.type == "Scale":
        # With two bottoms, the first blob is the bias.
        return 1.0 if number == 0 and len(layer.bottom) == 1 else 0.0
    if layer.type in ("Bias", "Parameter") or len(shape) < 2:
        return 0.0
    return None
