"""Build the unit of the later Inception networks: convolution, batch norm, rectifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.networks.zoo.builder import NetBuilder, Size

EPS = 1e-3


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


def chain(n: NetBuilder, module: str, source: str, parts: Sequence[tuple[str, int, Size]]) -> str:
    """Add convolutions in a row from `source`: (name within the module, channels, kernel) each."""
    top = source
    for part, outputs, kernel in parts:
        top = branch(n, f"{module}_{part}", outputs, kernel, bottom=top)
    return top
