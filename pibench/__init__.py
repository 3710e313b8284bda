"""Run, measure and cross-check Caffe networks for a Raspberry Pi 3.

`pibench.api` has the functions. Those used most are exported here too, and `load` reads record
files as a DataFrame.
"""

from __future__ import annotations

from pibench._version import __version__

# Importing typing takes longer than all else before the command line can take a Ctrl-C.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from pibench.api import Fit, Sweep, bisect, check, fits, network, predict, run, sweep
    from pibench.report.frames import load

_API = ("Fit", "Sweep", "bisect", "check", "fits", "network", "predict", "run", "sweep")
__all__ = [
    "Fit", "Sweep", "__version__", "bisect", "check", "fits", "load", "network", "predict", "run",
    "sweep",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    """Import an exported name at its first use, so that `import pibench` stays fast."""
    if name in _API:
        from pibench import api  # noqa: PLC0415  (see above)

        return getattr(api, name)
    if name == "load":
        from pibench.report.frames import load  # noqa: PLC0415  (see above)

        return load
    raise AttributeError(f"module 'pibench' has no attribute {name!r}")
