"""Software stacks as data: what a build of BLAS and of Caffe takes on a core, as TOML files.

`scripts/stacks.py` writes the cycles of kernels from the libraries' own machine code; nothing in
these files is fitted to a time of a network.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Literal

from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from pibench.latency.work import Vectors
    from pibench.setups import Blas

DEFAULT: Final = "openblas-a53"
"""The stack of pibench's own image: Debian 11's OpenBLAS 0.3.13 with its Cortex-A53 kernels."""
_DEFAULTS: Final = {"cortex-a53": DEFAULT, "cortex-a72": "openblas-a72"}
"""The same by core: OpenBLAS chooses the kernels of the core that it runs on."""
_LOOPS: Final = "loops.toml"


@dataclass(frozen=True)
class Tile:
    """Cycles of a kernel for a tile of C: a step of the depth, a step at its end, and the rest.

    `step` holds for multiples of `unroll` steps of the depth, `last_step` for those that are left.
    `save` reads C, adds and writes it back.
    """

    step: float
    unroll: int = 1
    last_step: float | None = None
    save: float = 0.0

    def cycles(self, depth: int) -> float:
        """Return the cycles of one tile over this depth, without entering it."""
        left = depth % self.unroll
        last = self.step if self.last_step is None else self.last_step
        return (depth - left) * self.step + left * last + self.save


@dataclass(frozen=True, kw_only=True)
class Gemm:
    """How a BLAS computes a matrix product, in cycles with data in the first cache.

    `algorithm` is `panels` (OpenBLAS: tiles over packed panels of `p` x `q`), `blocks` (ATLAS: a
    kernel for square blocks of `block`, others for what is left of rows and columns, and of the
    depth), or `loops` (reference BLAS). `divides_columns` if threads that get no rows get columns:
    OpenBLAS from 0.3 on; before, few columns stay on one thread. `skips_ones` if sscal returns at
    once for a factor of 1.
    """

    algorithm: Literal["panels", "blocks", "loops"]
    tiles: dict[str, Tile] = field(default_factory=dict)
    p: int = 0
    q: int = 0
    r: int = 0
    pack_a: float = 0.0
    pack_b: float = 0.0
    scale_c: float = 0.0
    enter_tile: float = 0.0
    call: float = 0.0
    hides_l2: bool = False
    block: int = 0
    mac: float = 0.0
    rest_mac: float = 0.0
    rest_depth_mac: float = 0.0
    transposed_mac: float = 0.0
    vector_call: float = 0.0
    skips_ones: bool = False
    parallel: bool = False
    parallel_macs: int = 0
    divides_columns: bool = False
    start_threads: float = 0.0

    @cached_property
    def by_width(self) -> dict[int, dict[int, Tile]]:
        """Return the tiles by width, then by height, the largest first."""
        found: dict[int, dict[int, Tile]] = {}
        for size, tile in self.tiles.items():
            height, width = map(int, size.split("x"))
            found.setdefault(width, {})[height] = tile
        return {
            width: dict(sorted(found[width].items(), reverse=True))
            for width in sorted(found, reverse=True)
        }


@dataclass(frozen=True)
class Loops:
    """Cycles that the compiled loops of Caffe and the C library take, data in the first cache.

    `counted` if blocks that ran have confirmed what functions on vectors take at this level; else
    they take as long as plain loops over the same numbers.
    """

    access: float
    im2col: float
    window: float
    relu: float
    exp: float
    random: float
    layer: float
    copied: float
    filled: float
    multiplied: float
    squared: float
    divided: float
    counted: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """One build of BLAS, Caffe and C library on boards of one kind of core.

    `loops` are those of the likely level of the compiler, `vectors` what functions on whole vectors
    take an element, BLAS's and those of the loops. `open_loops` the factors by which the
    other levels that the stack leaves open are faster and slower. A record's BLAS is of the stack
    if one of `blas` is a word of it, on that architecture, from version `since` on and `before`
    another.
    """

    id: str
    title: str
    cpu: str
    gemm: Gemm
    loops: Loops
    vectors: Vectors
    loops_level: str
    open_loops: tuple[float, float]
    c_library: str
    blas: tuple[str, ...]
    architecture: str
    since: list[int]
    before: list[int]
    source: dict[str, Any]

    def with_loops_of(self, other: Stack) -> Stack:
        """Return this BLAS with the Caffe and the C library of another stack."""
        own, of_other = self.vectors, other.vectors
        vectors = of_other._replace(
            scaled=own.scaled,
            added=own.added,
            summed=own.summed,
            blas_copied=(of_other.copied if own.blas_copied == own.copied else own.blas_copied),
        )
        return replace(self, loops=other.loops, vectors=vectors, c_library=other.c_library)

    @property
    def preloaded(self) -> tuple[Blas, str | None] | None:
        """Return the BLAS of pibench's arm64 image that has these kernels, and OpenBLAS's core.

        None where that image has no such BLAS.
        """
        if self.architecture != "arm64":
            return None
        core = self.source.get("kernel", "").removeprefix("sgemm_kernel_")
        if core:
            return "openblas", core
        other: dict[str, Blas] = {"atlas": "atlas", "reference": "reference"}
        return other[self.blas[0]], None


def names() -> tuple[str, ...]:
    """Return the ids of the known stacks, sorted."""
    found = (file.name for file in resources.files(__package__).iterdir())
    return tuple(
        sorted(
            name.removesuffix(".toml")
            for name in found
            if name.endswith(".toml") and name != _LOOPS
        )
    )


def of_cpu(cpu: str) -> tuple[str, ...]:
    """Return the ids of the stacks on a kind of core, such as `cortex-a72`, sorted."""
    return tuple(name for name in names() if load(name).cpu == cpu)


def has_slowest(cpu: str) -> bool:
    """Return whether the reference BLAS is known on a kind of core: none is slower."""
    return any(load(name).gemm.algorithm == "loops" for name in of_cpu(cpu))


def default_of(cpu: str) -> str:
    """Return the stack of pibench's own image on a kind of core; that of the Pi 3 on others."""
    return _DEFAULTS.get(cpu, DEFAULT)


