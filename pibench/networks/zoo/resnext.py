"""Build ResNeXt, whose 3 x 3 convolutions are split into many groups, and the wide ResNet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.networks.zoo.builder import NetBuilder

if TYPE_CHECKING:
    from pibench.engines.caffe import caffe_pb2 as caffe

OUTPUTS = (256, 512, 1024, 2048)
"""Output channels of the blocks of each stage."""


def bottleneck(
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
    for stage, (count, outputs) in enumerate(zip(blocks, OUTPUTS, strict=True)):
        for position in range(count):
            index += 1
            bottleneck(
                n,
                f"{prefix}{index}",
                outputs,
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
