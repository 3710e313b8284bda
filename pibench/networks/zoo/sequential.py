"""Build the networks without branches: AlexNet (as BVLC trained it), NIN, VGG-16, MobileNet."""

from __future__ import annotations

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.networks.zoo.builder import NetBuilder


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


VGG16_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Convolutions and channels of each stage."""


def vgg16(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size (at 224 the last pooling leaves 512 x 7 x 7)."""
    n = NetBuilder(name, size=size)
    for stage, (convolutions, channels) in enumerate(VGG16_STAGES, start=1):
        for index in range(1, convolutions + 1):
            n.conv_relu(f"conv{stage}_{index}", f"relu{stage}_{index}", channels, 3, pad=1)
        n.pool(f"pool{stage}", "MAX", 2, stride=2)

    for dense in (6, 7):
        n.fc(f"fc{dense}", 4096)
        n.relu(f"relu{dense}")
        n.dropout(f"drop{dense}")
    return n.classifier("fc8")


MOBILENET_STAGES = {
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
    for stage, separables in MOBILENET_STAGES.items():
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
