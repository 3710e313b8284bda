"""Model files as they declare themselves: valid ones, cut ones, and hostile ones."""

from __future__ import annotations

import contextlib
import os
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pibench.engines import formats, wire
from pibench.engines.formats import Tensor
from pibench.engines.formats import onnx as onnx_file
from pibench.engines.formats import tflite as tflite_file
from pibench.errors import InvalidInputError
from tests.wild.own_models import Table, Vector, conv_net, dense_tflite, flatbuffer, tensor


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return wire.varint(number << 3) + wire.varint(content)
    return wire.prefix(number, len(content)) + content


def value(name: bytes, kind: bytes) -> bytes:
    return field(1, name) + field(2, kind)


TENSOR = field(1, field(1, 1) + field(2, field(1, field(1, 5))))
OUTPUT = field(12, value(b"y", TENSOR))


def model(graph: bytes) -> bytes:
    return field(1, 8) + field(7, graph)


@pytest.fixture(scope="module")
def onnx_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return conv_net(tmp_path_factory.mktemp("onnx") / "net.onnx").read_bytes()


@pytest.fixture(scope="module")
def tflite_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("tflite") / "net.tflite"
    dense_tflite(path)
    return path.read_bytes()


def read(tmp_path: Path, content: bytes, form: formats.FileFormat = "onnx") -> formats.Contents:
    path = tmp_path / f"model.{form}"
    path.write_bytes(content)
    return formats.read(path, form)


@pytest.mark.parametrize("old", [False, True])
def test_an_onnx_model_declares_what_it_takes_and_gives(tmp_path: Path, old: bool) -> None:
    found = formats.read(conv_net(tmp_path / "net.onnx", kind="uint8", old=old), "onnx")
    # Weights are no inputs, although older models list them among these.
    assert found.inputs == (Tensor(name="x", type="uint8", dims=("N", 3, 32, 32)),)
    assert [one.name for one in found.outputs] == ["y", "prob"]
    assert found.parameter_count == 8 * 3 * 9 + 8 + 80
    assert found.locations == ()
    kinds = {one.name: one for one in found.operators}
    assert kinds["conv"].type == "Conv"
    assert kinds["conv"].integers["pads"] == (1, 1, 1, 1)


def test_weights_beside_a_model_are_named(tmp_path: Path) -> None:
    found = formats.read(conv_net(tmp_path / "net.onnx", beside="net.data"), "onnx")
    assert found.locations == ("net.data",)
    assert found.parameter_count == 304


def test_a_tflite_model_declares_what_it_takes_and_gives(tmp_path: Path) -> None:
    path = tmp_path / "net.TFLITE"
    dense_tflite(path, batch=-1)
    assert formats.format_of(path) == "tflite"
    found = formats.read(path, "tflite")
    assert found.inputs == (Tensor(name="image", type="float32", dims=("", 4, 4, 3)),)
    assert found.outputs == (Tensor(name="result", type="float32", dims=("", 4, 4, 5)),)
    assert found.parameter_count == 20


def test_tensors_of_one_name_are_numbered(tmp_path: Path) -> None:
    tensors = Vector("", [tensor("x", [1]), tensor("x", [2]), tensor("", [3])])
    graph = Table({0: tensors, 1: Vector("i", [0, 1, 2]), 2: Vector("i", [0])})
    found = read(tmp_path, flatbuffer(Table({2: Vector("", [graph])})), "tflite")
    assert [one.name for one in found.inputs] == ["x", "x #2", "input 2"]


def test_what_is_no_tensor_has_its_kind(tmp_path: Path) -> None:
    sequence = field(4, field(1, TENSOR))
    found = read(tmp_path, model(OUTPUT + field(12, value(b"z", sequence))))
    assert [one.type for one in found.outputs] == ["float32", "sequence"]


def test_parts_of_a_message_that_occurs_twice_are_joined(tmp_path: Path) -> None:
    # As protobuf does: an engine would see both.
    where = field(13, field(1, b"location") + field(2, b"weights.bin"))
    found = read(tmp_path, model(OUTPUT) + field(7, field(5, field(8, b"w") + where)))
    assert found.locations == ("weights.bin",)


