"""Build Inception-ResNet-v2: branches are residuals, scaled down before they are added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.networks.zoo.builder import NetBuilder, branch, chain

if TYPE_CHECKING:
    from pibench.engines.caffe import caffe_pb2 as caffe


def stem(n: NetBuilder) -> None:
    """Add the stem, 3 x 299 x 299 to 320 x 35 x 35: a plain stack, then one inception module."""
    branch(n, "conv1_3x3_s2", 32, 3, stride=2, same=False)
    branch(n, "conv2_3x3_s1", 32, 3, same=False)
    branch(n, "conv3_3x3_s1", 64, 3)
    n.pool("pool1_3x3_s2", "MAX", 3, stride=2)
    branch(n, "conv4_3x3_reduce", 80, 1)
    branch(n, "conv4_3x3", 192, 3, same=False)
    x = n.pool("pool2_3x3_s2", "MAX", 3, stride=2)
    direct = branch(n, "conv5_1x1", 96, 1, bottom=x)
    five = chain(n, "conv5", x, [("5x5_reduce", 48, 1), ("5x5", 64, 5)])
    double = chain(n, "conv5", x, [("3x3_reduce", 64, 1), ("3x3", 96, 3), ("3x3_2", 96, 3)])
    n.pool("ave_pool", "AVE", 3, pad=1, bottom=x)
    pooled = branch(n, "conv5_1x1_ave", 64, 1)
    n.concat("stem_concat", [direct, five, double, pooled])


def add_residual(
    n: NetBuilder, name: str, source: str, branches: list[str], *, channels: int, scale: float
) -> None:
    """Bring the branches to the input's channels, add `scale` times that, rectify."""
    n.concat(f"{name}_concat", branches)
    residual = n.conv(f"{name}_up", channels, 1)
    n.add(f"{name}_residual_eltwise", [source, residual], coefficients=[1.0, scale])
    n.relu(f"{name}_residual_eltwise_relu")


def module_a(n: NetBuilder, name: str) -> None:
    """Add module A, 320 x 35 x 35: 1 x 1, 3 x 3 and two 3 x 3."""
    x = n.last
    direct = branch(n, f"{name}_1x1", 32, 1, bottom=x)
    single = chain(n, name, x, [("3x3_reduce", 32, 1), ("3x3", 32, 3)])
    double = chain(n, name, x, [("3x3_2_reduce", 32, 1), ("3x3_2", 48, 3), ("3x3_3", 64, 3)])
    add_residual(n, name, x, [direct, single, double], channels=320, scale=0.17)


def reduction_a(n: NetBuilder) -> None:
    """Add reduction A, 320 x 35 x 35 to 1088 x 17 x 17."""
    x, name = n.last, "reduction_a"
    single = branch(n, f"{name}_3x3", 384, 3, stride=2, same=False, bottom=x)
    chain(n, name, x, [("3x3_2_reduce", 256, 1), ("3x3_2", 256, 3)])
    double = branch(n, f"{name}_3x3_3", 384, 3, stride=2, same=False)
    pooled = n.pool(f"{name}_pool", "MAX", 3, stride=2, bottom=x)
    n.concat(f"{name}_concat", [single, double, pooled])


def module_b(n: NetBuilder, name: str) -> None:
    """Add module B, 1088 x 17 x 17: 1 x 1, and 7 x 7 as 1 x 7 and 7 x 1."""
    x = n.last
    direct = branch(n, f"{name}_1x1", 192, 1, bottom=x)
    split = chain(n, name, x, [("1x7_reduce", 128, 1), ("1x7", 160, (1, 7)), ("7x1", 192, (7, 1))])
    add_residual(n, name, x, [direct, split], channels=1088, scale=0.10)


def reduction_b(n: NetBuilder) -> None:
    """Add reduction B, 1088 x 17 x 17 to 2080 x 8 x 8."""
    x, name = n.last, "reduction_b"
    branch(n, f"{name}_3x3_reduce", 256, 1, bottom=x)
    first = branch(n, f"{name}_3x3", 384, 3, stride=2, same=False)
    branch(n, f"{name}_3x3_2_reduce", 256, 1, bottom=x)
    second = branch(n, f"{name}_3x3_2", 288, 3, stride=2, same=False)
    chain(n, name, x, [("3x3_3_reduce", 256, 1), ("3x3_3", 288, 3)])
    third = branch(n, f"{name}_3x3_4", 320, 3, stride=2, same=False)
    pooled = n.pool(f"{name}_pool", "MAX", 3, stride=2, bottom=x)
    n.concat(f"{name}_concat", [first, second, third, pooled])


def module_c(n: NetBuilder, name: str) -> None:
    """Add module C, 2080 x 8 x 8: 1 x 1, and 3 x 3 as 1 x 3 and 3 x 1."""
    x = n.last
    direct = branch(n, f"{name}_1x1", 192, 1, bottom=x)
    split = chain(n, name, x, [("1x3_reduce", 192, 1), ("1x3", 224, (1, 3)), ("3x1", 256, (3, 1))])
    add_residual(n, name, x, [direct, split], channels=2080, scale=0.20)


def inception_resnet_v2(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size (299): 10 A, 20 B and 10 C modules."""
    n = NetBuilder(name, size=size)
    stem(n)
    for index in range(1, 11):
        module_a(n, f"inception_resnet_v2_a{index}")
    reduction_a(n)
    for index in range(1, 21):
        module_b(n, f"inception_resnet_v2_b{index}")
    reduction_b(n)
    for index in range(1, 11):
        module_c(n, f"inception_resnet_v2_c{index}")
    branch(n, "conv6_1x1", 1536, 1)
    n.global_pool("pool_ave")
    n.dropout("drop", 0.2)
    return n.classifier("classifier")
