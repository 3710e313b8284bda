"""Weight files: what is in them, whose they are, and how they break."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pibench import networks
from pibench.engines import wire
from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import caffemodel, prototxt
from pibench.errors import ExitCode, InvalidInputError

SMALL = prototxt.parse(
    """
    name: "Small"
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 6, 6] } } }
    layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
            convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
    layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
    layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
            inner_product_param { num_output: 5 } }
    """,
    "small.prototxt",
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "small.caffemodel"
    caffemodel.write_seeded(SMALL, path, seed=3)
    return path


def one_line(error: InvalidInputError) -> str:
    assert error.exit_code == ExitCode.INVALID_INPUT
    assert "\n" not in error.line()
    return error.line()


def refused(path: Path, net: caffe.NetParameter = SMALL) -> str:
    with pytest.raises(InvalidInputError) as caught:
        caffemodel.check_weights(net, path)
    return one_line(caught.value)


def test_index_gives_names_and_shapes(weights: Path) -> None:
    assert {layer.name: layer.blobs for layer in caffemodel.index(weights)} == {
        "conv": ((4, 3, 3, 3), (4,)),
        "bn": ((4,), (4,), (1,)),
        "scale": ((4,), (4,)),
        "fc": ((5, 64), (5,)),
    }
    caffemodel.check_weights(SMALL, weights)


def test_streamed_and_whole_are_the_same(weights: Path) -> None:
    stored = caffemodel.read(weights)
    assert stored.name == "Small (seeded random weights, seed 3)"
    whole = {layer.name: layer for layer in caffemodel.seeded_weights(SMALL, 3).layer}
    for layer in stored.layer:
        assert list(layer.blobs) == list(whole[layer.name].blobs)


def test_size_is_known_beforehand(weights: Path) -> None:
    mark = len(caffemodel.seeded_name("Small", 3)) - len("Small")
    assert weights.stat().st_size == caffemodel.file_size_bytes(SMALL) + mark


def test_same_seed_same_bytes(tmp_path: Path, weights: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    caffemodel.write_seeded(SMALL, again, seed=3)
    caffemodel.write_seeded(SMALL, other, seed=4)
    assert again.read_bytes() == weights.read_bytes() != other.read_bytes()


def test_seeded_values(weights: Path) -> None:
    layers = {layer.name: layer for layer in caffemodel.read(weights).layer}
    assert [list(blob.data) for blob in layers["bn"].blobs] == [[0] * 4, [1] * 4, [1]]
    assert [list(blob.data) for blob in layers["scale"].blobs] == [[1] * 4, [0] * 4]
    assert list(layers["conv"].blobs[1].data) == [0] * 4
    deviation = float(np.std(layers["conv"].blobs[0].data))
    assert 0.5 < deviation / (2 / 27) ** 0.5 < 1.5


def test_what_is_added_to_an_identity_gets_smaller_weights() -> None:
    gains = caffemodel.residual_gains(networks.load("ResNet-101").net)
    assert gains["res2b_branch2c"] == pytest.approx((1 / 66) ** 0.5)
    assert gains["res2a_branch2c"] == gains["res2a_branch1"] == pytest.approx(0.5)
    assert gains["fc1000"] == 0.01


def test_every_classifier_gets_small_weights() -> None:
    def small(name: str) -> set[str]:
        net = networks.find(name).build_for_weights()
        return {layer for layer, gain in caffemodel.residual_gains(net).items() if gain == 0.01}

    assert small("ZynqNet") == {"conv10/split1", "conv10/split2"}
    assert small("GoogleNet") == {"loss1/classifier", "loss2/classifier", "loss3/classifier"}
    assert small("NIN") == {"cccp8-1024"}


def test_weights_of_another_network(weights: Path) -> None:
    assert refused(weights, networks.load("AlexNet").net) == (
        f"{weights}: contains weights of another network: none of its 4 layers is one of "
        "AlexNet's; give the weights that belong to this network"
    )


def test_other_shape_names_layer_and_both_shapes(weights: Path) -> None:
    other = caffe.NetParameter()
    other.CopyFrom(SMALL)
    other.layer[1].convolution_param.num_output = 8
    assert refused(weights, other) == (
        f"{weights}: layer 'conv': blob 0 is 4 x 3 x 3 x 3 where the network has 8 x 3 x 3 x 3; "
        "give the weights that belong to this network"
    )


def test_other_number_of_blobs(weights: Path) -> None:
    other = caffe.NetParameter()
    other.CopyFrom(SMALL)
    other.layer[1].convolution_param.bias_term = False
    assert "layer 'conv': the file has 2 blob(s), the network has 1" in refused(weights, other)


def test_missing_layers(tmp_path: Path) -> None:
    stored = caffemodel.seeded_weights(SMALL)
    del stored.layer[-1]
    path = tmp_path / "partial.caffemodel"
    path.write_bytes(stored.SerializeToString())
    assert refused(path).startswith(f"{path}: layer 'fc': not in this file")


def test_layers_that_only_the_file_has_are_fine(tmp_path: Path) -> None:
    stored = caffemodel.seeded_weights(SMALL)
    stored.layer.add(name="loss1/classifier").blobs.add(shape=caffe.BlobShape(dim=[2]), data=[1, 2])
    path = tmp_path / "more.caffemodel"
    path.write_bytes(stored.SerializeToString())
    caffemodel.check_weights(SMALL, path)


def test_first_generation_files_and_legacy_shapes(tmp_path: Path) -> None:
    stored = caffe.NetParameter(name="old")
    for layer in caffemodel.seeded_weights(SMALL).layer:
        old = stored.layers.add(name=layer.name)
        for blob in layer.blobs:
            dims = [1] * (4 - len(blob.shape.dim)) + list(blob.shape.dim)
            num, channels, height, width = dims
            old.blobs.add(num=num, channels=channels, height=height, width=width, data=blob.data)
    path = tmp_path / "old.caffemodel"
    path.write_bytes(stored.SerializeToString())
    caffemodel.check_weights(SMALL, path)


def test_double_values_count(tmp_path: Path) -> None:
    stored = caffe.NetParameter()
    stored.layer.add(name="x").blobs.add(shape=caffe.BlobShape(dim=[3]), double_data=[1, 2, 3])
    path = tmp_path / "double.caffemodel"
    path.write_bytes(stored.SerializeToString())
    assert caffemodel.index(path)[0].blobs == ((3,),)


def test_unknown_fields_are_kept(tmp_path: Path, weights: Path) -> None:
    raw = weights.read_bytes() + b"\xfa\x7f\x03abc"  # field 2047, three bytes
    path = tmp_path / "extended.caffemodel"
    path.write_bytes(raw)
    caffemodel.check_weights(SMALL, path)
    assert caffemodel.read(path).SerializeToString().endswith(b"\xfa\x7f\x03abc")


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "is empty: it contains no weights"),
        (b'name: "AlexNet"\nlayer {}\n', "is text, not a caffemodel (binary weights)"),
        (
            b"\x89HDF\r\n\x1a\n" + bytes(64),
            "is an HDF5 file; pibench reads weights from caffemodel files",
        ),
        (b"\xff" * 64, "is an incomplete caffemodel"),
    ],
)
def test_other_kinds_of_file(tmp_path: Path, raw: bytes, problem: str) -> None:
    path = tmp_path / "x.caffemodel"
    path.write_bytes(raw)
    assert problem in refused(path)


def test_missing_and_directory(tmp_path: Path) -> None:
    assert refused(tmp_path / "no") == f"{tmp_path / 'no'}: no such file; check the path"
    assert "a directory, not a caffemodel" in refused(tmp_path)


def test_truncated_file_states_where(tmp_path: Path, weights: Path) -> None:
    path = tmp_path / "cut.caffemodel"
    path.write_bytes(weights.read_bytes()[:-10])
    line = refused(path)
    assert "is an incomplete caffemodel (cut short: 10 bytes are missing)" in line
    assert line.endswith("copy or download the file again")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_files_only_raise_invalid_input(
    tmp_path: Path, weights: Path, data: st.DataObject
) -> None:
    raw = bytearray(weights.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.caffemodel"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        caffemodel.check_weights(SMALL, path)
        caffemodel.read(path)
    except InvalidInputError as error:
        one_line(error)


def test_layers_of_both_generations_are_refused(weights: Path) -> None:
    net = caffe.NetParameter.FromString(weights.read_bytes())
    net.layers.add(name="conv")
    weights.write_bytes(net.SerializeToString())
    assert "'layer' and the older 'layers' in one" in refused(weights)


def test_every_layer_of_a_name_is_compared_with_the_network(weights: Path) -> None:
    whole = weights.read_bytes()
    for name, problem in (
        ("conv", "layer 'conv': the file has 1 blob(s), the network has 2"),
        ("data", "layer 'data': the file has 1 blob(s), the network has 0"),
    ):
        net = caffe.NetParameter.FromString(whole)
        net.layer.insert(0, caffe.LayerParameter(name=name, blobs=[caffe.BlobProto(num=0)]))
        weights.write_bytes(net.SerializeToString())
        assert problem in refused(weights)


def test_doubles_come_before_floats(weights: Path) -> None:
    net = caffe.NetParameter.FromString(weights.read_bytes())
    (blob,) = (layer.blobs[0] for layer in net.layer if layer.name == "fc")
    blob.double_data.extend(blob.data)
    weights.write_bytes(net.SerializeToString())
    caffemodel.check_weights(SMALL, weights)


def test_mapped_values_are_those_of_the_message(tmp_path: Path, weights: Path) -> None:
    stored = {layer.name: list(layer.blobs) for layer in caffemodel.read(weights).layer}
    for name, values in caffemodel.mapped_values(weights):
        assert [one.tolist() for one in values] == [list(blob.data) for blob in stored[name]]
    old = caffe.NetParameter()
    old.layers.add(name="conv").blobs.add(num=1, channels=1, height=1, width=2, data=[1, 2])
    doubles = caffe.BlobShape(dim=[3])
    old.layers[0].blobs.add(shape=doubles, data=[7, 7, 7], double_data=[0.1, 0.2, 0.3])
    path = tmp_path / "old.caffemodel"
    path.write_bytes(old.SerializeToString())
    ((name, (floats, found)),) = caffemodel.mapped_values(path)
    assert (name, floats.tolist(), found.tolist()) == ("conv", [1, 2], [0.1, 0.2, 0.3])


def test_numbers_one_by_one_are_read(tmp_path: Path) -> None:
    # A BlobProto of 2 numbers that are not packed, as writers of proto2 may store them.
    blob = caffe.BlobProto(shape=caffe.BlobShape(dim=[2])).SerializeToString()
    blob += b"".join(wire.varint(5 << 3 | 5) + np.float32(x).tobytes() for x in (3, 4))
    layer = caffe.LayerParameter(name="l").SerializeToString()
    layer += wire.prefix(7, len(blob)) + blob
    path = tmp_path / "unpacked.caffemodel"
    path.write_bytes(wire.prefix(100, len(layer)) + layer)
    ((_, (values,)),) = caffemodel.mapped_values(path)
    assert values.tolist() == [3, 4]


def test_a_scalar_has_no_shape_in_files_of_caffe(tmp_path: Path) -> None:
    net = prototxt.parse(
        """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3] } } }
        layer { name: "p" type: "PReLU" bottom: "data" top: "p"
                prelu_param { channel_shared: true } }""",
        "shared.prototxt",
    )
    stored = caffe.NetParameter()
    stored.layer.add(name="p").blobs.add(data=[0.5])
    path = tmp_path / "shared.caffemodel"
    path.write_bytes(stored.SerializeToString())
    assert caffemodel.index(path)[0].blobs == ((),)
    caffemodel.check_weights(net, path)
    stored.layer[0].blobs[0].data.append(1)
    path.write_bytes(stored.SerializeToString())
    assert "2 values for a blob of 0 x 0 x 0 x 0" in refused(path, net)


@pytest.mark.parametrize(("number", "size"), [(5, 10), (8, 12)])
def test_values_that_are_cut_are_refused(tmp_path: Path, number: int, size: int) -> None:
    # Caffe's parser refuses the whole file, although the whole values are as many as the shape has.
    blob = caffe.BlobProto(shape=caffe.BlobShape(dim=[size // 4 if number == 5 else 1]))
    content = blob.SerializeToString() + wire.prefix(number, size) + bytes(size)
    layer = caffe.LayerParameter(name="l").SerializeToString()
    layer += wire.prefix(7, len(content)) + content
    path = tmp_path / "cut.caffemodel"
    path.write_bytes(wire.prefix(100, len(layer)) + layer)
    with pytest.raises(InvalidInputError, match="after the last whole value"):
        caffemodel.index(path)
