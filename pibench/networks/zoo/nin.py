"""Build Network in Network: two 1 x 1 convolutions (cccp) follow each convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.networks.zoo.builder import NetBuilder

if TYPE_CHECKING:
    from pibench.engines.caffe import caffe_pb2 as caffe


def nin(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size (at 224 the last pooling reads 6 x 6 maps)."""
    n = NetBuilder(name, size=size)

    n.conv_relu("conv1", "relu0", 96, 11, stride=4)
    n.conv_relu("cccp1", "relu1", 96, 1)
    n.conv_relu("cccp2", "relu2", 96, 1)
    n.pool("pool0", "MAX", 3, stride=2)

    n.conv_relu("conv2", "relu3", 256, 5, pad=2)
    n.conv_relu("cccp3", "relu5", 256, 1)
    n.conv_relu("cccp4", "relu6", 256, 1)
    n.pool("pool2", "MAX", 3, stride=2)

    n.conv_relu("conv3", "relu7", 384, 3, pad=1)
    n.conv_relu("cccp5", "relu8", 384, 1)
    n.conv_relu("cccp6", "relu9", 384, 1)
    n.pool("pool3", "MAX", 3, stride=2)
    n.dropout("drop")

    n.conv_relu("conv4-1024", "relu10", 1024, 3, pad=1)
    n.conv_relu("cccp7-1024", "relu11", 1024, 1)
    n.conv_relu("cccp8-1024", "relu12", 1000, 1)
    n.pool("pool4", "AVE", 6)
    n.softmax()
    return n.net
