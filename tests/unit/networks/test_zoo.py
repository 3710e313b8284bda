"""The zoo against what stock Caffe 1.0 reports for the published networks."""

from __future__ import annotations

import hashlib
from functools import cache

import pytest

from pibench import networks
from pibench.engines.caffe import caffemodel, prototxt, shapes

# Parameters, and MB of the published or saved weights file.
PUBLISHED = {
    "AlexNet": (60_965_224, 243.9),
    "GoogleNet": (6_998_552, 53.5),
    "SqueezeNet V1.0": (1_248_424, 5.0),
    "SqueezeNet V1.1": (1_235_496, 4.9),
    "1.0-G-SqNxt-23": (554_735, 2.3),
    "1.0-SqNxt-23": (728_943, 3.0),
    "1.0-SqNxt-23v5": (944_495, 3.8),
    "Zynqnet": (2_528_800, 10.1),
    "MobileNet": (4_253_891, 17.0),
    "NIN": (7_595_176, 30.4),
    "DenseNet-121": (8_062_625, 32.3),
    "DenseNet-169": (14_308_049, 57.3),
    "Inception-V3": (23_869_094, 95.5),
    "ResNet-101": (44_654_608, 178.7),
    "ResNext50_32x4d": (25_097_181, 100.4),
    "VGG 16": (138_357_544, 553.4),
    "DenseNet-201": (20_243_185, 81.1),
    "Inception-ResNet-V2": (55_904_212, 223.8),
    "Inception-V4": (42_743_133, 171.1),
    "ResNet-152": (60_344_387, 241.4),
    "ResNet-152-v2": (60_329_023, 241.4),
    "ResNetV2-269": (102_311_092, 409.4),
    "Wrn-50-2": (68_951_517, 275.8),
    "ResNext101_32x4d": (44_315_664, 177.3),
    "ResNext101_64x4d": (83_658_256, 334.7),
    "Xception Net": (22_910_520, 91.7),
}

# Bytes of the files that pycaffe's Net.save wrote for these very networks.
SAVED_BY_CAFFE = {
    "1.0-G-SqNxt-23": 2_260_884,
    "AlexNet": 243_862_117,
    "DenseNet-201": 81_067_598,
    "Inception-V4": 171_051_390,
    "ResNet-152": 241_447_201,
    "Xception Net": 91_666_079,
}

ALL = networks.names()
# The other variants are written with the same fields as this one.
WRITTEN = [*(name for name in ALL if not networks.find(name).variant_of), "DenseNet-121-floor"]
load = cache(networks.load)


def published(name: str) -> tuple[int, float]:
    return PUBLISHED[networks.find(name).variant_of or name]


@pytest.mark.parametrize("name", ALL)
def test_parameter_count_is_exact(name: str) -> None:
    assert load(name).parameter_count == published(name)[0]


@pytest.mark.parametrize("name", ALL)
def test_weights_file_has_the_published_size(name: str) -> None:
    size_mb = load(name).weights_file_bytes / 1e6
    assert round(size_mb, 1) == published(name)[1]


@pytest.mark.parametrize("name", SAVED_BY_CAFFE)
def test_weights_file_is_counted_as_caffe_saves_it(name: str) -> None:
    assert load(name).weights_file_bytes == SAVED_BY_CAFFE[name]


@pytest.mark.parametrize("name", WRITTEN)
def test_text_round_trip(name: str) -> None:
    network = load(name)
    assert prototxt.parse(network.prototxt, name) == network.net


@pytest.mark.parametrize("name", ALL)
def test_ends_in_one_softmax_over_the_classes(name: str) -> None:
    found = load(name).shapes
    read = {blob for layer in found.layers for blob in layer.bottom}
    outputs = [blob for blob in found.blobs if blob not in read]
    assert len(outputs) == 1
    classes = 1024 if name == "Zynqnet" else 1000
    assert shapes.elements(found.blobs[outputs[0]]) == classes
    assert found.layers[-1].type == "Softmax"


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("DenseNet-121", [57, 29, 15, 8]),
        ("DenseNet-121-floor", [56, 28, 14, 7]),
    ],
)
def test_rounding_of_the_first_pooling(name: str, sizes: list[int]) -> None:
    blobs = load(name).shapes.blobs
    assert [blobs[f"pool{stage}"][2] for stage in (1, 2, 3, 4)] == sizes


def test_googlenet_file_contains_more_than_the_deployed_network() -> None:
    network = load("GoogleNet")
    deployed_mb = caffemodel.file_size_bytes(network.net) / 1e6
    assert round(deployed_mb, 1) == 28.0
    assert round(network.weights_file_bytes / 1e6, 1) == 53.5


def test_the_two_resnets_152_differ() -> None:
    assert load("ResNet-152").sha256 != load("ResNet-152-v2").sha256


@pytest.mark.parametrize("name", ALL)
def test_the_stored_hash_is_that_of_the_text(name: str) -> None:
    network = load(name)
    written = hashlib.sha256(network.prototxt.encode()).hexdigest()
    assert network.sha256 == written, f"write zoo/SHA256SUMS again: {written}  {network.slug}"


def test_a_changed_network_has_its_own_hash() -> None:
    own = load("SqueezeNet V1.1")
    for changed in (own.with_batch(2), own.with_image_size(229, 229)):
        assert changed.sha256 == hashlib.sha256(changed.prototxt.encode()).hexdigest()
        assert changed.sha256 != own.sha256
    assert networks.load("SqueezeNet V1.1", image=(229, 229)).sha256 != own.sha256
