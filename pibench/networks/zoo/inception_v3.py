"""Build Inception-v3: factorised convolutions in three kinds of module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.networks.zoo.builder import NetBuilder, branch, chain

if TYPE_CHECKING:
    from pibench.engines.caffe import caffe_pb2 as caffe

B_WIDTHS = (128, 160, 160, 192)
"""Channels inside the 7 x 7 branches of the four B modules."""


def stem(n: NetBuilder) -> None:
    """Add the stem, 3 x 299 x 299 to 192 x 35 x 35 (3 x 229 x 229 to 192 x 27 x 27)."""
    branch(n, "conv1_3x3_s2", 32, 3, stride=2, same=False)
    branch(n, "conv2_3x3_s1", 32, 3, same=False)
    branch(n, "conv3_3x3_s1", 64, 3)
    n.pool("pool1_3x3_s2", "MAX", 3, stride=2)
    branch(n, "conv4_3x3_reduce", 80, 1)
    branch(n, "conv4_3x3", 192, 3, same=False)
    n.pool("pool2_3x3_s2", "MAX", 3, stride=2)


def module_a(n: NetBuilder, name: str, projection: int) -> None:
    """Add module A: 1 x 1, 5 x 5, two 3 x 3 in a row, and a pooling with its projection."""
    x = n.last
    direct = branch(n, f"{name}_1x1", 64, 1, bottom=x)
    five = chain(n, name, x, [("5x5_reduce", 48, 1), ("5x5", 64, 5)])
    double = chain(n, name, x, [("3x3_reduce", 64, 1), ("3x3_1", 96, 3), ("3x3_2", 96, 3)])
    n.pool(f"{name}_pool", "AVE", 3, pad=1, bottom=x)
    pooled = branch(n, f"{name}_pool_proj", projection, 1)
    n.concat(f"{name}_output", [direct, five, double, pooled])


def reduction_a(n: NetBuilder) -> None:
    """Add reduction A, 35 x 35 to 17 x 17: 288 to 768 channels."""
    x, name = n.last, "reduction_a"
    single = branch(n, f"{name}_3x3", 384, 3, stride=2, same=False, bottom=x)
    chain(n, name, x, [("3x3_2_reduce", 64, 1), ("3x3_2", 96, 3)])
    double = branch(n, f"{name}_3x3_3", 96, 3, stride=2, same=False)
    pooled = n.pool(f"{name}_pool", "MAX", 3, stride=2, bottom=x)
    n.concat(f"{name}_concat", [single, double, pooled])


def module_b(n: NetBuilder, name: str, width: int) -> None:
    """Add module B: 7 x 7 as 1 x 7 and 7 x 1, once and twice."""
    x = n.last
    direct = branch(n, f"{name}_1x1_2", 192, 1, bottom=x)
    once = chain(
        n, name, x, [("1x7_reduce", width, 1), ("1x7", width, (1, 7)), ("7x1", 192, (7, 1))]
    )
    twice = chain(
        n,
        name,
        x,
        [
            ("7x1_reduce", width, 1),
            ("7x1_2", width, (7, 1)),
            ("1x7_2", width, (1, 7)),
            ("7x1_3", width, (7, 1)),
            ("1x7_3", 192, (1, 7)),
        ],
    )
    n.pool(f"{name}_pool_ave", "AVE", 3, pad=1, bottom=x)
    pooled = branch(n, f"{name}_1x1", 192, 1)
    n.concat(f"{name}_concat", [direct, once, twice, pooled])


def reduction_b(n: NetBuilder) -> None:
    """Add reduction B, 17 x 17 to 8 x 8: 768 to 1280 channels."""
    x, name = n.last, "reduction_b"
    branch(n, f"{name}_3x3_reduce", 192, 1, bottom=x)
    single = branch(n, f"{name}_3x3", 320, 3, stride=2, same=False)
    chain(n, name, x, [("1x7_reduce", 192, 1), ("1x7", 192, (1, 7)), ("7x1", 192, (7, 1))])
    split = branch(n, f"{name}_3x3_2", 192, 3, stride=2, same=False)
    pooled = n.pool(f"{name}_pool", "MAX", 3, stride=2, bottom=x)
    n.concat(f"{name}_concat", [single, split, pooled])


def module_c(n: NetBuilder, name: str, pool_method: str) -> None:
    """Add module C: 3 x 3 split into 1 x 3 and 3 x 1 side by side.

    The last module pools by maximum.
    """
    x = n.last
    direct = branch(n, f"{name}_1x1_2", 320, 1, bottom=x)
    reduced = branch(n, f"{name}_3x3_reduce", 384, 1, bottom=x)
    fan = [
        branch(n, f"{name}_1x3", 384, (1, 3), bottom=reduced),
        branch(n, f"{name}_3x1", 384, (3, 1), bottom=reduced),
    ]
    double = chain(n, name, x, [("3x3_2_reduce", 448, 1), ("3x3_2", 384, 3)])
    double_fan = [
        branch(n, f"{name}_1x3_2", 384, (1, 3), bottom=double),
        branch(n, f"{name}_3x1_2", 384, (3, 1), bottom=double),
    ]
    n.pool(f"{name}_pool", "MAX" if pool_method == "MAX" else "AVE", 3, pad=1, bottom=x)
    pooled = branch(n, f"{name}_1x1", 192, 1)
    n.concat(f"{name}_concat", [direct, *fan, *double_fan, pooled])


def inception_v3(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size: 299 by design, 229 in the paper."""
    n = NetBuilder(name, size=size)
    stem(n)
    for index, projection in enumerate((32, 64, 64), start=1):
        module_a(n, f"inception_a{index}", projection)
    reduction_a(n)
    for index, width in enumerate(B_WIDTHS, start=1):
        module_b(n, f"inception_b{index}", width)
    reduction_b(n)
    module_c(n, "inception_c1", "AVE")
    module_c(n, "inception_c2", "MAX")
    n.global_pool("pool_ave")
    n.dropout("drop", 0.2)
    return n.classifier("classifier")
