"""Run, measure and cross-check Caffe networks for a Raspberry Pi 3.

`pibench.api` has the functions. `fits` and `run` are exported here too, and `load` reads record
files as a DataFrame.
"""

from __future__ import annotations

from pibench._version import __version__

# Importing typing takes longer than all else before the command line can take a Ctrl-C.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from pibench.api import Fit, fits, run
    from pibench.report.frames import load

__all__ = ["Fit", "__version__", "fits", "load", "run"]


def __getattr__(name: str) -> Any:
    """Import an exported name at its first use, so that `import pibench` stays fast."""
    if name in ("Fit", "fits", "run"):
        from pibench import api  # noqa: PLC0415  (see above)

        return getattr(api, name)
    if name == "load":
        from pibench.report.frames import load  # noqa: PLC0415  (see above)

        return load
    raise AttributeError(f"module 'pibench' has no attribute {name!r}")
