#!/usr/bin/env python3
"""Write the cycles of matrix kernels into pibench/latency/stacks, from the libraries' machine code.

    stacks.py FOLDER... [--check]

FOLDERs contain unpacked Debian packages or a root file system; each stack names its library and
its symbols under [source]. With --check nothing is written: stacks that would change are named.
Needs capstone (pip install 'pibench[cycles]') and nm (binutils).
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pibench.latency import stacks
from pibench.scoreboard.core import Core, load_core
from pibench.scoreboard.decode import decode
from pibench.scoreboard.instruction import Instruction
from pibench.scoreboard.loops import accumulators, inner_loops, save
from pibench.scoreboard.pipeline import cycles

STACKS = Path(stacks.__file__).parent
MARK = "# Below: written by scripts/stacks.py.\n"


def main() -> None:
    """Write each stack whose library is in one of the folders."""
    folders = [Path(name) for name in sys.argv[1:] if name != "--check"]
    changed = []
    for file in sorted(STACKS.glob("*.toml")):
        text = file.read_text()
        content = tomllib.loads(text)
        source = content.get("source", {})
        library = found_library(folders, source.get("library"))
        if library is None:
            print(f"{file.stem}: its library is in none of the folders", file=sys.stderr)
            continue
        core = load_core(content["cpu"])
        written = text.partition(MARK)[0] + MARK + "\n".join(lines(library, source, core)) + "\n"
        if written != text:
            changed.append(file.stem)
            if "--check" not in sys.argv:
                file.write_text(written)
    print(f"changed: {', '.join(changed) or 'none'}")


def found_library(folders: list[Path], name: str | None) -> Path | None:
    """Return the library of that path below a folder, which may be that of one architecture."""
    if name is None:
        return None
    found = (path for folder in folders for path in folder.rglob(Path(name).name))
    return next((path for path in found if str(path).endswith(name) and path.is_file()), None)


def lines(library: Path, source: dict[str, Any], core: Core) -> Iterator[str]:
    """Return the tables of one stack."""
    if "kernel" in source:
        yield "[tiles]"
        yield from tile_lines(function(library, source["kernel"]), source["widths"], core)
    else:
        yield "[macs]"
        for key in ("whole_blocks", "rest", "rest_of_depth", "transposed"):
            if key in source:
                yield f"{key} = {mac_cycles(library, source[key], core):.3f}"
    if "vectors" in source:
        yield "\n[vectors]"
        for key, loop in source["vectors"].items():
            yield f"{key} = {loop_cycles(library, loop, core):g}"


def mac_cycles(library: Path, place: str | dict[str, Any], core: Core) -> float:
    """Return the cycles of a multiply-accumulate: in a named loop, or in a function's fastest."""
    if not isinstance(place, str):
        return loop_cycles(library, place, core)
    code = function(library, place)
    return min(per_mac(code[first : last + 1], core) for first, last in mac_loops(code))


def loop_cycles(library: Path, place: dict[str, Any], core: Core) -> float:
    """Return the cycles of an element in an inner loop of a function."""
    code = function(library, place["function"])
    first, last = inner_loops(code)[place["loop"]]
    return cycles(code[first : last + 1], core) / place["elements"]


def function(library: Path, symbol: str) -> list[Instruction]:
    """Decode a function of a library."""
    command = ["nm", "-D", "--defined-only", str(library)]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {}
    for line in table.splitlines():
        address, _, name = line.split(maxsplit=2)
        found[name] = int(address, 16)
    start = found[symbol]
    end = min((one for one in found.values() if one > start + 1), default=start + 4096)
    content = library.read_bytes()
    thumb, start = start & 1, start & ~1
    mode = "arm64" if content[4] == 2 else "thumb" if thumb else "armhf"
    return list(decode(content[start:end], mode, start))


def mac_loops(code: list[Instruction]) -> list[tuple[int, int]]:
    """Return the inner loops that multiply and accumulate."""
    return [
        (first, last)
        for first, last in inner_loops(code)
        if any(one.macs for one in code[first : last + 1])
    ]


def per_mac(loop: list[Instruction], core: Core) -> float:
    return cycles(loop, core) / sum(one.macs for one in loop)


def tile_lines(code: list[Instruction], widths: dict[str, list[int]], core: Core) -> Iterator[str]:
    """Return a line per tile: loops over the depth for several steps and for one, then a save.

    A kernel has its tiles in the order of `widths`: for each width the heights, largest first.
    """
    loops = mac_loops(code)
    for width, heights in widths.items():
        for height in heights:
            size = int(width) * height
            own: list[tuple[int, int]] = []
            # One loop for several steps of the depth, then one for a single step.
            while loops and len(own) < 2:
                loop = code[loops[0][0] : loops[0][1] + 1]
                if accumulators(loop) != size or (own and macs(loop) != size):
                    break
                own.append(loops.pop(0))
            if not own:
                raise SystemExit(f"no loop for the tile {height}x{width}")
            (first, last), *_ = own
            unroll = macs(code[first : last + 1]) // size
            step = cycles(code[first : last + 1], core) / unroll
            end = own[-1][1]
            rest = cycles(code[own[-1][0] : end + 1], core) if len(own) > 1 else step
            saving = cycles(save(code, end), core)
            yield (
                f'"{height}x{width}" = {{ step = {step:g}, unroll = {unroll}, '
                f"last_step = {rest:g}, save = {saving:g} }}"
            )


def macs(loop: list[Instruction]) -> int:
    return sum(one.macs for one in loop)


if __name__ == "__main__":
    main()
