"""Time the phases of a command, which `--timings` prints.

    with timings.phase("unpack"):
        ...

Phases may lie in one another and run in several threads at once. One of another thread is within
the phase that started the thread where that passes on its context (`contextvars.copy_context`).
"""

from __future__ import annotations

import time
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any, Self

_path: ContextVar[tuple[str, ...]] = ContextVar("path", default=())
_ended: list[tuple[tuple[str, ...], float, float]] = []


class phase:  # noqa: N801  (used as a function)
    """Time the block; `stop` ends the phase before the block."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._token: Token[tuple[str, ...]] | None = None

    def __enter__(self) -> Self:
        self._token = _path.set((*_path.get(), self._name))
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the phase, unless it has ended."""
        if self._token is not None:
            _ended.append((_path.get(), self._started, time.monotonic()))
            _path.reset(self._token)
            self._token = None


@dataclass(frozen=True, kw_only=True)
class Phase:
    """All phases of one name within the same others.

    `started_s` counts from the start of the command's first phase, `elapsed_s` is the sum of
    `times` phases: of those that ran at once it is longer than the time from first to last.
    """

    path: tuple[str, ...]
    started_s: float
    elapsed_s: float
    times: int

    def as_json(self) -> dict[str, Any]:
        """Return the phase as a JSON object; times are in seconds."""
        return {
            "phase": list(self.path),
            "started_s": round(self.started_s, 3),
            "elapsed_s": round(self.elapsed_s, 3),
            "times": self.times,
        }


def phases() -> list[Phase]:
    """Return the phases that have ended, in the order of their start; each before those in it."""
    found = list(_ended)
    first = {
        path: min(start for other, start, _ in found if other[: len(path)] == path)
        for path, _, _ in found
    }
    origin = min(first.values(), default=0.0)

    def order(path: tuple[str, ...]) -> list[tuple[float, str]]:
        above = (path[: depth + 1] for depth in range(len(path)))
        return [(first.get(one, origin), one[-1]) for one in above]

    return [
        Phase(
            path=path,
            started_s=first[path] - origin,
            elapsed_s=sum(end - start for other, start, end in found if other == path),
            times=sum(other == path for other, _, _ in found),
        )
        for path in sorted(first, key=order)
    ]
