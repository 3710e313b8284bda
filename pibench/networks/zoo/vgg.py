"""Build VGG-16: thirteen 3 x 3 convolutions in five stages, three dense layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.networks.zoo.builder import NetBuilder

if TYPE_CHECKING:
    from pibench.engines.caffe import caffe_pb2 as caffe

STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Convolutions and channels of each stage."""


def vgg16(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size (at 224 the last pooling leaves 512 x 7 x 7)."""
    n = NetBuilder(name, size=size)
    for stage, (convolutions, channels) in enumerate(STAGES, start=1):
        for index in range(1, convolutions + 1):
            n.conv_relu(f"conv{stage}_{index}", f"relu{stage}_{index}", channels, 3, pad=1)
        n.pool(f"pool{stage}", "MAX", 2, stride=2)

    for dense in (6, 7):
        n.fc(f"fc{dense}", 4096)
        n.relu(f"relu{dense}")
        n.dropout(f"drop{dense}")
    return n.classifier("fc8")
