"""List the networks of the zoo: their names, their builders and their sources.

No network is built here, so the list needs no protobuf.
"""

from __future__ import annotations

import difflib
import importlib
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pibench.errors import UnknownNetworkError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pibench.engines.caffe import caffe_pb2 as caffe

_SOEAVER = "soeaver/caffe-model"
_CEILING = " The published file's 'ceil_mode: false' taken out: stock Caffe rounds up."
_FLOOR = " With round_mode: FLOOR, as the designers meant it."


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooEntry:
    """One network of the catalogue."""

    name: str
    """As the paper prints it."""
    slug: str
    """For file names and the command line."""
    paper_row: int | None = None
    """Row among the 15 that ran; None for the others."""
    paper_name: str | None = None
    """The network's line in the paper's table; None for variants the paper does not have."""
    variant_of: str | None = None
    """Name of the paper's network that this one differs from in one point."""
    aliases: tuple[str, ...] = ()
    input_size: int
    """Height and width of the input, which has 3 channels."""
    builder: str
    """module:function in pibench.networks.zoo."""
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    weights_arguments: Mapping[str, Any] | None = None
    """Arguments that build the network of the published weights file, if that has more layers."""
    source: str
    """Where the published network is available, and how it differs."""

    @property
    def in_paper(self) -> bool:
        """Return whether the paper's table has a line for exactly this network."""
        return self.paper_name is not None

    def build(self) -> caffe.NetParameter:
        """Build the network, as deployed, at batch 1."""
        return self._call(self.arguments)

    def build_for_weights(self) -> caffe.NetParameter:
        """Build the network that the published weights file contains."""
        return self._call(
            self.arguments if self.weights_arguments is None else self.weights_arguments
        )

    def _call(self, arguments: Mapping[str, Any]) -> caffe.NetParameter:
        module, function = self.builder.split(":")
        build = getattr(importlib.import_module(f"pibench.networks.zoo.{module}"), function)
        net: caffe.NetParameter = build(self.name, size=self.input_size, **arguments)
        return net


def _both_roundings(
    name: str,
    slug: str,
    builder: str,
    arguments: dict[str, Any],
    *,
    source: str,
    paper_row: int | None = None,
    aliases: tuple[str, ...] = (),
) -> tuple[ZooEntry, ZooEntry]:
    """Return the paper's network, which rounds its first pooling up, and the designers' own."""
    ceiling = ZooEntry(
        name=name, slug=slug, paper_row=paper_row, paper_name=name, aliases=aliases,
        input_size=224, builder=builder, arguments={**arguments, "floor": False},
        source=source + _CEILING,
    )  # fmt: skip
    floor = ZooEntry(
        name=f"{name}-floor", slug=f"{slug}-floor", variant_of=name,
        aliases=tuple(f"{alias}-floor" for alias in aliases),
        input_size=224, builder=builder, arguments={**arguments, "floor": True},
        source=source + _FLOOR,
    )  # fmt: skip
    return ceiling, floor


_SQNXT = "amirgholami/SqueezeNext; training layers and Intel's engine left out"
_SQNXT_BLOCKS = {"blocks": (6, 6, 8, 1), "first_kernel": 7}

