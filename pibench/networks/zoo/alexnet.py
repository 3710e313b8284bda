"""Build AlexNet as BVLC trained it: five convolutions, two normalisations, three dense layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.networks.zoo.builder import NetBuilder

if TYPE_CHECKING:
    from pibench.engines.caffe import caffe_pb2 as caffe


def alexnet(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size (at 227 pool5 leaves 256 x 6 x 6).

    Two of the convolutions have the two groups that the original ran on two GPUs.
    """
    n = NetBuilder(name, size=size)
    n.conv_relu("conv1", "relu1", 96, 11, stride=4)
    n.lrn("norm1")
    n.pool("pool1", "MAX", 3, stride=2)

    n.conv_relu("conv2", "relu2", 256, 5, pad=2, group=2)
    n.lrn("norm2")
    n.pool("pool2", "MAX", 3, stride=2)

    n.conv_relu("conv3", "relu3", 384, 3, pad=1)
    n.conv_relu("conv4", "relu4", 384, 3, pad=1, group=2)
    n.conv_relu("conv5", "relu5", 256, 3, pad=1, group=2)
    n.pool("pool5", "MAX", 3, stride=2)

    for dense in (6, 7):
        n.fc(f"fc{dense}", 4096)
        n.relu(f"relu{dense}")
        n.dropout(f"drop{dense}")
    return n.classifier("fc8")
