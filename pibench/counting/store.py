"""Cache counts: the same network in the same image executes the same instructions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pibench import cache, settings
from pibench.counting.counts import NetworkCounts
from pibench.images.recipe import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

FORMAT: Final = 1


def stored(parts: Mapping[str, Any], count: Callable[[], NetworkCounts]) -> NetworkCounts:
    """Return the counts for the key `parts`, counted if they are not in the cache yet."""
    found = known(parts)
    if found is not None:
        return found
    counts = count()
    text = json.dumps(counts.as_dict()) + "\n"
    cache.keep_if_possible(
        _path(parts), lambda partial: partial.write_text(text), "is counted each time"
    )
    return counts


def known(parts: Mapping[str, Any]) -> NetworkCounts | None:
    """Return the counts for the key `parts`; None where the cache has none that can be read."""
    return _read(_path(parts))


def _path(parts: Mapping[str, Any]) -> Path:
    key = fingerprint({"format": FORMAT, **parts})
    return settings.cache_dir() / "counts" / f"{key[:16]}.json"


def _read(path: Path) -> NetworkCounts | None:
    try:
        return NetworkCounts.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None
