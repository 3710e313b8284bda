"""Looking networks up: forgiving of spelling, clear about what does not exist."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from pibench import networks
from pibench.errors import ExitCode, UnknownNetworkError
from pibench.networks import catalog


@pytest.mark.parametrize(
    ("spelt", "name"),
    [
        ("alexnet", "AlexNet"),
        ("ALEX NET", "AlexNet"),
        ("googlenet", "GoogleNet"),
        ("squeezenet_v1.1", "SqueezeNet V1.1"),
        ("SqueezeNet1.0", "SqueezeNet V1.0"),
        ("MobileNet v1", "MobileNet"),
        ("VGG16", "VGG 16"),
        ("vgg-16", "VGG 16"),
        ("WRN-50-2", "Wrn-50-2"),
        ("Xception", "Xception Net"),
        ("ResNeXt-50", "ResNext50_32x4d"),
        ("resnext101 64x4d", "ResNext101_64x4d"),
        ("inception_v3", "Inception-V3"),
        ("Inception-V3-299", "Inception-V3-299"),
        ("densenet121-floor", "DenseNet-121-floor"),
        ("ResNet-152-V2", "ResNet-152-v2"),
        ("ResNet-269-v2", "ResNetV2-269"),
        ("sqnxt-23v5", "1.0-SqNxt-23v5"),
    ],
)
def test_spellings(spelt: str, name: str) -> None:
    assert networks.find(spelt).name == name


def test_unknown_name_suggests_close_ones() -> None:
    with pytest.raises(UnknownNetworkError) as caught:
        networks.load("resnet-100")
    assert caught.value.exit_code == ExitCode.INVALID_INPUT
    assert (
        "'resnet-100' is neither a network of the zoo nor a file; did you mean"
        in caught.value.line()
    )
    assert "ResNet-101" in caught.value.line()


def test_a_name_like_nothing_points_to_the_list() -> None:
    with pytest.raises(UnknownNetworkError, match="neither a network of the zoo"):
        networks.find("@@@")


def test_no_two_networks_share_a_name() -> None:
    owners: dict[str, str] = {}
    for entry in catalog.CATALOG:
        for name in {catalog.normalised(n) for n in (entry.name, entry.slug, *entry.aliases)}:
            assert owners.setdefault(name, entry.name) == entry.name


def test_all_26_lines_of_the_paper_are_there_once() -> None:
    assert sum(entry.in_paper for entry in catalog.CATALOG) == 26
    rows = sorted(entry.paper_row for entry in catalog.CATALOG if entry.paper_row is not None)
    assert rows == list(range(1, 16))


def test_variants_point_to_networks_of_the_paper() -> None:
    for entry in catalog.CATALOG:
        assert entry.in_paper is (entry.variant_of is None)
        if entry.variant_of:
            assert networks.find(entry.variant_of).in_paper


def test_importing_and_listing_names_loads_no_protobuf() -> None:
    code = (
        "import sys, pibench.networks as n; n.names(); "
        "print([m for m in sys.modules if m.startswith(('google', 'numpy'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_names_are_those_of_the_claims_file_where_there_is_one() -> None:
    table = Path(__file__).parents[3] / "pibench/crosscheck/tables/embedded-dnn/data.csv"
    with table.open(newline="") as file:
        printed = [line["network"] for line in csv.DictReader(file)]
    assert printed == [entry.paper_name for entry in catalog.CATALOG if entry.in_paper]
