"""Cycles of A64 code that an emulator ran: what it ran is known as blocks and how often each ran.

A block ends with a branch. Blocks that follow each other and ran equally often are one stretch of
code. A stretch is issued as if it repeated itself, which inner loops do: their cycles are those of
the steady state, and that of other code is near it. Data is in the first cache, and no branch is
mispredicted.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple

from pibench.scoreboard.decode import decode
from pibench.scoreboard.pipeline import cycles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pibench.scoreboard.core import Core

WORD_BYTES: Final = 4
SIMULATED_SHARE: Final = 0.999
"""The share of all instructions that is issued one by one; the rest counts as slow as it."""


class Block(NamedTuple):
    """A block of instructions: its address and its code."""

    address: int
    code: bytes

    @property
    def end(self) -> int:
        """The address behind it."""
        return self.address + len(self.code)


def check() -> None:
    """Raise HostError if blocks cannot be decoded here."""
    list(decode(b"", "arm64"))


def digest() -> str:
    """Return a hash of all that cycles depend on besides the blocks."""
    found = hashlib.sha256()
    for file in sorted(resources.files(__package__).iterdir(), key=lambda one: one.name):
        if file.name.endswith((".py", ".toml")):
            found.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()


def cycles_of(
    blocks: Mapping[int, Block], runs: Mapping[int, Mapping[int, int]], core: Core
) -> dict[int, float]:
    """Return the cycles of each layer.

    Args:
        blocks: The blocks by number.
        runs: How often each block ran, by layer.
        core: The rules of the core.
    """
    of_layers = {
        layer: stretches(Counter(_by_block(blocks, of_layer))) for layer, of_layer in runs.items()
    }
    words: Counter[bytes] = Counter()
    for of_layer in of_layers.values():
        for code, times in of_layer.items():
            words[code] += times * len(code)
    known: dict[bytes, float] = {}
    left = (1 - SIMULATED_SHARE) * words.total()
    seen_words = seen_cycles = 0.0
    for code, weight in words.most_common():
        if words.total() - seen_words <= left:
            break
        known[code] = cycles(list(decode(code, "arm64")), core)
        seen_words += weight
        seen_cycles += known[code] * weight / len(code)
    per_byte = seen_cycles / seen_words if seen_words else 0.0
    return {
        layer: sum(
            times * known.get(code, per_byte * len(code)) for code, times in of_layer.items()
        )
        for layer, of_layer in of_layers.items()
    }


def _by_block(blocks: Mapping[int, Block], runs: Mapping[int, int]) -> dict[Block, int]:
    """Return the runs by block: an emulator may have translated a block more than once."""
    found: dict[Block, int] = defaultdict(int)
    for number, times in runs.items():
        if times:
            found[blocks[number]] += times
    return found


def stretches(runs: Mapping[Block, int]) -> Counter[bytes]:
    """Return the code of blocks joined to stretches, with how often each ran."""
    at: dict[int, list[Block]] = defaultdict(list)
    for block in runs:
        at[block.address].append(block)
    following: dict[Block, Block] = {}
    taken: set[Block] = set()
    for block, times in runs.items():
        targets = _targets(block)
        if block.address in targets:
            continue  # It repeats itself.
        for follower in (one for address in targets for one in at.get(address, ())):
            if (
                runs[follower] == times
                and follower not in taken
                and not _leads_to(follower, block, following)
            ):
                following[block] = follower
                taken.add(follower)
                break
    found: Counter[bytes] = Counter()
    for block, times in runs.items():
        if block in taken:
            continue
        code, behind = block.code, following.get(block)
        while behind is not None:
            code += behind.code
            behind = following.get(behind)
        found[code] += times
    return found


def _leads_to(first: Block, last: Block, following: Mapping[Block, Block]) -> bool:
    """Return whether a block is among those that were joined behind another."""
    one: Block | None = first
    while one is not None and one != last:
        one = following.get(one)
    return one == last


@cache
def _targets(block: Block) -> tuple[int, ...]:
    """Return where a block may go on: behind it, and where its last instruction branches to."""
    *_, last = decode(block.code[-WORD_BYTES:], "arm64", block.end - WORD_BYTES)
    if last.target is None:
        return () if last.text.startswith(("ret", "br ", "blr ")) else (block.end,)
    always = last.text.startswith(("b ", "bl "))
    return (last.target,) if always else (block.end, last.target)