@pytest.mark.parametrize("place", ["attribute", "subgraph", "function", "training", "sparse"])
def test_weights_elsewhere_are_found_wherever_they_are_named(tmp_path: Path, place: str) -> None:
    constant = field(8, b"w") + field(13, field(1, b"location") + field(2, b"../x"))
    node = field(1, field(5, field(5, constant)))
    parts = {
        "attribute": model(OUTPUT + node),
        "subgraph": model(OUTPUT + field(1, field(5, field(6, field(5, constant))))),
        "function": model(OUTPUT) + field(25, field(7, node[2:])),
        "training": model(OUTPUT) + field(20, field(1, field(5, constant))),
        "sparse": model(OUTPUT + field(15, field(1, constant))),
    }
    assert read(tmp_path, parts[place]).locations == ("../x",)


@pytest.mark.parametrize("place", ["initializer", "Constant"])
def test_the_constants_of_a_graph_in_a_graph_are_counted(tmp_path: Path, place: str) -> None:
    constant = field(1, 3) + field(1, 5) + field(8, b"w")
    inner = field(5, constant)
    if place == "Constant":
        inner = field(1, field(4, b"Constant") + field(5, field(1, b"value") + field(5, constant)))
    branches = field(5, field(6, inner)) + field(5, field(6, inner))
    found = read(tmp_path, model(OUTPUT + field(1, field(4, b"If") + branches)))
    assert found.parameter_count == 30


def graphs(*of_buffers: tuple[int, ...]) -> bytes:
    """Return a TFLite file of graphs with constants of 2 x 3 in these buffers."""
    tables = []
    for numbers in of_buffers:
        tensors = [tensor("x", [2]), *(tensor(f"w{at}", [2, 3], buffer=at) for at in numbers)]
        tables.append(Table({0: Vector("", tensors), 1: Vector("i", [0]), 2: Vector("i", [0])}))
    buffers = [Table({}), *(Table({0: bytes(24)}) for _ in range(3))]
    return flatbuffer(Table({2: Vector("", tables), 4: Vector("", buffers)}))


def test_the_constants_of_all_tflite_graphs_are_counted_once(tmp_path: Path) -> None:
    # Graphs share buffers: signatures of one model have the same weights.
    content = graphs((1,), (1, 2), (3,))
    assert read(tmp_path, content, "tflite").parameter_count == 18


def test_the_tensors_of_all_tflite_graphs_have_one_limit(tmp_path: Path) -> None:
    def content(*counts: int) -> bytes:
        """Return a file of graphs with so many tensors, all of them the one at its end."""
        mark = 0x7E57_7E57
        graphs = [
            Table({0: Vector("I", [mark] * count), 1: Vector("i", [0]), 2: Vector("i", [0])})
            for count in counts
        ]
        data = bytearray(flatbuffer(Table({2: Vector("", graphs)})))
        # Its fields: no shape, type 0, buffer 0.
        data += bytes(-len(data) % 4) + struct.pack("<5H2xi4xI", 10, 12, 0, 4, 8, 12, 0)
        end, at = len(data) - 12, 0
        while (at := data.find(struct.pack("<I", mark), at)) >= 0:
            data[at : at + 4] = struct.pack("<I", end - at)
        return bytes(data)

    half = tflite_file.MOST_TENSORS // 2
    # A graph counts as one more.
    assert read(tmp_path, content(half - 1, half - 1), "tflite").parameter_count == 0
    with pytest.raises(InvalidInputError, match="more than 200000 tensors"):
        read(tmp_path, content(half - 1, half), "tflite")


