"""Build SqueezeNet v1.0 and v1.1: fire modules squeeze to few channels and expand again.

ZynqNet is a SqueezeNet that only has convolutions, made for an FPGA.
"""

from __future__ import annotations

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.networks.zoo.builder import NetBuilder

FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192),
         8: (64, 256), 9: (64, 256)}  # fmt: skip
"""Squeeze filters, and filters of each of the two expansions, by module number."""


def expand_module(n: NetBuilder, name: str, squeezed: str, outputs: int) -> None:
    """Add 1 x 1 and 3 x 3 expansions of `outputs` filters each side by side, concatenated."""
    narrow = n.conv_relu(f"{name}/expand1x1", f"{name}/relu_expand1x1", outputs, 1, bottom=squeezed)
    wide = n.conv_relu(
        f"{name}/expand3x3", f"{name}/relu_expand3x3", outputs, 3, pad=1, bottom=squeezed
    )
    n.concat(f"{name}/concat", [narrow, wide])


def fire(n: NetBuilder, number: int) -> None:
    """Add a 1 x 1 squeeze, then both expansions."""
    squeeze, outputs = FIRES[number]
    name = f"fire{number}"
    squeezed = n.conv_relu(f"{name}/squeeze1x1", f"{name}/relu_squeeze1x1", squeeze, 1)
    expand_module(n, name, squeezed, outputs)


def squeezenet(
    name: str,
    *,
    size: int,
    first: tuple[int, int],
    pool_after: tuple[int, int],
    classifier_pad: int,
) -> caffe.NetParameter:
    """Build the network; input 3 x size x size.

    `first` is filters and kernel of the first convolution, `pool_after` the two fire modules
    followed by a pooling: v1.1 is faster because it pools earlier. v1.0 pads its 1 x 1 classifier
    by one.
    """
    n = NetBuilder(name, size=size)
    filters, kernel = first
    n.conv_relu("conv1", "relu_conv1", filters, kernel, stride=2)
    n.pool("pool1", "MAX", 3, stride=2)
    for number in FIRES:
        fire(n, number)
        if number in pool_after:
            n.pool(f"pool{number}", "MAX", 3, stride=2)
    n.dropout("drop9")
    n.conv_relu("conv10", "relu_conv10", 1000, 1, pad=classifier_pad)
    n.global_pool("pool10")
    n.softmax()
    return n.net


ZYNQNET_FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (64, 256),
                 7: (64, 192), 8: (112, 256), 9: (112, 368)}  # fmt: skip
"""Squeeze filters, and filters of each of the two expansions, by module number."""


def zynqnet_fire(n: NetBuilder, number: int) -> None:
    """Add a squeeze, then both expansions.

    The only pooling is the network's last: where the maps shrink, in the even modules, the squeeze
    is a 3 x 3 convolution of stride 2.
    """
    squeeze, outputs = ZYNQNET_FIRES[number]
    name = f"fire{number}"
    kernel, stride, pad = (3, 2, 1) if number % 2 == 0 else (1, 1, 0)
    part = f"squeeze{kernel}x{kernel}"
    squeezed = n.conv_relu(
        f"{name}/{part}", f"{name}/relu_{part}", squeeze, kernel, stride=stride, pad=pad
    )
    expand_module(n, name, squeezed, outputs)


def zynqnet(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size; 1024 outputs in two halves, 1000 are classes."""
    n = NetBuilder(name, size=size)
    n.conv_relu("conv1", "relu_conv1", 64, 3, stride=2, pad=1)
    for number in ZYNQNET_FIRES:
        zynqnet_fire(n, number)
    features = n.dropout("drop9")
    halves = [n.conv(f"conv10/split{half}", 512, 1, bottom=features) for half in (1, 2)]
    n.concat("conv10", halves)
    n.global_pool("pool10")
    n.softmax()
    return n.net
