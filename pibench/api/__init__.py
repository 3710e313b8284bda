"""Provide the commands of pibench as Python functions; the command line calls them too.

    from pibench import api

    network = api.network("my/deploy.prototxt")
    print(api.plan(network).peak_rss_bytes)
    (record,) = api.run([network], target="twin")
    assert api.fits("my/deploy.prototxt", device="rpi3b")

Importing this package is fast: each function imports what it needs at its first call.
Every function raises only errors of `pibench.errors`: InvalidInputError for a file or a value that
cannot be used, HostError for something that this machine lacks.
"""

from pibench import display
from pibench.api.comparison import reconcile, report
from pibench.api.estimates import check, network, plan, predict
from pibench.api.fit import Fit, fits
from pibench.api.runs import bundle, choose, import_results, run, run_all
from pibench.api.studies import Sweep, bisect, sweep

__all__ = [
    "Fit", "Sweep", "bisect", "bundle", "check", "choose", "fits", "import_results", "network",
    "plan", "predict", "reconcile", "report", "run", "run_all", "sweep",
]  # fmt: skip


def _html_of(result: object) -> str | None:
    from pibench.report.notebook import html_of  # noqa: PLC0415  (see above)

    return html_of(result)


display.show_by(_html_of)
