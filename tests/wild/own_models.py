"""Small models of one's own: ONNX by the package onnx, TFLite by a writer of FlatBuffers."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TFLITE_TYPES = {
    "float32": 0, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int8": 9,
}  # fmt: skip
CONV_2D, RNN, CAST = 3, 24, 53


def conv_net(
    path: Path,
    *,
    kind: str = "float32",
    dims: Sequence[int | str] = ("N", 3, 32, 32),
    pool: Mapping[str, Any] | None = None,
    beside: str | None = None,
    old: bool = False,
) -> Path:
    """Write an ONNX network: convolution, pooling, a classifier, two outputs.

    Args:
        path: The file.
        kind: The element type of its input, which it converts to float32.
        dims: The dimensions of its input.
        pool: Attributes of the average pooling.
        beside: The name of a file for its weights.
        old: List the weights among the inputs, as models before IR version 4 do.
    """
    import onnx
    from onnx import helper, numpy_helper

    random = np.random.RandomState(0)
    sizes = {"w": (8, 3, 3, 3), "b": (8,), "fc": (8, 10)}
    weights = [
        numpy_helper.from_array(random.uniform(-0.3, 0.3, shape).astype("f4"), name)
        for name, shape in sizes.items()
    ]
    floats = onnx.TensorProto.FLOAT
    element = floats if kind == "float32" else getattr(onnx.TensorProto, kind.upper())
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["x"], ["xf"], name="cast", to=floats),
        helper.make_node(
            "Conv", ["xf", "w", "b"], ["c"], name="conv", kernel_shape=[3, 3], pads=[1] * 4
        ),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node(
            "AveragePool", ["r"], ["p"], name="pool", kernel_shape=[3, 3], strides=[2, 2],
            **(pool or {}),
        ),
        helper.make_node("GlobalAveragePool", ["p"], ["g"], name="gap"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "fc"], ["y"], name="fc"),
        helper.make_node("Softmax", ["y"], ["prob"], name="prob"),
    ]  # fmt: skip
    inputs = [value("x", element, list(dims))]
    if old:
        inputs += [value(name, floats, shape) for name, shape in sizes.items()]
    outputs = [value(name, floats, [dims[0], 10]) for name in ("y", "prob")]
    graph = helper.make_graph(nodes, "conv", inputs, outputs, weights)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=3 if old else 8
    )
    if beside:
        onnx.save(model, str(path), save_as_external_data=True, location=beside, size_threshold=0)
    else:
        path.write_bytes(model.SerializeToString())
    return path


def dense_tflite(path: Path, *, batch: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Write a TFLite model: a convolution of 1x1 with ReLU on 4 x 4 pixels of 3 channels.

    A batch of -1 is open.

    Returns:
        Its weights, 5 x 3, and its biases.
    """
    random = np.random.RandomState(0)
    weights, bias = random.uniform(-1, 1, (5, 3)).astype("f4"), np.arange(5, dtype="f4") / 10
    image, result = [batch, 4, 4, 3], [batch, 4, 4, 5]
    tensors = [
        tensor("image", image),
        tensor("weights", [5, 1, 1, 3], buffer=1),
        tensor("bias", [5], buffer=2),
        tensor("result", result),
    ]
    options = Table({0: ("b", 0), 1: ("i", 1), 2: ("i", 1), 3: ("b", 1)})
    write_tflite(
        path, CONV_2D, tensors, inputs=[0, 1, 2], options={3: ("B", 1), 4: options},
        constants=[weights.tobytes(), bias.tobytes()],
    )  # fmt: skip
    return weights, bias


