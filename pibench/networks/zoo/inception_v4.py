"""Build Inception-v4: a branching stem, then 4 A, 7 B and 3 C modules with reductions between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.networks.zoo.builder import NetBuilder, branch, chain

if TYPE_CHECKING:
    from pibench.engines.caffe import caffe_pb2 as caffe


def stem(n: NetBuilder) -> None:
    """Add the stem, 3 x 299 x 299 to 384 x 35 x 35: three steps that each join two branches."""
    branch(n, "conv1_3x3_s2", 32, 3, stride=2, same=False)
    branch(n, "conv2_3x3_s1", 32, 3, same=False)
    x = branch(n, "conv3_3x3_s1", 64, 3)

    name = "inception_stem1"
    conv = branch(n, f"{name}_3x3_s2", 96, 3, stride=2, same=False, bottom=x)
    pooled = n.pool(f"{name}_pool", "MAX", 3, stride=2, bottom=x)
    x = n.concat(name, [pooled, conv])

    name = "inception_stem2"
    branch(n, f"{name}_3x3_reduce", 64, 1, bottom=x)
    short = branch(n, f"{name}_3x3", 96, 3, same=False)
    chain(n, name, x, [("1x7_reduce", 64, 1), ("1x7", 64, (1, 7)), ("7x1", 64, (7, 1))])
    long = branch(n, f"{name}_3x3_2", 96, 3, same=False)
    x = n.concat(name, [short, long])

    name = "inception_stem3"
    conv = branch(n, f"{name}_3x3_s2", 192, 3, stride=2, same=False, bottom=x)
    pooled = n.pool(f"{name}_pool", "MAX", 3, stride=2, bottom=x)
    n.concat(name, [conv, pooled])


def module_a(n: NetBuilder, name: str) -> None:
    """Add module A, 384 x 35 x 35: 1 x 1, 3 x 3, two 3 x 3, pooling; 96 channels each."""
    x = n.last
    direct = branch(n, f"{name}_1x1_2", 96, 1, bottom=x)
    single = chain(n, name, x, [("3x3_reduce", 64, 1), ("3x3", 96, 3)])
    double = chain(n, name, x, [("3x3_2_reduce", 64, 1), ("3x3_2", 96, 3), ("3x3_3", 96, 3)])
    n.pool(f"{name}_pool_ave", "AVE", 3, pad=1, bottom=x)
    pooled = branch(n, f"{name}_1x1", 96, 1)
    n.concat(f"{name}_concat", [direct, single, double, pooled])


def reduction_a(n: NetBuilder) -> None:
    """Add reduction A, 384 x 35 x 35 to 1024 x 17 x 17."""
    x, name = n.last, "reduction_a"
    single = branch(n, f"{name}_3x3", 384, 3, stride=2, same=False, bottom=x)
    chain(n, name, x, [("3x3_2_reduce", 192, 1), ("3x3_2", 224, 3)])
    double = branch(n, f"{name}_3x3_3", 256, 3, stride=2, same=False)
    pooled = n.pool(f"{name}_pool", "MAX", 3, stride=2, bottom=x)
    n.concat(f"{name}_concat", [single, double, pooled])


def module_b(n: NetBuilder, name: str) -> None:
    """Add module B, 1024 x 17 x 17: 7 x 7 as 1 x 7 and 7 x 1, once and twice."""
    x = n.last
    direct = branch(n, f"{name}_1x1_2", 384, 1, bottom=x)
    once = chain(n, name, x, [("1x7_reduce", 192, 1), ("1x7", 224, (1, 7)), ("7x1", 256, (7, 1))])
    twice = chain(
        n,
        name,
        x,
        [
            ("7x1_2_reduce", 192, 1),
            ("7x1_2", 192, (7, 1)),
            ("1x7_2", 224, (1, 7)),
            ("7x1_3", 224, (7, 1)),
            ("1x7_3", 256, (1, 7)),
        ],
    )
    n.pool(f"{name}_pool_ave", "AVE", 3, pad=1, bottom=x)
    pooled = branch(n, f"{name}_1x1", 128, 1)
    n.concat(f"{name}_concat", [direct, once, twice, pooled])


def reduction_b(n: NetBuilder) -> None:
    """Add reduction B, 1024 x 17 x 17 to 1536 x 8 x 8."""
    x, name = n.last, "reduction_b"
    branch(n, f"{name}_3x3_reduce", 192, 1, bottom=x)
    single = branch(n, f"{name}_3x3", 192, 3, stride=2, same=False)
    chain(n, name, x, [("1x7_reduce", 256, 1), ("1x7", 256, (1, 7)), ("7x1", 320, (7, 1))])
    split = branch(n, f"{name}_3x3_2", 320, 3, stride=2, same=False)
    pooled = n.pool(f"{name}_pool", "MAX", 3, stride=2, bottom=x)
    n.concat(f"{name}_concat", [single, split, pooled])


def module_c(n: NetBuilder, name: str) -> None:
    """Add module C, 1536 x 8 x 8: 3 x 3 split into 1 x 3 and 3 x 1 side by side."""
    x = n.last
    direct = branch(n, f"{name}_1x1_2", 256, 1, bottom=x)
    reduced = branch(n, f"{name}_1x1_3", 384, 1, bottom=x)
    fan = [
        branch(n, f"{name}_1x3", 256, (1, 3), bottom=reduced),
        branch(n, f"{name}_3x1", 256, (3, 1), bottom=reduced),
    ]
    long = chain(n, name, x, [("1x1_4", 384, 1), ("3x1_2", 448, (3, 1)), ("1x3_2", 512, (1, 3))])
    long_fan = [
        branch(n, f"{name}_1x3_3", 256, (1, 3), bottom=long),
        branch(n, f"{name}_3x1_3", 256, (3, 1), bottom=long),
    ]
    n.pool(f"{name}_pool_ave", "AVE", 3, pad=1, bottom=x)
    pooled = branch(n, f"{name}_1x1", 256, 1)
    n.concat(f"{name}_concat", [direct, *fan, *long_fan, pooled])


def inception_v4(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size (299)."""
    n = NetBuilder(name, size=size)
    stem(n)
    for index in range(1, 5):
        module_a(n, f"inception_a{index}")
    reduction_a(n)
    for index in range(1, 8):
        module_b(n, f"inception_b{index}")
    reduction_b(n)
    for index in range(1, 4):
        module_c(n, f"inception_c{index}")
    n.global_pool("pool_ave")
    n.dropout("drop", 0.2)
    return n.classifier("classifier")
