"""Build SqueezeNext-23: blocks squeeze twice and split 3 x 3 into 3 x 1 and 1 x 3."""

from __future__ import annotations

from itertools import count
from typing import Unpack

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.networks.zoo.builder import NetBuilder, Size, Window

WIDTHS = (32, 64, 128, 256)
"""Output channels of the blocks, by stage."""


class _Numbered:
    """A builder that numbers every layer of a kind in one sequence, as the upstream networks do."""

    def __init__(self, n: NetBuilder) -> None:
        self.n = n
        self.convolutions, self.relus, self.sums = count(1), count(1), count(1)

    def relu(self) -> str:
        return self.n.relu(f"ReLU{next(self.relus)}")

    def conv(self, outputs: int, kernel: Size, **window: Unpack[Window]) -> str:
        """Add a convolution without bias, batch norm and rectifier in place."""
        i = next(self.convolutions)
        self.n.conv(f"Convolution{i}", outputs, kernel, bias=False, **window)
        self.n.bn_scale(f"BatchNorm{i}", f"Scale{i}", global_stats=False)
        return self.relu()

    def add(self, left: str, right: str) -> str:
        self.n.add(f"Eltwise{next(self.sums)}", [left, right])
        return self.relu()


def block(
    c: _Numbered,
    width: int,
    *,
    index: int,
    stride: int,
    group: int,
    squeeze_shortcut: bool,
) -> None:
    """Add 1 x 1 to half, 1 x 1 to a quarter, the split 3 x 3 at half, 1 x 1 back to `width`.

    The first block of a stage (`index` 0) has a convolution in its shortcut. With
    `squeeze_shortcut` its squeezes start from that convolution's output instead of the block's
    input. Blocks alternate the order of 3 x 1 and 1 x 3.
    """
    shortcut = source = c.n.last
    if index == 0:
        shortcut = c.conv(width, 1, stride=stride)
        if squeeze_shortcut:
            source, stride = shortcut, 1
    c.conv(width // 2, 1, stride=stride, group=group, bottom=source)
    c.conv(width // 4, 1)
    halves = (((3, 1), (1, 0)), ((1, 3), (0, 1)))
    for kernel, pad in halves if index % 2 == 0 else halves[::-1]:
        c.conv(width // 2, kernel, pad=pad, group=group)
    expanded = c.conv(width, 1)
    c.add(shortcut, expanded)


def squeezenext(
    name: str,
    *,
    size: int,
    blocks: tuple[int, int, int, int],
    first_kernel: int,
    group: int = 1,
    squeeze_shortcut: bool = False,
) -> caffe.NetParameter:
    """Build the network; input 3 x size x size.

    `blocks` per stage; `group` 2 for the G variant. The v5 variant moves blocks to the third stage,
    starts with a 5 x 5 convolution and squeezes its shortcuts.
    """
    n = NetBuilder(name, size=size)
    c = _Numbered(n)
    c.conv(64, first_kernel, stride=2)
    n.pool("pool1", "MAX", 3, stride=2)
    for stage, (length, width) in enumerate(zip(blocks, WIDTHS, strict=True)):
        for index in range(length):
            stride = 2 if stage > 0 and index == 0 else 1
            block(c, width, index=index, stride=stride, group=group,
                  squeeze_shortcut=squeeze_shortcut)  # fmt: skip
    c.conv(128, 1)
    n.global_pool("pool5")
    n.fc("fc1000", 1000, bias=False)
    n.softmax()
    return n.net
