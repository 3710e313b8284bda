"""The work of layers against what can be counted by hand, and what must hold for any network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pibench import networks
from pibench.latency import work
from tests.wild.sequences import inputs, recurrent

if TYPE_CHECKING:
    from pathlib import Path

    from pibench.engines.base import Protocol
    from pibench.latency.work import LayerWork
    from pibench.networks.catalog import ZooEntry

HEAD = """
name: "small"
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: {batch} dim: 8 dim: 6 dim: 6 }} }} }}
"""


def counted(
    folder: Path, *layers: str, batch: int = 1, protocol: Protocol = "caffe-time"
) -> dict[str, LayerWork]:
    path = folder / "small.prototxt"
    path.write_text(HEAD.format(batch=batch) + "\n".join(layers))
    return {one.name: one for one in work.count(networks.load(str(path)), protocol)}


def convolution(parameters: str) -> str:
    return (
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" '
        f"convolution_param {{ {parameters} }} }}"
    )


def test_a_convolution_is_counted_by_hand(tmp_path: Path) -> None:
    one = counted(tmp_path, convolution("num_output: 6 kernel_size: 3 bias_term: false"))["conv"]
    depth, area = 8 * 9, 4 * 4
    assert one.macs == 6 * area * depth
    # Six rows take two tiles of four.
    assert one.tile_macs == 8 * area * depth
    assert one.accesses == 2 * depth * area + (6 + area) * depth
    assert one.calls == 2
    assert one.moved_bytes == 4 * (8 * 36 + 6 * area + 6 * depth)


def test_a_pointwise_convolution_needs_no_columns(tmp_path: Path) -> None:
    one = counted(tmp_path, convolution("num_output: 4 kernel_size: 1 bias_term: false"))["conv"]
    assert one.accesses == (4 + 36) * 8


def test_the_bias_is_a_pass_over_the_top(tmp_path: Path) -> None:
    bare = counted(tmp_path, convolution("num_output: 4 kernel_size: 1 bias_term: false"))["conv"]
    biased = counted(tmp_path, convolution("num_output: 4 kernel_size: 1"))["conv"]
    assert biased.accesses - bare.accesses == 2 * 4 * 36


def test_groups_share_the_work_and_waste_tiles(tmp_path: Path) -> None:
    whole = counted(tmp_path, convolution("num_output: 8 kernel_size: 3"))["conv"]
    depthwise = counted(tmp_path, convolution("num_output: 8 kernel_size: 3 group: 8"))["conv"]
    assert depthwise.macs == whole.macs // 8
    assert depthwise.tile_macs == 4 * depthwise.macs
    assert depthwise.calls == 8 + 1


def test_depthwise_types_of_forks_are_convolutions_with_groups(tmp_path: Path) -> None:
    grouped = convolution("num_output: 8 kernel_size: 3 group: 8")
    stock = counted(tmp_path, grouped)["conv"]
    for text in (
        grouped.replace('"Convolution"', '"DepthwiseConvolution"'),
        grouped.replace('"Convolution"', '"ConvolutionDepthwise"').replace("group: 8", ""),
    ):
        assert counted(tmp_path, text)["conv"].cost == stock.cost


def test_a_forks_lstm_has_the_products_of_caffes_own(tmp_path: Path) -> None:
    """Both have one product over all steps and one for each step."""
    data = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [5, 2, 3] } } }
    layer { name: "m" type: "Input" top: "m" input_param { shape { dim: [5, 2] } } }
    """
    own = 'layer { name: "l" type: "LSTM" bottom: "x" bottom: "m" top: "y" recurrent_param '
    fork = own.replace("LSTM", "Lstm").replace("recurrent_param", "lstm_param")
    macs = [counted(tmp_path, data, text + "{ num_output: 4 } }")["l"].macs for text in (own, fork)]
    assert macs[0] == macs[1] == 5 * 2 * 16 * (3 + 4)


def test_two_images_are_twice_the_work_of_a_convolution(tmp_path: Path) -> None:
    layer = convolution("num_output: 8 kernel_size: 3")
    one, two = (counted(tmp_path, layer, batch=batch)["conv"] for batch in (1, 2))
    assert (two.macs, two.tile_macs, two.accesses) == (
        2 * one.macs,
        2 * one.tile_macs,
        2 * one.accesses,
    )


def test_an_inner_product_of_one_image_fills_one_row_of_a_tile(tmp_path: Path) -> None:
    layer = (
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" '
        "inner_product_param { num_output: 12 } }"
    )
    one = counted(tmp_path, layer)["fc"]
    assert one.macs == 12 * 288
    assert one.tile_macs == 4 * one.macs


def test_batch_norm_computes_statistics_in_training_alone(tmp_path: Path) -> None:
    layer = 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }'
    trained = counted(tmp_path, layer)["bn"]
    tested = counted(tmp_path, layer, protocol="inference")["bn"]
    assert trained.accesses > tested.accesses > 0


def test_a_recurrent_layer_is_counted_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "lstm.prototxt"
    path.write_text(inputs(x=(5, 2, 8), cont=(5, 2)) + recurrent("LSTM", "x cont", "h", 16))
    one = work.count(networks.load(str(path)))[-1]
    gates, images = 4 * 16, 5 * 2
    assert one.macs == images * gates * (8 + 16)
    # Products of one time step have two rows, of four that a tile takes.
    assert one.tile_macs == 12 * gates * 8 + 5 * 4 * gates * 16
    # Products; a product, two slices and a concat for all steps; four layers for each.
    assert one.calls == 6 + 4 + 5 * 4


def test_what_only_renames_a_blob_takes_nothing(tmp_path: Path) -> None:
    layer = 'layer { name: "flat" type: "Flatten" bottom: "data" top: "flat" }'
    one = counted(tmp_path, layer)["flat"]
    assert (one.macs, one.accesses, one.calls, one.moved_bytes) == (0, 0.0, 0, 0)


@pytest.mark.parametrize("entry", networks.catalog_entries(), ids=lambda entry: entry.slug)
def test_every_network_of_the_zoo_is_counted_whole(entry: ZooEntry) -> None:
    network = networks.load(entry.name)
    done = work.count(network)
    assert [one.name for one in done] == [layer.name for layer in network.training_shapes.layers]
    for one in done:
        assert one.tile_macs >= one.macs >= 0
        assert one.accesses >= 0
        assert bool(one.calls) == bool(one.moved_bytes)


def test_known_multiply_accumulates() -> None:
    def macs(name: str) -> float:
        return sum(one.macs for one in work.count(networks.load(name))) / 1e6

    # As published for VGG-16 (15.5 G) and MobileNet (569 M).
    assert macs("vgg16") == pytest.approx(15_470, rel=0.001)
    assert macs("MobileNet") == pytest.approx(569, rel=0.005)