def recurrent_tflite(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write a TFLite model that keeps a state: an RNN of 3 units on 2 values, with ReLU.

    Returns:
        Its weights for the values, 3 x 2, and those for the state, 3 x 3; its biases are 1.
    """
    random = np.random.RandomState(0)
    values, state = (random.uniform(0, 0.5, (3, size)).astype("f4") for size in (2, 3))
    tensors = [
        tensor("given", [1, 2]),
        tensor("weights", [3, 2], buffer=1),
        tensor("recurrent", [3, 3], buffer=2),
        tensor("bias", [3], buffer=3),
        tensor("state", [1, 3], variable=True),
        tensor("result", [1, 3]),
    ]
    write_tflite(
        path, RNN, tensors, inputs=[0, 1, 2, 3, 4], options={3: ("B", 7), 4: Table({0: ("b", 1)})},
        constants=[values.tobytes(), state.tobytes(), np.ones(3, "f4").tobytes()],
    )  # fmt: skip
    return values, state


def cast_tflite(path: Path, kind: str) -> None:
    """Write a TFLite model that converts 4 x 6 values of a type to float32."""
    tensors = [tensor("given", [4, 6], kind=kind), tensor("converted", [4, 6])]
    write_tflite(path, CAST, tensors, inputs=[0])


def write_tflite(
    path: Path,
    operation: int,
    tensors: Sequence[Table],
    *,
    inputs: Sequence[int],
    options: Mapping[int, Any] | None = None,
    constants: Sequence[bytes] = (),
) -> None:
    """Write a model of one operator: the first tensor goes in, the last comes out."""
    last = len(tensors) - 1
    operator = {0: ("I", 0), 1: Vector("i", inputs), 2: Vector("i", [last]), **(options or {})}
    graph = Table(
        {
            0: Vector("", tensors),
            1: Vector("i", [0]),
            2: Vector("i", [last]),
            3: Vector("", [Table(operator)]),
        }
    )
    model = Table(
        {
            0: ("I", 3),
            1: Vector("", [Table({0: ("b", operation), 2: ("i", 1), 3: ("i", operation)})]),
            2: Vector("", [graph]),
            # The first buffer is always empty.
            4: Vector("", [Table({0: one} if one else {}) for one in (b"", *constants)]),
        }
    )
    path.write_bytes(flatbuffer(model))


def tensor(
    name: str,
    dims: Sequence[int],
    *,
    kind: str = "float32",
    buffer: int = 0,
    variable: bool = False,
) -> Table:
    """Return a tensor's table; dimensions of -1 are open, a variable keeps its values."""
    fields: dict[int, Any] = {
        0: Vector("i", [abs(dim) for dim in dims]),
        1: ("b", TFLITE_TYPES[kind]),
        2: ("I", buffer),
        3: name.encode(),
    }
    if variable:
        fields[5] = ("?", True)
    if -1 in dims:
        fields[7] = Vector("i", list(dims))
    return Table(fields)


class Table:
    """A FlatBuffer's table: by number, a form of `struct` with its value, an object, or bytes."""

    def __init__(self, fields: Mapping[int, Any]) -> None:
        self.fields = fields


class Vector:
    """A vector of numbers in a form of `struct`, or of tables where the form is empty."""

    def __init__(self, form: str, items: Sequence[Any]) -> None:
        self.form, self.items = form, items


def flatbuffer(root: Table, mark: bytes = b"TFL3") -> bytes:
    """Return the bytes: each object behind those that refer to it, at a multiple of 16."""
    data = bytearray(4) + mark
    # Where an offset is to be written, and the object to which it leads.
    waiting: list[tuple[int, Table | Vector | bytes]] = [(0, root)]
    while waiting:
        place, one = waiting.pop(0)
        data += bytes(-len(data) % 16)
        if isinstance(one, Table):
            numbers = sorted(one.fields)
            size = 4 + 2 * (numbers[-1] + 1 if numbers else 0)
            start = len(data) + size + -size % 16
            entries, body = [0] * ((size - 4) // 2), bytearray(4)
            for number in numbers:
                value = one.fields[number]
                form, content = value if isinstance(value, tuple) else ("I", 0)
                body += bytes(-len(body) % struct.calcsize(form))
                entries[number] = len(body)
                if not isinstance(value, tuple):
                    waiting.append((start + len(body), value))
                body += struct.pack(f"<{form}", content)
            fields = len(data)
            data += struct.pack(f"<HH{len(entries)}H", size, len(body), *entries)
            data += bytes(start - len(data))
            body[:4] = struct.pack("<i", start - fields)
            data += body
        else:
            # A vector's elements begin at a multiple of 16, as TensorFlow Lite has constants.
            data += bytes(12)
            start = len(data)
            items = one if isinstance(one, bytes) else one.items
            data += struct.pack("<I", len(items))
            if isinstance(one, bytes):
                data += one + b"\0"
            elif one.form:
                data += struct.pack(f"<{len(items)}{one.form}", *items)
            for item in [] if isinstance(one, bytes) or one.form else items:
                waiting.append((len(data), item))
                data += bytes(4)
        data[place : place + 4] = struct.pack("<I", start - place)
    return bytes(data)
