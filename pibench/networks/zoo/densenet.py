"""Build DenseNet-121, -169 and -201: every layer reads the concatenation of all before it."""

from __future__ import annotations

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.networks.zoo.builder import NetBuilder

GROWTH = 32
"""Channels that each layer of a dense block adds."""

EPS = 1e-5


def bn_relu(n: NetBuilder, prefix: str, relu: str) -> None:
    """Add batch norm into a new blob (the bottom is needed again), and a rectifier in place."""
    n.bn_scale(f"{prefix}/bn", f"{prefix}/scale", top=f"{prefix}/bn", eps=EPS, global_stats=False)
    n.relu(relu)


def dense_layer(n: NetBuilder, stage: int, index: int) -> None:
    """Add a 1 x 1 bottleneck and a 3 x 3 convolution, both normalised first; append the result."""
    before = n.last
    block = f"{stage}_{index}"
    bn_relu(n, f"conv{block}/x1", f"relu{block}/x1")
    n.conv(f"conv{block}/x1", 4 * GROWTH, 1, bias=False)
    bn_relu(n, f"conv{block}/x2", f"relu{block}/x2")
    added = n.conv(f"conv{block}/x2", GROWTH, 3, pad=1, bias=False)
    n.concat(f"concat_{block}", [before, added])


def densenet(
    name: str, *, size: int, blocks: tuple[int, int, int, int], floor: bool
) -> caffe.NetParameter:
    """Build the network; input 3 x size x size, `blocks` dense layers per stage.

    `floor` rounds the first pooling down, as the designers do: 56 x 56 maps at 224. Without it
    stock Caffe rounds up: 57 x 57.
    """
    n = NetBuilder(name, size=size)
    channels = 2 * GROWTH
    n.conv("conv1", channels, 7, stride=2, pad=3, bias=False)
    bn_relu(n, "conv1", "relu1")
    n.pool("pool1", "MAX", 3, stride=2, pad=1, floor=floor)

    for stage, layers in enumerate(blocks, start=2):
        for index in range(1, layers + 1):
            dense_layer(n, stage, index)
        channels += layers * GROWTH
        bn_relu(n, f"conv{stage}_blk", f"relu{stage}_blk")
        if stage < 5:
            # A transition halves the channels, then the maps.
            channels //= 2
            n.conv(f"conv{stage}_blk", channels, 1, bias=False)
            n.pool(f"pool{stage}", "AVE", 2, stride=2)
    n.global_pool("pool5")
    n.conv("fc6", 1000, 1)
    n.softmax()
    return n.net
