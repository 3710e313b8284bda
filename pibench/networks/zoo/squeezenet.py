"""Build SqueezeNet v1.0 and v1.1: fire modules squeeze to few channels and expand again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.networks.zoo.builder import NetBuilder

if TYPE_CHECKING:
    from pibench.engines.caffe import caffe_pb2 as caffe

FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192),
         8: (64, 256), 9: (64, 256)}  # fmt: skip
"""Squeeze filters, and filters of each of the two expansions, by module number."""


def fire(n: NetBuilder, number: int) -> None:
    """Add a 1 x 1 squeeze, then 1 x 1 and 3 x 3 expansions side by side, concatenated."""
    squeeze, expand = FIRES[number]
    name = f"fire{number}"
    squeezed = n.conv_relu(f"{name}/squeeze1x1", f"{name}/relu_squeeze1x1", squeeze, 1)
    narrow = n.conv_relu(f"{name}/expand1x1", f"{name}/relu_expand1x1", expand, 1, bottom=squeezed)
    wide = n.conv_relu(
        f"{name}/expand3x3", f"{name}/relu_expand3x3", expand, 3, pad=1, bottom=squeezed
    )
    n.concat(f"{name}/concat", [narrow, wide])


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
