"""Build Inception-v3, Inception-v4 and Inception-ResNet-v2.

All have factorised convolutions in modules A, B and C, with reductions between them. In the third,
the branches are residuals, scaled down before they are added.
"""

from __future__ import annotations

from typing import Literal

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.networks.zoo.builder import NetBuilder, Size

EPS = 1e-3

# Parts of two networks, or of all three


def branch(
    n: NetBuilder,
    name: str,
    outputs: int,
    kernel: Size,
    *,
    stride: int = 1,
    same: bool = True,
    bottom: str | None = None,
) -> str:
    """Add one convolution with batch norm and rectifier.

    With `same` (and stride 1) the padding keeps height and width; otherwise there is none.
    """
    pad: Size = 0
    if same:
        pad = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
    return n.conv_bn(name, outputs, kernel, stride=stride, pad=pad, bottom=bottom, eps=EPS)


def chain(n: NetBuilder, module: str, source: str, *parts: tuple[str, int, Size]) -> str:
    """Add convolutions in a row from `source`: (name within the module, channels, kernel) each."""
    top = source
    for part, outputs, kernel in parts:
        top = branch(n, f"{module}_{part}", outputs, kernel, bottom=top)
    return top


def join(
    n: NetBuilder,
    name: str,
    source: str,
    branches: list[str],
    projection: int,
    *,
    pool: str = "pool_ave",
    method: Literal["MAX", "AVE"] = "AVE",
) -> None:
    """Add a pooling of `source` with its 1 x 1 projection as the last branch; concatenate."""
    n.pool(f"{name}_{pool}", method, 3, pad=1, bottom=source)
    pooled = branch(n, f"{name}_1x1", projection, 1)
    n.concat(f"{name}_concat", [*branches, pooled])


def plain_stem(n: NetBuilder) -> str:
    """Add a plain stack, 3 x 299 x 299 to 192 x 35 x 35 (3 x 229 x 229 to 192 x 27 x 27)."""
    branch(n, "conv1_3x3_s2", 32, 3, stride=2, same=False)
    branch(n, "conv2_3x3_s1", 32, 3, same=False)
    branch(n, "conv3_3x3_s1", 64, 3)
    n.pool("pool1_3x3_s2", "MAX", 3, stride=2)
    branch(n, "conv4_3x3_reduce", 80, 1)
    branch(n, "conv4_3x3", 192, 3, same=False)
    return n.pool("pool2_3x3_s2", "MAX", 3, stride=2)


def reduction_a(n: NetBuilder, reduced: int, inner: int, outputs: int) -> None:
    """Add reduction A, 35 x 35 to 17 x 17: 3 x 3, two 3 x 3 with these channels, and a pooling."""
    x, name = n.last, "reduction_a"
    single = branch(n, f"{name}_3x3", 384, 3, stride=2, same=False, bottom=x)
    chain(n, name, x, ("3x3_2_reduce", reduced, 1), ("3x3_2", inner, 3))
    double = branch(n, f"{name}_3x3_3", outputs, 3, stride=2, same=False)
    pooled = n.pool(f"{name}_pool", "MAX", 3, stride=2, bottom=x)
    n.concat(f"{name}_concat", [single, double, pooled])


def reduction_b(n: NetBuilder, single_outputs: int, inner: int, outputs: int) -> None:
    """Add reduction B, 17 x 17 to 8 x 8: 3 x 3, a split 7 x 7 before a 3 x 3, and a pooling."""
    x, name = n.last, "reduction_b"
    branch(n, f"{name}_3x3_reduce", 192, 1, bottom=x)
    single = branch(n, f"{name}_3x3", single_outputs, 3, stride=2, same=False)
    chain(n, name, x, ("1x7_reduce", inner, 1), ("1x7", inner, (1, 7)), ("7x1", outputs, (7, 1)))
    split = branch(n, f"{name}_3x3_2", outputs, 3, stride=2, same=False)
    pooled = n.pool(f"{name}_pool", "MAX", 3, stride=2, bottom=x)
    n.concat(f"{name}_concat", [single, split, pooled])


def fan(n: NetBuilder, module: str, source: str, outputs: int, suffix: str = "") -> list[str]:
    """Add 3 x 3 split into 1 x 3 and 3 x 1 side by side."""
    return [
        branch(n, f"{module}_1x3{suffix}", outputs, (1, 3), bottom=source),
        branch(n, f"{module}_3x1{suffix}", outputs, (3, 1), bottom=source),
    ]


