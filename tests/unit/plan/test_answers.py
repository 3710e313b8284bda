"""What people ask: does it fit, how large may it get, what would save memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from pibench import devices, networks
from pibench.checks import check
from pibench.engines.base import Protocol
from pibench.engines.caffe import caffemodel, topology
from pibench.engines.caffe.shapes import infer
from pibench.errors import InvalidInputError
from pibench.judgements import judge
from pibench.networks.network import Network, parse_image_size
from pibench.plan.answers import (
    LargestBatch,
    LargestImage,
    folded,
    in_place,
    least_peak_bytes,
    max_batch,
    max_image,
    optimizations,
    summary,
)
from pibench.plan.environment import Environment, of_device
from pibench.plan.planner import moved, plan
from pibench.plan.process import TooMuchError
from pibench.verdict import Observation, decide
from tests.wild.networks import WILD

ROOMY = devices.load("rpi4b_1gb")
SMALL = dataclasses.replace(devices.load("rpi3b"), usable_bytes=100 * 2**20)


def test_the_band_makes_a_verdict_borderline(pi: Environment) -> None:
    planned = plan(networks.load("NIN"), protocol="caffe-time", environment=pi)
    peak, band = planned.peak_rss_bytes, planned.band_bytes
    assert 0 < band <= 0.02 * peak
    # Every peak within the band has to be outside the 2 % of a run's verdict.
    fits, fits_not = round((peak + band) / 0.98), round((peak - band) / 1.02)
    for usable, verdict in (
        (fits + 2, "fit"),
        (fits - 2, "borderline"),
        (fits_not + 2, "borderline"),
        (fits_not - 2, "no-fit"),
    ):
        device = dataclasses.replace(ROOMY, usable_bytes=usable)
        judged = judge(planned, device)
        assert (judged.verdict, judged.headroom_bytes) == (verdict, usable - peak)


@pytest.mark.parametrize("protocol", ["caffe-time", "inference"])
@pytest.mark.parametrize("name", sorted(WILD))
def test_no_plan_is_below_the_least_peak(
    name: str, protocol: Protocol, wild: Callable[..., Network], pi: Environment
) -> None:
    network = wild(name)
    try:
        planned = plan(network, protocol=protocol, environment=pi)
    except InvalidInputError:
        pytest.skip("Caffe does not run it under this protocol")
    least_bytes = least_peak_bytes(network.shapes_under(protocol), protocol, pi)
    assert planned.baseline_rss_bytes < least_bytes <= planned.peak_rss_bytes


@pytest.mark.parametrize("protocol", ["caffe-time", "inference"])
@pytest.mark.parametrize("name", ["DenseNet-121", "ResNet-152-v2", "SqueezeNet V1.1"])
def test_no_change_to_norms_spares_memory_of_other_layers(
    name: str, protocol: Protocol, pi: Environment
) -> None:
    network = networks.load(name)
    norms = ("BatchNorm", "Scale")
    least_bytes = least_peak_bytes(network.shapes, protocol, pi, but=norms)
    for changed in filter(None, (network, in_place(network), folded(network))):
        planned = plan(changed, protocol=protocol, environment=pi)
        assert planned.baseline_rss_bytes < least_bytes <= planned.peak_rss_bytes


def test_a_small_network_is_folded_where_pycaffe_alone_takes_too_much(
    wild: Callable[..., Network],
) -> None:
    found = check(wild("residual"), devices.load("rpi3b").with_reserve(800), "caffe-time")
    assert [remedy.change for remedy in found.remedies[:2]] == ["fold-bn", "--engine ncnn"]


@pytest.mark.parametrize("device", ["rpi4b_2gb", "rk3399_a72"])
@pytest.mark.parametrize("name", sorted(WILD))
def test_another_core_has_the_plan_that_is_made_for_it(
    name: str, device: str, wild: Callable[..., Network], pi: Environment
) -> None:
    network, there = wild(name), of_device(devices.load(device))
    try:
        here = plan(network, protocol="caffe-time", environment=pi)
    except InvalidInputError:
        pytest.skip("Caffe does not run it under this protocol")
    wanted = plan(network, protocol="caffe-time", environment=there)
    found = moved(here, there)
    assert (found.environment, found.steps) == (there, wanted.steps)
    assert (found.peak_rss_bytes, found.peak_step) == (wanted.peak_rss_bytes, wanted.peak_step)
    assert found.allocations == wanted.allocations


@pytest.mark.parametrize("name", ["NIN", "AlexNet", "MobileNet"])
@pytest.mark.parametrize("engine", ["caffe", "ncnn", "opencv", "opencv:winograd=off"])
def test_a_replay_ends_where_there_is_no_more_memory(
    pi: Environment, engine: str, name: str
) -> None:
    network, there = networks.load(name), dataclasses.replace(pi, engine=engine)
    whole = plan(network, protocol="inference", environment=there)
    peak = whole.peak_rss_bytes
    again = plan(network, protocol="inference", environment=there, most_bytes=peak)
    assert again.steps == whole.steps
    with pytest.raises(TooMuchError):
        plan(network, protocol="inference", environment=there, most_bytes=peak - 1)


def test_the_least_peak_of_large_networks_tells_something(pi: Environment) -> None:
    for name in ("ResNetV2-269", "VGG 16"):
        found = networks.load(name).shapes_under("caffe-time")
        least_bytes = least_peak_bytes(found, "caffe-time", pi)
        assert least_bytes > devices.load("rpi3b").usable_bytes


@pytest.mark.parametrize("share", [-0.99, 0.0, 0.99])
@pytest.mark.parametrize("usable_share", [0.9, 0.96, 1.0, 1.04, 1.1])
def test_no_run_within_the_band_contradicts_a_planned_verdict(
    pi: Environment, usable_share: float, share: float
) -> None:
    planned = plan(networks.load("NIN"), protocol="caffe-time", environment=pi)
    device = dataclasses.replace(ROOMY, usable_bytes=int(usable_share * planned.peak_rss_bytes))
    measured = planned.peak_rss_bytes + int(share * planned.band_bytes)
    ran = decide(Observation(target="twin", peak_rss_bytes=measured, exit_status=0), device)
    assert judge(planned, device).verdict in (ran.verdict, "borderline")


def test_a_reserve_is_no_longer_usable(pi: Environment) -> None:
    planned = plan(networks.load("NIN"), protocol="caffe-time", environment=pi)
    whole = devices.load("rpi3b")
    left = whole.with_reserve(402.5)
    assert left.usable_bytes == whole.usable_bytes - 402.5 * 2**20
    judged = judge(planned, left)
    assert judged.headroom_bytes == left.usable_bytes - planned.peak_rss_bytes
    row = summary(planned, left, judged)
    assert (row["usable_bytes"], row["reserve_bytes"]) == (left.usable_bytes, 402.5 * 2**20)
    assert judge(planned, whole.with_reserve(800)).verdict == "no-fit"
    # A second reserve adds to the first one.
    assert whole.with_reserve(100).with_reserve(300).reserve_bytes == 400 * 2**20


@pytest.mark.parametrize("reserve_mib", [918.5, 5000, -1])
def test_a_reserve_leaves_something(reserve_mib: float) -> None:
    with pytest.raises(InvalidInputError, match="leaves nothing"):
        devices.load("rpi3b").with_reserve(reserve_mib)


def test_the_largest_batch_is_the_last_that_fits(wild: Callable[..., Network]) -> None:
    network, pi = wild("dilated"), of_device(SMALL)
    batch = max_batch(network, device=SMALL, protocol="caffe-time", environment=pi)
    assert batch == LargestBatch(batch=0)
    batch = max_batch(network, device=ROOMY, protocol="caffe-time", environment=pi).batch
    assert batch is not None

    def verdict(images: int) -> str:
        larger = network.with_batch(images)
        return judge(plan(larger, protocol="caffe-time", environment=pi), ROOMY).verdict

    assert verdict(batch) == "fit"
    assert verdict(batch + 1) != "fit"


def test_the_largest_image_keeps_its_proportions(wild: Callable[..., Network]) -> None:
    wide = wild("dilated").with_image_size(96, 192)
    found = max_image(wide, device=ROOMY, protocol="inference", environment=of_device(ROOMY))
    assert found.height > 96
    assert abs(found.width - 2 * found.height) <= 1
    assert (found.note, found.other_parameters) == ("", {})


def test_no_image_fits_where_the_program_alone_does_not(wild: Callable[..., Network]) -> None:
    none = dataclasses.replace(ROOMY, usable_bytes=2**20)
    found = max_image(wild("tiny"), device=none, protocol="caffe-time", environment=of_device(none))
    assert found == LargestImage(height=0, width=0)


DUMMY = """layer { name: "data" type: "DummyData" top: "data"
    dummy_data_param { shape { dim: 16 dim: 3 dim: 128 dim: 128 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
    convolution_param { num_output: 32 kernel_size: 5 } }"""


def test_the_largest_batch_of_dummy_data_is_one_that_fits(
    wild: Callable[..., Network], pi: Environment
) -> None:
    network, device = wild(DUMMY), devices.load("rpi3b")
    found = max_batch(network, device=device, protocol="caffe-time", environment=pi)
    assert found.batch is not None
    assert (100 < found.batch < 1000, found.note) == (True, "")

    def verdict(images: int) -> str:
        larger = network.with_batch(images)
        return judge(plan(larger, protocol="caffe-time", environment=pi), device).verdict

    assert (verdict(found.batch), verdict(found.batch + 1)) == ("fit", "borderline")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            """layer { name: "p" type: "Parameter" top: "p"
                 parameter_param { shape { dim: 16 dim: 2 } } }
               layer { name: "r" type: "ReLU" bottom: "p" top: "r" }""",
            "no Input and no DummyData",
        ),
        (
            DUMMY
            + """layer { name: "r" type: "Reshape" bottom: "data" top: "r"
                   reshape_param { shape { dim: [16, 49152] } } }""",
            "with batch 1: ",
        ),
        (
            DUMMY
            + """layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
                   inner_product_param { num_output: 2 axis: 0 } }""",
            "the first dimension is not a batch",
        ),
    ],
)
def test_a_batch_without_an_effect_has_no_largest(
    wild: Callable[..., Network], pi: Environment, text: str, why: str
) -> None:
    found = max_batch(wild(text), device=ROOMY, protocol="caffe-time", environment=pi)
    assert found.batch is None
    assert why in found.note


def test_an_input_that_nothing_reads_has_no_largest_batch(
    wild: Callable[..., Network], pi: Environment
) -> None:
    text = 'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: [1, 50] } } }'
    found = max_batch(wild(text), device=ROOMY, protocol="caffe-time", environment=pi)
    assert found == LargestBatch(batch=None, note="the planned peak at 65536 equals the one at 1")
    small = max_batch(wild(text), device=ROOMY, protocol="inference", environment=pi)
    assert small == LargestBatch(batch=65536, note="no larger batch is searched")


def test_another_image_size_with_inner_products_is_another_network(pi: Environment) -> None:
    device, network = devices.load("rpi3b"), networks.load("VGG 16")
    found = max_image(network, device=device, protocol="caffe-time", environment=pi)
    assert found.other_parameters == {
        "fc6": (
            ((4096, 512 * 7 * 7), (4096,)),
            ((4096, 512 * (found.height // 32 + (found.height % 32 > 0)) ** 2), (4096,)),
        )
    }
    assert "another network than at 224x224, since 'fc6' has other parameters" in found.note
    at_that_size = plan(
        network.with_image_size(found.height, found.width),
        protocol="caffe-time",
        environment=pi,
    )
    assert judge(at_that_size, device).verdict == "fit"


HEAD = """layer { name: "data" type: "Input" top: "data"
    input_param { shape { dim: 1 dim: 3 dim: 250 dim: 250 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
    convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
    pooling_param { pool: AVE kernel_size: 32 stride: 32 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
    inner_product_param { num_output: 4 } }"""


def test_weights_leave_the_sizes_that_they_fit(
    wild: Callable[..., Network], tmp_path: Path, pi: Environment
) -> None:
    caffemodel.write_seeded(wild(HEAD).net, tmp_path / "w.caffemodel")
    network = wild(HEAD, weights=tmp_path / "w.caffemodel")
    found = max_image(network, device=ROOMY, protocol="inference", environment=pi)
    # Pooled to 8 x 8 up to 7 x 32 + 32 and the border of the convolution.
    assert (found.height, found.width, found.other_parameters) == (258, 258, {})
    without = max_image(wild(HEAD), device=ROOMY, protocol="inference", environment=pi)
    assert without.height > 258
    assert list(without.other_parameters) == ["ip"]
    tight = dataclasses.replace(ROOMY, usable_bytes=80 * 2**20)
    none = max_image(network, device=tight, protocol="inference", environment=pi)
    assert none == LargestImage(height=0, width=0, note="of those that the weights fit")


def test_folding_saves_what_batch_norm_uses(pi: Environment) -> None:
    network = networks.load("ResNet-101")
    planned = plan(network, protocol="caffe-time", environment=pi)
    by_change = {one.change: one for one in optimizations(planned)}
    folded = by_change["fold-bn"]
    assert folded.peak_rss_bytes + folded.saved_bytes == planned.peak_rss_bytes
    assert folded.saved_bytes > 250 * 2**20
    assert "in place" not in by_change


def test_working_in_place_saves_activations(wild: Callable[..., Network], pi: Environment) -> None:
    network = wild("depthwise")
    planned = plan(network, protocol="inference", environment=pi)
    (one,) = optimizations(planned)
    assert one.change == "in place"
    assert one.saved_bytes > 3 * 10**6


def test_no_layer_writes_over_what_another_reads(wild: Callable[..., Network]) -> None:
    network = wild("train_val")
    changed = network.copy()
    assert topology.make_in_place(changed.net) == 0
    assert changed.prototxt == network.prototxt


@pytest.mark.parametrize(
    "text", ["229", "0x3", "3x0", "axb", "1x2x3", "-1x5", "٣x٣", "x", "9" * 99]
)
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is not an input size"):
        parse_image_size(text)


def test_another_size_changes_the_legacy_fields_too(wild: Callable[..., Network]) -> None:
    text = """input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 9
    layer { name: "p" type: "Pooling" bottom: "data" top: "p"
            pooling_param { pool: MAX kernel_size: 2 stride: 2 } }"""
    network = wild(text)
    assert network.image_size() == (8, 9)
    assert network.with_image_size(20, 30).shapes.blobs["p"] == (1, 3, 10, 15)
    assert network.shapes.blobs["p"] == (1, 3, 4, 5)


def test_a_network_without_images_has_no_size(wild: Callable[..., Network]) -> None:
    text = """layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 5 } } }
    layer { name: "i" type: "InnerProduct" bottom: "d" top: "i"
            inner_product_param { num_output: 2 } }"""
    with pytest.raises(InvalidInputError, match="no input with four axes"):
        wild(text).image_size()


@pytest.mark.parametrize(
    "name", [entry.name for entry in networks.catalog_entries() if not entry.variant_of]
)
def test_every_network_of_the_zoo_stays_itself_in_place(name: str) -> None:
    network = networks.load(name)
    changed = network.copy()
    topology.make_in_place(changed.net)
    before, after = network.shapes, infer(changed.net)
    assert after.blobs[changed.net.layer[-1].top[0]] == before.blobs[network.net.layer[-1].top[0]]
    assert changed.parameter_count == network.parameter_count
    assert set(after.blobs) <= set(before.blobs)


def test_what_would_change_is_reported_for_a_network_with_scale_in_place(pi: Environment) -> None:
    planned = plan(networks.load("DenseNet-121"), protocol="caffe-time", environment=pi)
    assert {one.change for one in optimizations(planned)} >= {"in place", "fold-bn"}


def test_a_change_that_only_the_test_phase_can_have_is_left_out(
    wild: Callable[..., Network], pi: Environment
) -> None:
    source = """layer { name: "d" type: "DummyData" top: "d" include { phase: PHASE }
      dummy_data_param { shape { dim: 4 dim: 3 dim: 9 dim: 9 } } }
    """
    network = wild(
        source.replace("PHASE", "TRAIN")
        + source.replace("PHASE", "TEST")
        + """layer { name: "c" type: "Convolution" bottom: "d" top: "c"
          convolution_param { num_output: 2 kernel_size: 3 } }
        layer { name: "n" type: "BatchNorm" bottom: "c" top: "n" }"""
    )
    for protocol, changes in (
        ("caffe-time", {"--protocol inference"}),
        ("inference", {"fold-bn"}),
    ):
        planned = plan(network, protocol=protocol, environment=pi)
        assert {one.change for one in optimizations(planned)} == changes
