"""Build MobileNet v1: thirteen depthwise separable convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.networks.zoo.builder import NetBuilder

if TYPE_CHECKING:
    from pibench.engines.caffe import caffe_pb2 as caffe

STAGES = {
    "2": ((64, 1), (128, 2)),
    "3": ((128, 1), (256, 2)),
    "4": ((256, 1), (512, 2)),
    "5": ((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2)),
    "6": ((1024, 1),),
}
"""Output channels and stride of each separable convolution, by stage."""


def bn_relu(n: NetBuilder, conv: str, relu: str) -> None:
    """Add batch norm and rectifier after `conv`, in place."""
    n.bn_scale(f"{conv}/bn", f"{conv}/scale", global_stats=False)
    n.relu(relu)


def mobilenet(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size.

    A depthwise convolution is, in stock Caffe, one with as many groups as channels.
    """
    n = NetBuilder(name, size=size)
    channels = 32
    n.conv("conv1", channels, 3, stride=2, pad=1, bias=False)
    bn_relu(n, "conv1", "relu1")
    for stage, separables in STAGES.items():
        for index, (outputs, stride) in enumerate(separables, start=1):
            block = stage if len(separables) == 1 else f"{stage}_{index}"
            n.conv(f"conv{block}/dw", channels, 3, stride=stride, pad=1, group=channels, bias=False)
            bn_relu(n, f"conv{block}/dw", f"relu{block}/dw")
            n.conv(f"conv{block}/sep", outputs, 1, bias=False)
            bn_relu(n, f"conv{block}/sep", f"relu{block}/sep")
            channels = outputs
    n.global_pool("pool6")
    n.conv("fc7", 1000, 1)
    n.softmax()
    return n.net
