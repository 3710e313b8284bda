"""Build Xception: residual blocks of depthwise separable convolutions."""

from __future__ import annotations

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.networks.zoo.builder import NetBuilder

EPS = 1e-3
MIDDLE_WIDTH = 728


def separable(n: NetBuilder, name: str, inputs: int, outputs: int, *, relu: bool) -> None:
    """Add 3 x 3 depthwise, then 1 x 1, then one batch norm for both."""
    n.conv(f"{name}_1", inputs, 3, pad=1, group=inputs, bias=False)
    n.conv(f"{name}_2", outputs, 1, bias=False)
    n.bn_scale(f"{name}_bn", f"{name}_scale", eps=EPS)
    if relu:
        n.relu(f"{name}_relu")


def shrinking_block(
    n: NetBuilder, index: int, widths: tuple[int, int, int], *, pool_pad: int = 1
) -> None:
    """Add two separable convolutions and a pooling, parallel to a 1 x 1 convolution of stride 2.

    `widths` are the channels before, between and after. The shortcut takes the input as it is; the
    separable branch takes it rectified, which the first block's input already is.
    """
    name = f"xception{index}"
    source = n.last
    before, between, after = widths
    shortcut = n.conv_bn(f"{name}_match_conv", after, 1, stride=2, eps=EPS, relu=False)
    n.last = source
    if index > 1:
        n.relu(f"{name}_relu", top=f"{name}_relu")
    separable(n, f"{name}_conv1", before, between, relu=True)
    separable(n, f"{name}_conv2", between, after, relu=False)
    pooled = n.pool(f"{name}_pool", "MAX", 3, stride=2, pad=pool_pad)
    n.add(f"{name}_elewise", [shortcut, pooled])


def middle_block(n: NetBuilder, index: int) -> None:
    """Add three separable convolutions at constant size; add them to the input."""
    name = f"xception{index}"
    source = n.last
    n.relu(f"{name}_relu", top=f"{name}_relu")
    for position in (1, 2, 3):
        separable(n, f"{name}_conv{position}", MIDDLE_WIDTH, MIDDLE_WIDTH, relu=position < 3)
    n.add(f"{name}_elewise", [source, n.last])


def xception(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size (299: the maps go 149, 147, 74, 37, 19, 10)."""
    n = NetBuilder(name, size=size)
    n.conv_bn("conv1", 32, 3, stride=2, eps=EPS)
    n.conv_bn("conv2", 64, 3, eps=EPS)
    shrinking_block(n, 1, (64, 128, 128))
    # 74 is even: without padding the pooling gives the 37 of the shortcut.
    shrinking_block(n, 2, (128, 256, 256), pool_pad=0)
    shrinking_block(n, 3, (256, MIDDLE_WIDTH, MIDDLE_WIDTH))
    for index in range(4, 12):
        middle_block(n, index)
    shrinking_block(n, 12, (MIDDLE_WIDTH, MIDDLE_WIDTH, 1024))
    separable(n, "conv3", 1024, 1536, relu=True)
    separable(n, "conv4", 1536, 2048, relu=True)
    n.global_pool("pool_ave")
    return n.classifier("classifier")
