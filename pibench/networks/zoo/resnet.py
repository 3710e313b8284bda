"""Build the residual networks.

They are ResNet-101 and -152 (rectified after the sum), the v2 networks (normalised before it),
ResNeXt, whose 3 x 3 convolutions are split into many groups, and the wide ResNet.
"""

from __future__ import annotations

from typing import Unpack

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.networks.zoo.builder import NetBuilder, Window

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
    relu: bool = True,
    **window: Unpack[Window],
) -> str:
    """Add one convolution of a block with its batch norm, called res, bn and scale + `name`."""
    top = n.conv(f"res{name}", outputs, kernel, bias=False, **window)
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


def grouped_bottleneck(
    n: NetBuilder, name: str, outputs: int, width: int, *, group: int, stride: int, project: bool
) -> None:
    """Add 1 x 1, grouped 3 x 3 (with the stride), 1 x 1; add them to the shortcut, rectify."""
    shortcut = source = n.last
    n.conv_bn(f"{name}_conv1", width, 1)
    n.conv_bn(f"{name}_conv2", width, 3, stride=stride, pad=1, group=group)
    residual = n.conv_bn(f"{name}_conv3", outputs, 1, relu=False)
    if project:
        shortcut = n.conv_bn(
            f"{name}_match_conv", outputs, 1, stride=stride, bottom=source, relu=False
        )
    n.add(f"{name}_elewise", [shortcut, residual])
    n.relu(f"{name}_elewise_relu")


def grouped_resnet(
    name: str,
    *,
    size: int,
    blocks: tuple[int, int, int, int],
    first_width: int,
    group: int,
    floor: bool,
    prefix: str = "resx",
) -> caffe.NetParameter:
    """Build the network; input 3 x size x size, `blocks` per stage; the inner width doubles.

    `first_width` is that of the first stage: 32 groups of 4 make 128. `floor` rounds the first
    pooling down, as the designers do: 56 x 56 maps at 224. Without it stock Caffe rounds up: 57 x
    57.
    """
    n = NetBuilder(name, size=size)
    n.conv_bn("conv1", 64, 7, stride=2, pad=3)
    n.pool("pool1", "MAX", 3, stride=2, pad=1, floor=floor)
    index = 0
    for stage, (count, width) in enumerate(zip(blocks, WIDTHS, strict=True)):
        for position in range(count):
            index += 1
            grouped_bottleneck(
                n,
                f"{prefix}{index}",
                4 * width,
                first_width << stage,
                group=group,
                stride=2 if stage > 0 and position == 0 else 1,
                project=position == 0,
            )
    n.global_pool("pool_ave")
    return n.classifier("classifier")


def wide_resnet50_2(name: str, *, size: int, floor: bool) -> caffe.NetParameter:
    """Build the network; input 3 x size x size.

    The blocks are those of ResNeXt with one group: the 3 x 3 convolution takes the stride.
    """
    return grouped_resnet(
        name, size=size, blocks=(3, 4, 6, 3), first_width=128, group=1, floor=floor, prefix="res"
    )