def module_b(
    n: NetBuilder,
    name: str,
    direct: int,
    widths: tuple[int, int, int],
    projection: int,
    *,
    second: str,
) -> None:
    """Add module B: 1 x 1, 7 x 7 as 1 x 7 and 7 x 1, once and twice, and a pooling.

    `widths` are the channels of the first, the inner and the last layers of both branches, `second`
    starts the name of the longer one's reduction.
    """
    x = n.last
    first, inner, last = widths
    single = branch(n, f"{name}_1x1_2", direct, 1, bottom=x)
    once = chain(
        n, name, x, ("1x7_reduce", first, 1), ("1x7", inner, (1, 7)), ("7x1", last, (7, 1))
    )
    chain(n, name, x, (f"{second}_reduce", first, 1), ("7x1_2", first, (7, 1)))
    chain(n, name, n.last, ("1x7_2", inner, (1, 7)), ("7x1_3", inner, (7, 1)))
    twice = branch(n, f"{name}_1x7_3", last, (1, 7))
    join(n, name, x, [single, once, twice], projection)


def finish(n: NetBuilder) -> caffe.NetParameter:
    """Add pooling, dropout and classifier; return the finished network."""
    n.global_pool("pool_ave")
    n.dropout("drop", 0.2)
    return n.classifier("classifier")


# Inception-v3

V3_B_WIDTHS = (128, 160, 160, 192)
"""Channels inside the 7 x 7 branches of the four B modules."""


def v3_module_a(n: NetBuilder, name: str, projection: int) -> None:
    """Add module A: 1 x 1, 5 x 5, two 3 x 3 in a row, and a pooling with its projection."""
    x = n.last
    direct = branch(n, f"{name}_1x1", 64, 1, bottom=x)
    five = chain(n, name, x, ("5x5_reduce", 48, 1), ("5x5", 64, 5))
    double = chain(n, name, x, ("3x3_reduce", 64, 1), ("3x3_1", 96, 3), ("3x3_2", 96, 3))
    n.pool(f"{name}_pool", "AVE", 3, pad=1, bottom=x)
    pooled = branch(n, f"{name}_pool_proj", projection, 1)
    n.concat(f"{name}_output", [direct, five, double, pooled])


def v3_module_c(n: NetBuilder, name: str, pool_method: Literal["MAX", "AVE"]) -> None:
    """Add module C: 3 x 3 split side by side; the last module pools by maximum."""
    x = n.last
    direct = branch(n, f"{name}_1x1_2", 320, 1, bottom=x)
    reduced = branch(n, f"{name}_3x3_reduce", 384, 1, bottom=x)
    single_fan = fan(n, name, reduced, 384)
    double = chain(n, name, x, ("3x3_2_reduce", 448, 1), ("3x3_2", 384, 3))
    double_fan = fan(n, name, double, 384, "_2")
    join(n, name, x, [direct, *single_fan, *double_fan], 192, pool="pool", method=pool_method)


