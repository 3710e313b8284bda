"""Build GoogLeNet (Inception v1): nine inception modules; training heads are not deployed."""

from __future__ import annotations

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.networks.zoo.builder import NetBuilder

MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Filters: 1x1, 3x3 reduction, 3x3, 5x5 reduction, 5x5, projection after the pooling."""

HEADS = {"4a": "loss1", "4d": "loss2"}
"""The training heads, by the module that they read."""


def inception(n: NetBuilder, module: str) -> None:
    """Add four branches on one input, concatenated."""
    direct, reduce3, wide3, reduce5, wide5, projection = MODULES[module]
    name = f"inception_{module}"
    source = n.last

    def conv(part: str, outputs: int, kernel: int, bottom: str, pad: int = 0) -> str:
        return n.conv_relu(
            f"{name}/{part}", f"{name}/relu_{part}", outputs, kernel, pad=pad, bottom=bottom
        )

    branches = [
        conv("1x1", direct, 1, source),
        conv("3x3", wide3, 3, conv("3x3_reduce", reduce3, 1, source), pad=1),
        conv("5x5", wide5, 5, conv("5x5_reduce", reduce5, 1, source), pad=2),
    ]
    pooled = n.pool(f"{name}/pool", "MAX", 3, pad=1, bottom=source)
    branches.append(conv("pool_proj", projection, 1, pooled))
    n.concat(f"{name}/output", branches)


def training_head(n: NetBuilder, head: str) -> None:
    """Add a training head: in the published weights file, not in the deploy network."""
    trunk = n.last
    n.pool(f"{head}/ave_pool", "AVE", 5, stride=3)
    n.conv_relu(f"{head}/conv", f"{head}/relu_conv", 128, 1)
    n.fc(f"{head}/fc", 1024)
    n.relu(f"{head}/relu_fc")
    n.dropout(f"{head}/drop_fc", 0.7)
    n.fc(f"{head}/classifier", 1000)
    n.last = trunk


def googlenet(name: str, *, size: int, heads: bool = False) -> caffe.NetParameter:
    """Build the network; input 3 x size x size (224).

    With `heads` it is the network of the published weights file.
    """
    n = NetBuilder(name, size=size)
    n.conv_relu("conv1/7x7_s2", "conv1/relu_7x7", 64, 7, stride=2, pad=3)
    n.pool("pool1/3x3_s2", "MAX", 3, stride=2)
    n.lrn("pool1/norm1")
    n.conv_relu("conv2/3x3_reduce", "conv2/relu_3x3_reduce", 64, 1)
    n.conv_relu("conv2/3x3", "conv2/relu_3x3", 192, 3, pad=1)
    n.lrn("conv2/norm2")
    n.pool("pool2/3x3_s2", "MAX", 3, stride=2)
    for module in MODULES:
        inception(n, module)
        if module in ("3b", "4e"):
            n.pool(f"pool{module[0]}/3x3_s2", "MAX", 3, stride=2)
        if heads and module in HEADS:
            training_head(n, HEADS[module])
    n.pool("pool5/7x7_s1", "AVE", 7)
    n.dropout("pool5/drop_7x7_s1", 0.4)
    return n.classifier("loss3/classifier")
