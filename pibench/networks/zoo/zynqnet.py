"""Build ZynqNet: a SqueezeNet that only has convolutions, made for an FPGA.

The only pooling is the last: where the maps shrink, the squeeze is a 3 x 3 convolution of stride 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.networks.zoo.builder import NetBuilder

if TYPE_CHECKING:
    from pibench.engines.caffe import caffe_pb2 as caffe

FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (64, 256), 7: (64, 192),
         8: (112, 256), 9: (112, 368)}  # fmt: skip
"""Squeeze filters, and filters of each of the two expansions, by module number."""


def fire(n: NetBuilder, number: int) -> None:
    """Add a squeeze (3 x 3 with stride 2 in the even modules), then both expansions."""
    squeeze, expand = FIRES[number]
    name = f"fire{number}"
    if number % 2 == 0:
        squeezed = n.conv_relu(
            f"{name}/squeeze3x3", f"{name}/relu_squeeze3x3", squeeze, 3, stride=2, pad=1
        )
    else:
        squeezed = n.conv_relu(f"{name}/squeeze1x1", f"{name}/relu_squeeze1x1", squeeze, 1)
    narrow = n.conv_relu(f"{name}/expand1x1", f"{name}/relu_expand1x1", expand, 1, bottom=squeezed)
    wide = n.conv_relu(
        f"{name}/expand3x3", f"{name}/relu_expand3x3", expand, 3, pad=1, bottom=squeezed
    )
    n.concat(f"{name}/concat", [narrow, wide])


def zynqnet(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size; 1024 outputs in two halves, 1000 are classes."""
    n = NetBuilder(name, size=size)
    n.conv_relu("conv1", "relu_conv1", 64, 3, stride=2, pad=1)
    for number in FIRES:
        fire(n, number)
    features = n.dropout("drop9")
    halves = [n.conv(f"conv10/split{half}", 512, 1, bottom=features) for half in (1, 2)]
    n.concat("conv10", halves)
    n.global_pool("pool10")
    n.softmax()
    return n.net
