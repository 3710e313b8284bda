"""What people ask: does it fit, how large may it get, what would save memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from pibench import devices, networks
from pibench.errors import InvalidInputError
from pibench.networks import in_place, input_size
from pibench.networks.network import Network
from pibench.networks.shapes import infer
from pibench.plan.environment import Environment, of_device
from pibench.plan.planner import plan
from pibench.plan.savings import savings
from pibench.plan.search import max_batch, max_image
from pibench.plan.verdict import judge

ROOMY = devices.load("rpi4b_1gb")
SMALL = dataclasses.replace(devices.load("rpi3b"), usable_bytes=100 * 2**20)


def test_the_band_makes_a_verdict_borderline(pi: Environment) -> None:
    planned = plan(networks.load("NIN"), protocol="caffe-time", environment=pi)
    peak, band = planned.peak_rss_bytes, planned.band_bytes
    assert 0 < band <= 0.02 * peak
    for usable, verdict in (
        (peak + band + 1, "fit"),
        (peak + band, "borderline"),
        (peak - band, "borderline"),
        (peak - band - 1, "no-fit"),
    ):
        device = dataclasses.replace(ROOMY, usable_bytes=usable)
        judged = judge(planned, device)
        assert (judged.verdict, judged.headroom_bytes) == (verdict, usable - peak)


def test_the_largest_batch_is_the_last_that_fits(wild: Callable[..., Network]) -> None:
    network, pi = wild("dilated"), of_device(SMALL)
    batch = max_batch(network, device=SMALL, protocol="caffe-time", environment=pi)
    assert batch == 0
    batch = max_batch(network, device=ROOMY, protocol="caffe-time", environment=pi)

    def verdict(images: int) -> str:
        larger = input_size.with_batch(network, images)
        return judge(plan(larger, protocol="caffe-time", environment=pi), ROOMY).verdict

    assert verdict(batch) == "fit"
    assert verdict(batch + 1) != "fit"


def test_the_largest_image_keeps_its_proportions(wild: Callable[..., Network]) -> None:
    wide = input_size.with_image_size(wild("dilated"), 96, 192)
    height, width = max_image(
        wide, device=ROOMY, protocol="inference", environment=of_device(ROOMY)
    )
    assert height > 96
    assert abs(width - 2 * height) <= 1


def test_no_image_fits_where_the_program_alone_does_not(wild: Callable[..., Network]) -> None:
    none = dataclasses.replace(ROOMY, usable_bytes=2**20)
    found = max_image(wild("tiny"), device=none, protocol="caffe-time", environment=of_device(none))
    assert found == (0, 0)


def test_folding_saves_what_batch_norm_holds(pi: Environment) -> None:
    network = networks.load("ResNet-101")
    planned = plan(network, protocol="caffe-time", environment=pi)
    by_change = {saving.change: saving for saving in savings(planned)}
    folded = by_change["fold-bn"]
    assert folded.peak_rss_bytes + folded.saved_bytes == planned.peak_rss_bytes
    assert folded.saved_bytes > 250 * 2**20
    assert "in place" not in by_change


def test_working_in_place_saves_activations(wild: Callable[..., Network], pi: Environment) -> None:
    network = wild("depthwise")
    planned = plan(network, protocol="inference", environment=pi)
    (saving,) = savings(planned)
    assert saving.change == "in place"
    assert saving.saved_bytes > 3 * 10**6


def test_no_layer_writes_over_what_another_reads(wild: Callable[..., Network]) -> None:
    network = wild("train_val")
    changed = input_size.copy(network)
    assert in_place.share(changed.net) == 0
    assert changed.prototxt == network.prototxt


@pytest.mark.parametrize(
    "text", ["229", "0x3", "3x0", "axb", "1x2x3", "-1x5", "٣x٣", "x", "9" * 99]
)
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is no input size"):
        input_size.parse(text)


def test_another_size_changes_the_legacy_fields_too(wild: Callable[..., Network]) -> None:
    text = """input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 9
    layer { name: "p" type: "Pooling" bottom: "data" top: "p"
            pooling_param { pool: MAX kernel_size: 2 stride: 2 } }"""
    network = wild(text)
    assert input_size.image_size(network) == (8, 9)
    assert input_size.with_image_size(network, 20, 30).shapes.blobs["p"] == (1, 3, 10, 15)
    assert network.shapes.blobs["p"] == (1, 3, 4, 5)


def test_a_network_without_images_has_no_size(wild: Callable[..., Network]) -> None:
    text = """layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 5 } } }
    layer { name: "i" type: "InnerProduct" bottom: "d" top: "i"
            inner_product_param { num_output: 2 } }"""
    with pytest.raises(InvalidInputError, match="no input of four axes"):
        input_size.image_size(wild(text))


@pytest.mark.parametrize("name", [entry.name for entry in networks.catalog_entries()])
def test_every_network_of_the_zoo_stays_itself_in_place(name: str) -> None:
    network = networks.load(name)
    changed = input_size.copy(network)
    in_place.share(changed.net)
    before, after = network.shapes, infer(changed.net)
    assert after.blobs[changed.net.layer[-1].top[0]] == before.blobs[network.net.layer[-1].top[0]]
    assert changed.parameter_count == network.parameter_count
    assert set(after.blobs) <= set(before.blobs)


def test_what_would_change_is_said_of_a_network_with_scale_in_place(pi: Environment) -> None:
    planned = plan(networks.load("DenseNet-121"), protocol="caffe-time", environment=pi)
    assert {saving.change for saving in savings(planned)} >= {"in place", "fold-bn"}