CATALOG: tuple[ZooEntry, ...] = (
    ZooEntry(
        name="AlexNet", slug="alexnet", paper_row=1, paper_name="AlexNet",
        aliases=("bvlc_alexnet",), input_size=227, builder="sequential:alexnet",
        source="BVLC/caffe models/bvlc_alexnet",
    ),
    ZooEntry(
        name="GoogleNet", slug="googlenet", paper_row=2, paper_name="GoogleNet",
        aliases=("bvlc_googlenet", "Inception-V1"), input_size=224,
        builder="googlenet:googlenet", weights_arguments={"heads": True},
        source="BVLC/caffe models/bvlc_googlenet; its weights include two training heads",
    ),
    ZooEntry(
        name="SqueezeNet V1.0", slug="squeezenet-v1.0", paper_row=3, paper_name="SqueezeNet V1.0",
        aliases=("SqueezeNet 1.0",), input_size=227, builder="squeezenet:squeezenet",
        arguments={"first": (96, 7), "pool_after": (4, 8), "classifier_pad": 1},
        source="forresti/SqueezeNet SqueezeNet_v1.0",
    ),
    ZooEntry(
        name="SqueezeNet V1.1", slug="squeezenet-v1.1", paper_row=4, paper_name="SqueezeNet V1.1",
        aliases=("SqueezeNet 1.1",), input_size=227, builder="squeezenet:squeezenet",
        arguments={"first": (64, 3), "pool_after": (3, 5), "classifier_pad": 0},
        source="forresti/SqueezeNet SqueezeNet_v1.1",
    ),
    ZooEntry(
        name="1.0-G-SqNxt-23", slug="1.0-g-sqnxt-23", paper_row=5, paper_name="1.0-G-SqNxt-23",
        aliases=("G-SqNxt-23", "1.0-G-SqueezeNext-23"), input_size=227,
        builder="squeezenext:squeezenext", arguments={**_SQNXT_BLOCKS, "group": 2}, source=_SQNXT,
    ),
    ZooEntry(
        name="1.0-SqNxt-23", slug="1.0-sqnxt-23", paper_row=6, paper_name="1.0-SqNxt-23",
        aliases=("SqNxt-23", "1.0-SqueezeNext-23"), input_size=227,
        builder="squeezenext:squeezenext", arguments=_SQNXT_BLOCKS, source=_SQNXT,
    ),
    ZooEntry(
        name="1.0-SqNxt-23v5", slug="1.0-sqnxt-23v5", paper_row=7, paper_name="1.0-SqNxt-23v5",
        aliases=("SqNxt-23v5", "1.0-SqueezeNext-23v5"), input_size=227,
        builder="squeezenext:squeezenext",
        arguments={"blocks": (2, 4, 14, 1), "first_kernel": 5, "squeeze_shortcut": True},
        source=_SQNXT,
    ),
    ZooEntry(
        name="Zynqnet", slug="zynqnet", paper_row=8, paper_name="Zynqnet",
        input_size=256, builder="squeezenet:zynqnet", source="dgschwend/zynqnet _TRAINED_MODEL",
    ),
    ZooEntry(
        name="MobileNet", slug="mobilenet", paper_row=9, paper_name="MobileNet",
        aliases=("MobileNet v1", "MobileNet 1.0"), input_size=224, builder="sequential:mobilenet",
        source="shicai/MobileNet-Caffe, with batch norm in place",
    ),
    ZooEntry(
        name="NIN", slug="nin", paper_row=10, paper_name="NIN",
        aliases=("Network in Network",), input_size=224, builder="sequential:nin",
        source="the Caffe model zoo's NIN for ImageNet",
    ),
    *_both_roundings(
        "DenseNet-121", "densenet-121", "densenet:densenet", {"blocks": (6, 12, 24, 16)},
        paper_row=11, source="shicai/DenseNet-Caffe.",
    ),
    *_both_roundings(
        "DenseNet-169", "densenet-169", "densenet:densenet", {"blocks": (6, 12, 32, 32)},
        paper_row=12, source="shicai/DenseNet-Caffe.",
    ),
    ZooEntry(
        name="Inception-V3", slug="inception-v3", paper_row=13, paper_name="Inception-V3",
        aliases=("Inception-V3-229",), input_size=229, builder="inception:inception_v3",
        source=f"{_SOEAVER}, at the input size at which the paper's columns match",
    ),
    ZooEntry(
        name="Inception-V3-299", slug="inception-v3-299", variant_of="Inception-V3",
        input_size=299, builder="inception:inception_v3",
        source=f"{_SOEAVER}, at its usual input size",
    ),
    ZooEntry(
        name="ResNet-101", slug="resnet-101", paper_row=14, paper_name="ResNet-101",
        input_size=224, builder="resnet:resnet", arguments={"blocks": (3, 4, 23, 3)},
        source="KaimingHe/deep-residual-networks",
    ),
    *_both_roundings(
        "ResNext50_32x4d", "resnext50-32x4d", "resnet:grouped_resnet",
        {"blocks": (3, 4, 6, 3), "first_width": 128, "group": 32},
        paper_row=15, aliases=("ResNeXt-50",), source=f"{_SOEAVER}.",
    ),
    ZooEntry(
        name="VGG 16", slug="vgg-16", paper_name="VGG 16", input_size=224,
        builder="sequential:vgg16",
        source="the Caffe model zoo's VGG_ILSVRC_16_layers",
    ),
    *_both_roundings(
        "DenseNet-201", "densenet-201", "densenet:densenet", {"blocks": (6, 12, 48, 32)},
        source="shicai/DenseNet-Caffe.",
    ),
    ZooEntry(
        name="Inception-ResNet-V2", slug="inception-resnet-v2", paper_name="Inception-ResNet-V2",
        input_size=299, builder="inception:inception_resnet_v2", source=_SOEAVER,
    ),
    ZooEntry(
        name="Inception-V4", slug="inception-v4", paper_name="Inception-V4",
        input_size=299, builder="inception:inception_v4", source=_SOEAVER,
    ),
    ZooEntry(
        name="ResNet-152", slug="resnet-152", paper_name="ResNet-152",
        input_size=224, builder="resnet:resnet", arguments={"blocks": (3, 8, 36, 3)},
        source="KaimingHe/deep-residual-networks",
    ),
    ZooEntry(
        name="ResNet-152-v2", slug="resnet-152-v2",
        paper_name="ResNet-152 (listed a second time)", aliases=("ResNetV2-152",),
        input_size=224, builder="resnet:resnet_v2", arguments={"blocks": (3, 8, 36, 3)},
        source=f"{_SOEAVER}; most likely what the paper's second ResNet-152 is",
    ),
    ZooEntry(
        name="ResNetV2-269", slug="resnet-269-v2", paper_name="ResNetV2-269",
        aliases=("ResNet-269", "ResNet-269-v2"), input_size=224, builder="resnet:resnet_v2",
        arguments={"blocks": (3, 30, 48, 8)}, source=_SOEAVER,
    ),
    *_both_roundings(
        "Wrn-50-2", "wrn-50-2", "resnet:wide_resnet50_2", {},
        aliases=("Wide-ResNet-50-2", "WRN50-2"), source=f"{_SOEAVER}.",
    ),
    *_both_roundings(
        "ResNext101_32x4d", "resnext101-32x4d", "resnet:grouped_resnet",
        {"blocks": (3, 4, 23, 3), "first_width": 128, "group": 32}, source=f"{_SOEAVER}.",
    ),
    *_both_roundings(
        "ResNext101_64x4d", "resnext101-64x4d", "resnet:grouped_resnet",
        {"blocks": (3, 4, 23, 3), "first_width": 256, "group": 64}, source=f"{_SOEAVER}.",
    ),
    ZooEntry(
        name="Xception Net", slug="xception", paper_name="Xception Net", aliases=("Xception",),
        input_size=299, builder="xception:xception", source=_SOEAVER,
    ),
)  # fmt: skip
"""The 26 networks of the paper in its order, each followed by its variants."""


