"""Folding BatchNorm and Scale: what is found, what is left alone, and the arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pibench import networks
from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import caffemodel
from pibench.errors import InvalidInputError
from pibench.networks import fold_bn
from pibench.networks.network import Network, write_files
from tests.wild.networks import WILD

DENSE = """name: "dense"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 5 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
        inner_product_param { num_output: 3 bias_term: false } }
layer { name: "bn" type: "BatchNorm" bottom: "ip" top: "bn" }
layer { name: "sc" type: "Scale" bottom: "bn" top: "sc" scale_param { bias_term: true } }
"""


def load(folder: Path, text: str, weights: Path | None = None) -> Network:
    path = folder / "net.prototxt"
    path.write_text(text)
    return networks.load(str(path), weights=weights)


def types(net: caffe.NetParameter) -> list[str]:
    return [layer.type for layer in net.layer]


def test_residual_blocks_lose_all_norms(tmp_path: Path) -> None:
    network = load(tmp_path, WILD["residual"]())
    folded = fold_bn.fold(network.net)
    assert not {"BatchNorm", "Scale"} & set(types(folded))
    (tmp_path / "folded.prototxt").write_text(str(folded))
    again = networks.load(str(tmp_path / "folded.prototxt"))
    outputs = list(network.shapes.tops[-1])
    assert list(again.shapes.tops[-1]) == outputs


def test_a_norm_in_front_of_a_convolution_stays(tmp_path: Path) -> None:
    network = load(tmp_path, WILD["dense_blocks"]())
    kept = types(fold_bn.fold(network.net)).count("BatchNorm")
    # Only blocks whose BatchNorm reads a convolution alone could lose it: here none does.
    assert kept == types(network.net).count("BatchNorm")
    with pytest.raises(InvalidInputError, match="no BatchNorm follows"):
        fold_bn.write(network, tmp_path / "out")


@pytest.mark.parametrize(
    "change",
    [
        ('top: "bn" }', 'top: "bn" batch_norm_param { use_global_stats: false } }'),
        ('name: "ip" type', 'name: "ip" param { name: "shared" } type'),
    ],
)  # fmt: skip
def test_what_would_change_the_results_is_left_alone(
    tmp_path: Path, change: tuple[str, str]
) -> None:
    network = load(tmp_path, DENSE.replace(*change))
    assert "BatchNorm" in types(fold_bn.fold(network.net))


def test_folded_weights_give_the_same_numbers(tmp_path: Path) -> None:
    network = load(tmp_path, DENSE)
    generator = np.random.default_rng(1)
    weights = caffemodel.seeded_weights(network.net)
    for layer in weights.layer:
        for blob in layer.blobs:
            blob.data[:] = generator.uniform(0.5, 2, len(blob.data))
    values = {layer.name: [np.array(blob.data) for blob in layer.blobs] for layer in weights.layer}
    inputs = generator.normal(size=(2, 5))
    mean, variance, factor = values["bn"]
    normal = (inputs @ values["ip"][0].reshape(3, 5).T - mean / factor) / np.sqrt(
        variance / factor + 1e-5
    )
    wanted = normal * values["sc"][0] + values["sc"][1]
    folded = fold_bn.fold_weights(network.net, weights)
    (layer,) = [layer for layer in folded.layer if layer.blobs]
    matrix, bias = (np.array(blob.data) for blob in layer.blobs)
    np.testing.assert_allclose(inputs @ matrix.reshape(3, 5).T + bias, wanted, rtol=1e-5)


def test_files_are_written_and_belong_together(tmp_path: Path) -> None:
    network = load(tmp_path, DENSE)
    weights = tmp_path / "net.caffemodel"
    caffemodel.write_seeded(network.net, weights)
    network = load(tmp_path, DENSE, weights)
    text, values = fold_bn.write(network, tmp_path / "out")
    assert networks.load(str(text), weights=values).shapes.params["ip"] == ((3, 5), (3,))
    with pytest.raises(InvalidInputError, match="there already"):
        fold_bn.write(network, tmp_path / "out")
    assert fold_bn.write(network, tmp_path / "out", force=True) == [text, values]


def test_weights_of_the_first_generation_are_refused(tmp_path: Path) -> None:
    network = load(tmp_path, DENSE)
    old = caffe.NetParameter()
    for layer in caffemodel.seeded_weights(network.net).layer:
        old.layers.add(name=layer.name, blobs=layer.blobs)
    (tmp_path / "old.caffemodel").write_bytes(old.SerializeToString())
    network = load(tmp_path, DENSE, tmp_path / "old.caffemodel")
    with pytest.raises(InvalidInputError, match="first-generation 'layers', which fold-bn cannot"):
        fold_bn.write(network, tmp_path / "out")


def test_doubles_come_before_floats(tmp_path: Path) -> None:
    network = load(tmp_path, DENSE)
    net = caffemodel.seeded_weights(network.net, 1)
    expected = fold_bn.fold_weights(network.net, net)
    for layer in net.layer:
        for blob in layer.blobs:
            blob.double_data.extend(blob.data)
            blob.data[:] = [7.0] * (len(blob.data) - 1)
    folded = fold_bn.fold_weights(network.net, net)
    for layer, other in zip(folded.layer, expected.layer, strict=True):
        if layer.type == "InnerProduct":
            assert [list(blob.data) for blob in layer.blobs] == [
                list(blob.data) for blob in other.blobs
            ]


@pytest.mark.parametrize(("variance", "factor"), [(-1.0, 1.0), (1.0, -1.0)])
def test_a_variance_that_cannot_be_is_named(tmp_path: Path, variance: float, factor: float) -> None:
    network = load(tmp_path, DENSE)
    weights = caffemodel.seeded_weights(network.net)
    norm = next(layer for layer in weights.layer if layer.name == "bn")
    norm.blobs[1].data[:] = [variance, 0.0, -variance]
    norm.blobs[2].data[:] = [factor]
    with pytest.warns(UserWarning, match="bn: a variance below 0 makes its values NaN"):
        folded = fold_bn.fold_weights(network.net, weights)
    (layer,) = [layer for layer in folded.layer if layer.blobs]
    matrix = np.array(layer.blobs[0].data).reshape(3, 5)
    assert list(np.isfinite(matrix).all(axis=1)) == [False, True, True]


def test_what_was_there_is_kept_until_both_files_are_complete(tmp_path: Path) -> None:
    network = load(tmp_path, DENSE)
    files = write_files(tmp_path / "out", "net", "text", [b"weights"], force=False)

    def interrupted() -> Iterator[bytes]:
        yield b"a piece"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_files(tmp_path / "out", "net", network.prototxt, interrupted(), force=True)
    assert [file.read_bytes() for file in files] == [b"text", b"weights"]
    assert sorted(tmp_path.glob("out/*")) == sorted(files)