HOSTILE = {
    "no graph": field(1, 8),
    "no outputs": model(field(2, b"g")),
    "an endless name": model(field(12, value(b"y" * 70_000, TENSOR))),
    "a long name": model(field(12, value(b"y" * 2000, TENSOR))),
    "a name of two lines": model(field(12, value(b"a\nb", TENSOR))),
    "no name": model(field(12, value(b"", TENSOR))),
    "a name twice": model(OUTPUT + OUTPUT),
    "no text": model(field(12, value(b"\xff\xfe", TENSOR))),
    "too many outputs": model(b"".join(field(12, value(b"%d" % i, TENSOR)) for i in range(501))),
    "many dimensions": model(
        field(12, value(b"y", field(1, field(1, 1) + field(2, field(1, field(1, 5)) * 33))))
    ),
    "a huge constant": model(OUTPUT + field(5, field(1, 1 << 62) * 32)),
    "huge constants": model(OUTPUT + field(5, field(1, 1 << 52)) * 3),
    "a negative constant": model(OUTPUT + field(5, field(1, (1 << 64) - 1))),
    "a wrong wire type": model(OUTPUT) + b"\x0e",
    "a length beyond the end": model(OUTPUT) + b"\x3a\xff\xff\xff\xff\x0f",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_onnx_file_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"model\.onnx: byte \d+: is not an ONNX model"):
        read(tmp_path, HOSTILE[name])


def test_graphs_in_graphs_have_an_end(tmp_path: Path) -> None:
    graph = b""
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(InvalidInputError, match="graphs in graphs, more than 32 deep"):
        read(tmp_path, model(OUTPUT + graph))


def test_a_file_of_many_small_fields_is_read_to_the_limit() -> None:
    content = field(13, b"") * 20_000 + field(1, field(3, b"n" * 60_000)) * 10
    for part in (slice(0, 30_000), slice(40_000, None)):
        graph = content[part]
        reader = onnx_file._Model(graph, left=10_000)
        with pytest.raises(wire.CorruptError, match="more than 2000000 fields"):
            reader.take_graph((0, len(graph)), 0)


def test_weights_are_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    weights = 64 << 20
    head = field(1, weights // 4) + field(2, 1) + field(8, b"w")
    constant = head + wire.prefix(9, weights)
    graph = OUTPUT + wire.prefix(5, len(constant) + weights) + constant
    with path.open("wb") as file:
        file.write(field(1, 8) + wire.prefix(7, len(graph) + weights) + graph)
        # A hole: the size without the content.
        file.truncate(file.tell() + weights)
    tracemalloc.start()
    try:
        assert formats.read(path, "onnx").parameter_count == weights // 4
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(data=some.data())
def test_a_cut_or_changed_file_is_read_or_refused(
    data: some.DataObject,
    onnx_bytes: bytes,
    tflite_bytes: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    form: formats.FileFormat = data.draw(some.sampled_from(formats.FORMATS))
    content = bytearray(onnx_bytes if form == "onnx" else tflite_bytes)
    for _ in range(data.draw(some.integers(0, 4))):
        place = data.draw(some.integers(0, len(content) - 1))
        content[place] = data.draw(some.integers(0, 255))
    del content[data.draw(some.integers(1, len(content))) :]
    path = tmp_path_factory.getbasetemp() / f"changed.{form}"
    path.write_bytes(content)
    with contextlib.suppress(InvalidInputError):
        assert formats.read(path, form).outputs


@pytest.mark.parametrize("at", [0, 20, 40, 60, 100])
@pytest.mark.parametrize("number", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_offsets_of_a_tflite_file_stay_within_it(
    tmp_path: Path, tflite_bytes: bytes, at: int, number: int
) -> None:
    content = bytearray(tflite_bytes)
    content[at : at + 4] = struct.pack("<I", number)
    with contextlib.suppress(InvalidInputError):
        assert read(tmp_path, bytes(content), "tflite").outputs


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("m.onnx", b"", "is empty"),
        ("m.tflite", b"\x10\0\0\0TFL2" + bytes(30), "the mark TFL3 is missing"),
        ("m.onnx", b"\x1c\0\0\0TFL3" + bytes(20), "is a TensorFlow Lite model, not an ONNX"),
        ("m.onnx", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        ("m.tflite", b"<!doctype html><html>not found</html>", "is an HTML page, not a TFLite"),
    ],
)
def test_another_file_is_named(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    form = formats.format_of(path)
    assert form is not None
    with pytest.raises(InvalidInputError, match=problem):
        formats.read(path, form)


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "folder.onnx").mkdir()
    for name, problem in (
        ("pipe.onnx", "is not a regular file"),
        ("folder.onnx", "a directory"),
        ("no.onnx", "no such"),
    ):
        with pytest.raises(InvalidInputError, match=problem):
            formats.read(tmp_path / name, "onnx")
