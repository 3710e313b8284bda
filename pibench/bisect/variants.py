"""Parse one side of a bisection from the command line: `TARGET:key=value,...` or a file."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args

from pibench.errors import InvalidInputError
from pibench.images.blas import BLAS_NAMES, Blas
from pibench.records.schema import Machine

KEYS: Final = ("weights", "prototxt", "blas", "threads", "machine")
_CHANGES: Final = re.compile(rf":(?=(?:{'|'.join(KEYS)})=)")
_HINT: Final = f"write TARGET:key=value,...: keys are {', '.join(KEYS)}"
_MOST_THREADS: Final = 64


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A target, and the options that its run changes. `text` is what was parsed."""

    text: str
    target: str
    weights: Path | None = None
    prototxt: Path | None = None
    blas: Blas = "openblas"
    threads: int | None = None
    machine: Machine | None = None


def parse(text: str) -> Variant:
    """Parse the side that `text` names.

    A value cannot contain a comma, because commas separate the keys.

    Raises:
        InvalidInputError: if the text is not valid.
    """
    target, *rest = _CHANGES.split(text, maxsplit=1)
    for part in (target.rpartition(":")[2], *(rest[0].split(",") if rest else ())):
        key, separator, _ = part.partition("=")
        if separator and key.isidentifier() and key not in KEYS:
            raise InvalidInputError(f"{text}: key {key!r} is unknown", hint=_HINT)
    found = Variant(text=text, target=target)
    for part in rest[0].split(",") if rest else ():
        key, separator, value = part.partition("=")
        if not separator or key not in KEYS or not value:
            raise InvalidInputError(f"{text}: {part!r} is not KEY=VALUE", hint=_HINT)
        found = _changed(found, key, value)
    return found


def _changed(found: Variant, key: str, value: str) -> Variant:
    if key in ("weights", "prototxt"):
        changed: dict[str, Any] = {key: Path(value)}
        return replace(found, **changed)
    if key == "threads":
        if not value.isdecimal() or not 1 <= int(value) <= _MOST_THREADS:
            raise InvalidInputError(
                f"{found.text}: {value} is not a number of threads",
                hint=f"give 1 to {_MOST_THREADS}",
            )
        return replace(found, threads=int(value))
    what, known = ("BLAS", BLAS_NAMES) if key == "blas" else ("machine", get_args(Machine))
    if value not in known:
        raise InvalidInputError(
            f"{found.text}: there is no {what} {value}", hint=f"choose from {', '.join(known)}"
        )
    changed = {key: value}
    return replace(found, **changed)
