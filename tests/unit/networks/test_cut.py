"""A network cut down to one layer is one that Caffe's rules accept, for every layer of the zoo."""

from __future__ import annotations

import pytest

from pibench import networks
from pibench.engines.caffe import cut, shapes

SMALL = """
name: "small"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" include { phase: TEST } }
layer { name: "twice" type: "Eltwise" bottom: "conv" bottom: "conv" top: "twice" }
"""


@pytest.mark.parametrize("name", ["SqueezeNet V1.1", "GoogleNet", "1.0-G-SqNxt-23", "AlexNet"])
def test_every_layer_alone_has_the_shapes_that_it_has_in_the_network(name: str) -> None:
    network = networks.load(name)
    found = network.shapes
    for position, layer in enumerate(found.layers):
        inputs = {one.blob: found.blobs[one.blob] for one in cut.readings(found, position)}
        alone = shapes.infer(cut.alone(network.net, layer, inputs))
        assert {top: alone.blobs[top] for top in layer.top} == {
            top: found.blobs[top] for top in layer.top
        }
        assert alone.params.get(layer.name, ()) == found.params.get(layer.name, ())


def test_what_is_read_was_written_by_the_last_layer_before(tmp_path) -> None:
    path = tmp_path / "small.prototxt"
    path.write_text(SMALL)
    found = networks.load(str(path)).shapes
    relu = cut.find_layer(found, "relu", "conv")
    twice = cut.find_layer(found, "twice", "twice")
    assert cut.find_layer(found, "twice", "conv") is None
    assert relu is not None
    assert twice is not None
    assert cut.readings(found, relu) == [cut.Reading("conv", "conv")]
    # Once, though it is read twice; and as it is behind the layer in place.
    assert cut.readings(found, twice) == [cut.Reading("conv", "relu")]
    assert cut.readings(found, 0) == []


def test_rules_for_phases_are_left_out(tmp_path) -> None:
    path = tmp_path / "small.prototxt"
    path.write_text(SMALL)
    network = networks.load(str(path))
    relu = network.shapes.layers[2]
    alone = cut.alone(network.net, relu, {"conv": (1, 4, 6, 6)})
    assert [layer.name for layer in alone.layer] == [cut.INPUTS, "relu"]
    assert not alone.layer[1].include


def test_a_definition_leaves_weights_out() -> None:
    layer = networks.load("SqueezeNet V1.1").copy().shapes.layers[1]
    layer.blobs.add(data=[1.0])
    assert not any("data: 1" in line for line in cut.definition(layer))
