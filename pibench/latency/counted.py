"""Replace the work derived from layer shapes by the counts of real Caffe.

The board's time has the same two kinds of work. Multiply-accumulates are the counted ones, plus
those that fill up register tiles; the latter follow the BLAS of the board's years and not the
counted one. Accesses come from the cache model. Outside products every line that L1 missed is 16
numbers moved, and plain instructions take their time; in products, which work out of L2, only lines
that L2 missed count.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pibench.errors import HostError
from pibench.latency import work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.counting.counts import Counts, NetworkCounts
    from pibench.latency.work import LayerWork

NUMBERS_PER_LINE: Final = 16
"""Single-precision numbers in a cache line of 64 bytes."""


def counted_work(shaped: Sequence[LayerWork], counted: NetworkCounts) -> list[LayerWork]:
    """Return `shaped` with the counts filled in; fields that are not counted, such as names, stay.

    Raises:
        HostError: The counts lack misses, or are of another network.
    """
    known = {layer.name: layer.counts for layer in counted.layers if layer.type != "Split"}
    if not all(one.name in known for one in shaped):
        raise HostError(
            f"the counts of {counted.network} do not match the network's layers",
            hint="remove the folder counts in the cache and count again",
        )
    return [_with_counts(one, known[one.name]) if one.calls else one for one in shaped]


def _with_counts(shaped: LayerWork, counts: Counts) -> LayerWork:
    if counts.l1_misses is None or counts.l2_misses is None:
        raise HostError(
            "these counts were made without the cache model",
            hint="count with the cache model: pibench count --cache-model",
        )
    steps = work.steps()
    if shaped.macs:
        return replace(
            shaped,
            tile_macs=counts.macs + shaped.tile_macs - shaped.macs,
            accesses=float(NUMBERS_PER_LINE * counts.l2_misses),
        )
    moved = NUMBERS_PER_LINE * counts.l1_misses
    # The board's C library is older than the counted one and its powf slower: the board's is used.
    others = max(0.0, counts.instructions - steps.pow_instructions * shaped.pows)
    executed = others / steps.instructions_per_access + steps.pow * shaped.pows
    return replace(shaped, accesses=moved + executed)