def load(name: str) -> Stack:
    """Return a stack.

    Raises:
        InvalidInputError: There is none of this name.
    """
    if name not in names():
        known = ", ".join((*names(), "paper", "unknown"))
        raise InvalidInputError(f"unknown stack {name!r}", hint=f"known stacks: {known}")
    return _load(name)


def of_blas(
    name: str | None, core: str | None, architecture: str | None, cpu: str = "cortex-a53"
) -> str | None:
    """Return the stack of a record's BLAS, such as `OpenBLAS 0.3.13`; None for another one.

    `core` is the core that its kernels are for, `architecture` and `cpu` the machine's.
    """
    if not name or architecture is None:
        return None
    words = f"{name} {core or ''}".casefold().replace("/", " ").split()
    version = next((word for word in words if word[:1].isdigit()), "")
    for stack in map(_load, names()):
        numbers = [int(part) for part in version.split(".") if part.isdigit()]
        since = stack.since if numbers else []
        if (
            stack.cpu == cpu
            and stack.architecture == ("arm64" if architecture == "aarch64" else "armhf")
            and set(stack.blas) & set(words)
            and (not numbers or since <= numbers < (stack.before or [10**6]))
        ):
            return stack.id
    return None


@cache
def _load(name: str) -> Stack:
    folder = resources.files(__package__)
    of_cores = tomllib.loads((folder / _LOOPS).read_text(encoding="utf-8"))
    content = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    return _stack(name, content, of_cores[content["cpu"]])


def _stack(name: str, content: dict[str, Any], levels: dict[str, Any]) -> Stack:
    macs = content.pop("macs", {})
    gemm = content.pop("gemm") | {
        "mac": macs.get("whole_blocks", 0.0),
        "rest_mac": macs.get("rest", 0.0),
        "rest_depth_mac": macs.get("rest_of_depth", 0.0),
        "transposed_mac": macs.get("transposed", 0.0),
    }
    tiles = {size: Tile(**tile) for size, tile in content.pop("tiles", {}).items()}
    level = content.pop("loops")
    loops = {name: Loops(**values) for name, values in levels.items()}
    own = loops[level]
    from pibench.latency.work import Vectors  # noqa: PLC0415  (start-up time)

    vectors = Vectors(
        copied=own.copied,
        filled=own.filled,
        multiplied=own.multiplied,
        squared=own.squared,
        divided=own.divided,
        # A BLAS without a loop for it calls memcpy.
        **{"blas_copied": own.copied} | content.pop("vectors", {}),
    )
    factors = [
        loops[other].access / loops[level].access for other in content.pop("loops_may_be", ())
    ]
    return Stack(
        id=name,
        gemm=Gemm(tiles=tiles, **gemm),
        loops=own,
        vectors=vectors,
        loops_level=level,
        open_loops=(min([1.0, *factors]), max([1.0, *factors])),
        blas=tuple(content.pop("blas")),
        since=content.pop("since", []),
        before=content.pop("before", []),
        **content,
    )