def normalised(name: str) -> str:
    """Return a name without case, spaces, hyphens, underscores and dots."""
    return re.sub(r"[\W_]+", "", name.casefold())


@cache
def _by_name() -> dict[str, ZooEntry]:
    return {
        normalised(name): entry
        for entry in CATALOG
        for name in (*entry.aliases, entry.slug, entry.name)
    }


def known_sha256(slug: str) -> str:
    """Return the hash of the network's prototxt, which takes a fifth of a plan's time to write.

    The list is the output of `sha256sum` for the files that `pibench networks export` writes.
    """
    return _sha256_sums()[f"{slug}.prototxt"]


@cache
def _sha256_sums() -> dict[str, str]:
    sums = resources.files("pibench.networks.zoo") / "SHA256SUMS"
    lines = sums.read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in map(str.split, lines)}


def catalog_entries() -> tuple[ZooEntry, ...]:
    """Return all entries of the catalogue; nothing is built."""
    return CATALOG


def names() -> list[str]:
    """Return the names of the zoo: the paper's networks in its order, each with its variants."""
    return [entry.name for entry in CATALOG]


def knows(name: str) -> bool:
    """Return whether the zoo has a network called `name`, in any spelling."""
    return normalised(name) in _by_name()


def find(name: str) -> ZooEntry:
    """Return the entry of the network called `name`, in any spelling.

    Raises:
        UnknownNetworkError: No network has this name; the error lists the closest names.
    """
    table = _by_name()
    wanted = normalised(name)
    if wanted in table:
        return table[wanted]
    close = difflib.get_close_matches(wanted, list(table), n=5, cutoff=0.5)
    suggestions = list(dict.fromkeys(table[key].name for key in close))[:3]
    hint = (
        f"did you mean {', '.join(suggestions)}?" if suggestions else "see: pibench networks list"
    )
    raise UnknownNetworkError(f"{name!r} is neither a network of the zoo nor a file", hint=hint)
