"""Build WRN-50-2: ResNet-50 with bottlenecks twice as wide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.networks.zoo.resnext import grouped_resnet

if TYPE_CHECKING:
    from pibench.engines.caffe import caffe_pb2 as caffe


def wide_resnet50_2(name: str, *, size: int, floor: bool) -> caffe.NetParameter:
    """Build the network; input 3 x size x size.

    The blocks are those of ResNeXt with one group: the 3 x 3 convolution takes the stride.
    """
    return grouped_resnet(
        name, size=size, blocks=(3, 4, 6, 3), first_width=128, group=1, floor=floor, prefix="res"
    )
