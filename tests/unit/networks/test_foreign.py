"""What is not a Caffe network is named, and the next step too."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import pytest

from pibench import networks
from pibench.engines import wire
from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import caffemodel, foreign, prototxt
from pibench.errors import InvalidInputError
from tests.unit.networks.test_upgrade import OLDER


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return buffer.getvalue()


def field(number: int, content: bytes) -> bytes:
    return wire.prefix(number, len(content)) + content


NODE = field(1, field(1, b"input") + field(2, b"Placeholder") + field(5, b"\x0a\x01T\x12\x020\x01"))
ONNX = b"\x08\x07" + field(2, b"pytorch") + field(3, b"1.9") + field(7, field(1, NODE))
MEAN = caffe.BlobProto(num=1, channels=3, height=2, width=2, data=[0.5] * 12).SerializeToString()
SHAPED = caffe.BlobProto(data=[0.5] * 3, shape=caffe.BlobShape(dim=[3])).SerializeToString()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (ONNX, "is an ONNX model; pibench run takes it under a name that ends in .onnx or .tflite"),
        (ONNX[:4096] + bytes(100), "is an ONNX model"),
        (b"\x1c\0\0\0TFL3\x14\0\0\0", "is a TensorFlow Lite model"),
        (b"\x89HDF\r\n\x1a\n\0\0", "is an HDF5 file, such as a Keras model"),
        (archive("metadata.json", "config.json"), "is a Keras model"),
        (archive("archive/data.pkl", "archive/data/0"), "is a PyTorch model"),
        (archive("deploy.prototxt"), "is a zip archive; unpack it"),
        (pickle.dumps({"a": 1}, 2), "is a Python pickle, such as a PyTorch model"),
        (pickle.dumps({"a": 1}), "is a Python pickle, such as a PyTorch model"),
        (NODE + NODE, "is a TensorFlow graph; pibench runs prototxts, ONNX and TFLite models"),
        (b"\x08\x01" + field(2, field(1, field(1, b"abc"))), "is a TensorFlow SavedModel"),
        (b'node {\n name: "x"\n op: "Conv2D"\n}\n', "is a TensorFlow graph as text"),
        (b"model { ssd { num_classes: 2 } }\n", "a configuration of TensorFlow's object detection"),
        (MEAN, "is a blob, such as the mean image of a data set (binaryproto)"),
        (SHAPED, "is a blob, such as the mean image of a data set (binaryproto)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (b"\n <!DOCTYPE html>\n<html>", "is an HTML page; download the file itself"),
        (b"404: Not Found", "is a web server's error message; download the file itself"),
        (b'<?xml version="1.0"?><net>', "is XML, such as an OpenVINO model"),
        (b'\n{"nodes": []}', "is JSON"),
        (b"# made by hand\n[net]\nbatch=1\n", "is a Darknet model"),
        (b'item {\n name: "none"\n label: 0\n}\n', "is a map of labels"),
        (b'net: "a/train_val.prototxt"\nbase_lr: 0.01', "is a solver; its network is a/train_val."),
        (b"train_net: 'a'\ntest_net: 'b'\nmax_iter: 1", "is a solver; its network is a and b"),
        (
            b'net_param { layer { name: "x" } }\nbase_lr: 1',
            "is a solver; write the network that it contains into a file of its own",
        ),
    ],
)
@pytest.mark.parametrize("repair", [False, True])
def test_a_file_of_another_kind(tmp_path: Path, raw: bytes, words: str, *, repair: bool) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(raw)
    with pytest.raises(InvalidInputError) as caught:
        networks.load(str(path), repair=repair)
    assert words in caught.value.line()
    assert caught.value.line().startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (ONNX, "is an ONNX model"),
        (MEAN, "is a blob"),
    ],
)
def test_weights_of_another_kind(tmp_path: Path, raw: bytes, words: str) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(raw)
    with pytest.raises(InvalidInputError, match=words):
        caffemodel.index(path)


def test_a_url() -> None:
    with pytest.raises(InvalidInputError, match="is a URL; download it, and name the file"):
        networks.load("https://example.org/deploy.prototxt")


def test_a_folder_with_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tiny model"
    folder.mkdir()
    with pytest.raises(InvalidInputError, match="a directory without a prototxt"):
        networks.load(str(folder))
    (folder / "deploy.prototxt").write_text(OLDER["2014"])
    monkeypatch.chdir(tmp_path)
    alone = networks.load("tiny model")
    assert (alone.source, alone.weights) == ("tiny model/deploy.prototxt", None)
    caffemodel.write_seeded(alone.net, folder / "a.caffemodel")
    assert networks.load("tiny model").weights == Path("tiny model/a.caffemodel")
    (folder / "b.caffemodel").write_bytes(b"")
    with pytest.raises(InvalidInputError) as caught:
        networks.load("tiny model")
    assert caught.value.line() == (
        "tiny model: a directory with several caffemodels: a.caffemodel, b.caffemodel; "
        "name one prototxt, and --weights"
    )


def test_a_folder_does_not_hide_a_network_of_the_zoo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alexnet").mkdir()
    monkeypatch.chdir(tmp_path)
    assert networks.load("alexnet").source == "zoo"
    with pytest.raises(InvalidInputError, match="a directory without a prototxt"):
        networks.load("./alexnet")


@pytest.mark.parametrize("length", range(1, 130))
def test_weights_are_weights_whatever_the_length_of_their_name(tmp_path: Path, length: int) -> None:
    # The length is the second byte of the file: 60 is `<`, 123 is `{`, 91 is `[`.
    net = prototxt.parse(
        f'name: "{"n" * length}" layer {{ name: "x" type: "Input" top: "x" '
        "input_param { shape { dim: 1 dim: 2 } } } "
        'layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" '
        "inner_product_param { num_output: 3 } }",
        "net",
    )
    path = tmp_path / "x.caffemodel"
    path.write_bytes(caffemodel.seeded_weights(net).SerializeToString())
    assert [layer.name for layer in caffemodel.index(path) if layer.blobs] == ["y"]
    assert foreign.of_bytes(path.read_bytes()[:4096]) == foreign.CAFFEMODEL
