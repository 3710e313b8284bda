"""What a user can set from outside, each an environment variable."""

from __future__ import annotations

import os
from pathlib import Path

from pibench.errors import EnvironmentFault


def cache_dir() -> Path:
    """Where images live: PIBENCH_CACHE_DIR, or `pibench` in the user's cache directory."""
    override = os.environ.get("PIBENCH_CACHE_DIR")
    if override:
        try:
            return Path(override).expanduser().resolve()
        except (RuntimeError, OSError, ValueError) as error:
            raise EnvironmentFault(
                f"PIBENCH_CACHE_DIR={override} is no folder: {error}", hint="name another one"
            ) from None
    import platformdirs  # noqa: PLC0415  (start-up time)

    return platformdirs.user_cache_path("pibench")


def debian_mirror() -> str | None:
    """The mirror that packages come from, where the host's own is not to be used."""
    return os.environ.get("PIBENCH_DEBIAN_MIRROR") or None


def traceback_wanted() -> bool:
    """Whether a fault of pibench itself is to be shown as Python does: PIBENCH_TRACEBACK."""
    return bool(os.environ.get("PIBENCH_TRACEBACK"))