def inception_v3(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size: 299 by design, 229 in the paper."""
    n = NetBuilder(name, size=size)
    plain_stem(n)
    for index, projection in enumerate((32, 64, 64), start=1):
        v3_module_a(n, f"inception_a{index}", projection)
    reduction_a(n, 64, 96, 96)
    for index, width in enumerate(V3_B_WIDTHS, start=1):
        module_b(n, f"inception_b{index}", 192, (width, width, 192), 192, second="7x1")
    reduction_b(n, 320, 192, 192)
    v3_module_c(n, "inception_c1", "AVE")
    v3_module_c(n, "inception_c2", "MAX")
    return finish(n)


# Inception-v4


def v4_stem(n: NetBuilder) -> None:
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
    chain(n, name, x, ("1x7_reduce", 64, 1), ("1x7", 64, (1, 7)), ("7x1", 64, (7, 1)))
    long = branch(n, f"{name}_3x3_2", 96, 3, same=False)
    x = n.concat(name, [short, long])

    name = "inception_stem3"
    conv = branch(n, f"{name}_3x3_s2", 192, 3, stride=2, same=False, bottom=x)
    pooled = n.pool(f"{name}_pool", "MAX", 3, stride=2, bottom=x)
    n.concat(name, [conv, pooled])


def v4_module_a(n: NetBuilder, name: str) -> None:
    """Add module A, 384 x 35 x 35: 1 x 1, 3 x 3, two 3 x 3, pooling; 96 channels each."""
    x = n.last
    direct = branch(n, f"{name}_1x1_2", 96, 1, bottom=x)
    single = chain(n, name, x, ("3x3_reduce", 64, 1), ("3x3", 96, 3))
    double = chain(n, name, x, ("3x3_2_reduce", 64, 1), ("3x3_2", 96, 3), ("3x3_3", 96, 3))
    join(n, name, x, [direct, single, double], 96)


def v4_module_c(n: NetBuilder, name: str) -> None:
    """Add module C, 1536 x 8 x 8: 3 x 3 split into 1 x 3 and 3 x 1 side by side."""
    x = n.last
    direct = branch(n, f"{name}_1x1_2", 256, 1, bottom=x)
    reduced = branch(n, f"{name}_1x1_3", 384, 1, bottom=x)
    single_fan = fan(n, name, reduced, 256)
    long = chain(n, name, x, ("1x1_4", 384, 1), ("3x1_2", 448, (3, 1)), ("1x3_2", 512, (1, 3)))
    long_fan = fan(n, name, long, 256, "_3")
    join(n, name, x, [direct, *single_fan, *long_fan], 256)


def inception_v4(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size (299): 4 A, 7 B and 3 C modules."""
    n = NetBuilder(name, size=size)
    v4_stem(n)
    for index in range(1, 5):
        v4_module_a(n, f"inception_a{index}")
    reduction_a(n, 192, 224, 256)
    for index in range(1, 8):
        module_b(n, f"inception_b{index}", 384, (192, 224, 256), 128, second="7x1_2")
    reduction_b(n, 192, 256, 320)
    for index in range(1, 4):
        v4_module_c(n, f"inception_c{index}")
    return finish(n)


# Inception-ResNet-v2


def resnet_stem(n: NetBuilder) -> None:
    """Add the plain stem, then one inception module: 3 x 299 x 299 to 320 x 35 x 35."""
    x = plain_stem(n)
    direct = branch(n, "conv5_1x1", 96, 1, bottom=x)
    five = chain(n, "conv5", x, ("5x5_reduce", 48, 1), ("5x5", 64, 5))
    double = chain(n, "conv5", x, ("3x3_reduce", 64, 1), ("3x3", 96, 3), ("3x3_2", 96, 3))
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


def resnet_module_a(n: NetBuilder, name: str) -> None:
    """Add module A, 320 x 35 x 35: 1 x 1, 3 x 3 and two 3 x 3."""
    x = n.last
    direct = branch(n, f"{name}_1x1", 32, 1, bottom=x)
    single = chain(n, name, x, ("3x3_reduce", 32, 1), ("3x3", 32, 3))
    double = chain(n, name, x, ("3x3_2_reduce", 32, 1), ("3x3_2", 48, 3), ("3x3_3", 64, 3))
    add_residual(n, name, x, [direct, single, double], channels=320, scale=0.17)


def resnet_module_b(n: NetBuilder, name: str) -> None:
    """Add module B, 1088 x 17 x 17: 1 x 1, and 7 x 7 as 1 x 7 and 7 x 1."""
    x = n.last
    direct = branch(n, f"{name}_1x1", 192, 1, bottom=x)
    split = chain(n, name, x, ("1x7_reduce", 128, 1), ("1x7", 160, (1, 7)), ("7x1", 192, (7, 1)))
    add_residual(n, name, x, [direct, split], channels=1088, scale=0.10)


def resnet_reduction_b(n: NetBuilder) -> None:
    """Add reduction B, 1088 x 17 x 17 to 2080 x 8 x 8."""
    x, name = n.last, "reduction_b"
    branch(n, f"{name}_3x3_reduce", 256, 1, bottom=x)
    first = branch(n, f"{name}_3x3", 384, 3, stride=2, same=False)
    branch(n, f"{name}_3x3_2_reduce", 256, 1, bottom=x)
    second = branch(n, f"{name}_3x3_2", 288, 3, stride=2, same=False)
    chain(n, name, x, ("3x3_3_reduce", 256, 1), ("3x3_3", 288, 3))
    third = branch(n, f"{name}_3x3_4", 320, 3, stride=2, same=False)
    pooled = n.pool(f"{name}_pool", "MAX", 3, stride=2, bottom=x)
    n.concat(f"{name}_concat", [first, second, third, pooled])


def resnet_module_c(n: NetBuilder, name: str) -> None:
    """Add module C, 2080 x 8 x 8: 1 x 1, and 3 x 3 as 1 x 3 and 3 x 1."""
    x = n.last
    direct = branch(n, f"{name}_1x1", 192, 1, bottom=x)
    split = chain(n, name, x, ("1x3_reduce", 192, 1), ("1x3", 224, (1, 3)), ("3x1", 256, (3, 1)))
    add_residual(n, name, x, [direct, split], channels=2080, scale=0.20)


def inception_resnet_v2(name: str, *, size: int) -> caffe.NetParameter:
    """Build the network; input 3 x size x size (299): 10 A, 20 B and 10 C modules."""
    n = NetBuilder(name, size=size)
    resnet_stem(n)
    for index in range(1, 11):
        resnet_module_a(n, f"inception_resnet_v2_a{index}")
    reduction_a(n, 256, 256, 384)
    for index in range(1, 21):
        resnet_module_b(n, f"inception_resnet_v2_b{index}")
    resnet_reduction_b(n)
    for index in range(1, 11):
        resnet_module_c(n, f"inception_resnet_v2_c{index}")
    branch(n, "conv6_1x1", 1536, 1)
    return finish(n)
