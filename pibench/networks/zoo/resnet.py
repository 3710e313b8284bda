"""Build ResNet-101 and -152 (rectified after the sum), and the v2 networks (normalised before)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.networks.zoo.builder import NetBuilder

if TYPE_CHECKING:
    from pibench.engines.caffe import caffe_pb2 as caffe

WIDTHS = (64, 128, 256, 512)
"""Channels inside the bottleneck, by stage; a block outputs four times as many."""


def block_names(stage: int, blocks: int) -> list[str]:
    """Return the authors' block names: 2a 2b 2c for short stages, 3a 3b1 3b2 ... for long ones."""
    if blocks <= 3:
        return [f"{stage}{letter}" for letter in "abc"[:blocks]]
    return [f"{stage}a"] + [f"{stage}b{index}" for index in range(1, blocks)]


def branch(
    n: NetBuilder,
    name: str,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    pad: int = 0,
    bottom: str | None = None,
    relu: bool = True,
) -> str:
    """Add one convolution of a block with its batch norm, called res, bn and scale + `name`."""
    top = n.conv(f"res{name}", outputs, kernel, stride=stride, pad=pad, bias=False, bottom=bottom)
    n.bn_scale(f"bn{name}", f"scale{name}")
    return n.relu(f"res{name}_relu") if relu else top


def bottleneck(n: NetBuilder, name: str, width: int, *, stride: int, project: bool) -> None:
    """Add 1 x 1 (with the stride), 3 x 3, 1 x 1; add them to the shortcut, then rectify."""
    source = shortcut = n.last
    if project:
        shortcut = branch(n, f"{name}_branch1", 4 * width, 1, stride=stride, relu=False)
    branch(n, f"{name}_branch2a", width, 1, stride=stride, bottom=source)
    branch(n, f"{name}_branch2b", width, 3, pad=1)
    residual = branch(n, f"{name}_branch2c", 4 * width, 1, relu=False)
    n.add(f"res{name}", [shortcut, residual])
    n.relu(f"res{name}_relu")


def resnet(name: str, *, size: int, blocks: tuple[int, int, int, int]) -> caffe.NetParameter:
    """Build the network; input 3 x size x size, `blocks` bottlenecks per stage, as published."""
    n = NetBuilder(name, size=size)
    n.conv("conv1", 64, 7, stride=2, pad=3, bias=False)
    n.bn_scale("bn_conv1", "scale_conv1")
    n.relu("conv1_relu")
    n.pool("pool1", "MAX", 3, stride=2)
    for stage, (count, width) in enumerate(zip(blocks, WIDTHS, strict=True), start=2):
        for index, block in enumerate(block_names(stage, count)):
            stride = 2 if stage > 2 and index == 0 else 1
            bottleneck(n, block, width, stride=stride, project=index == 0)
    n.global_pool("pool5")
    return n.classifier("fc1000")


def bottleneck_v2(n: NetBuilder, index: int, width: int, *, stride: int, project: bool) -> None:
    """Add batch norm and rectifier, then 1 x 1, 3 x 3 (with the stride), 1 x 1; plain sum.

    The first block follows the stem directly, which has been normalised.
    """
    name = f"res{index}"
    shortcut = n.last
    if index > 1:
        n.bn_scale(f"{name}_bn", f"{name}_scale", top=f"{name}_bn")
        n.relu(f"{name}_relu")
    activated = n.last
    n.conv_bn(f"{name}_conv1", width, 1)
    n.conv_bn(f"{name}_conv2", width, 3, stride=stride, pad=1)
    residual = n.conv(f"{name}_conv3", 4 * width, 1, bias=False)
    if project:
        shortcut = n.conv(
            f"{name}_match_conv", 4 * width, 1, stride=stride, bias=False, bottom=activated
        )
    n.add(f"{name}_eletwise", [shortcut, residual])


def resnet_v2(name: str, *, size: int, blocks: tuple[int, int, int, int]) -> caffe.NetParameter:
    """Build the network; input 3 x size x size, `blocks` pre-activation bottlenecks per stage."""
    n = NetBuilder(name, size=size)
    n.conv_bn("conv1", 64, 7, stride=2, pad=3)
    n.pool("pool1", "MAX", 3, stride=2)
    index = 0
    for stage, (count, width) in enumerate(zip(blocks, WIDTHS, strict=True)):
        for position in range(count):
            index += 1
            stride = 2 if stage > 0 and position == 0 else 1
            bottleneck_v2(n, index, width, stride=stride, project=position == 0)
    last = n.last
    n.bn_scale(f"{last}_bn", f"{last}_scale", top=f"{last}_bn")
    n.relu(f"{last}_relu")
    n.global_pool("pool5")
    return n.classifier("classifier")
