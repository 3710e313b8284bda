"""How large the HTML report is, how long it takes to make, and to open in Chromium.

Prints both for the records given:

    python benchmarks/report_speed.py RECORDS...

Opening is the browser's own figure, from the start of the navigation to the end of the load
event, as the median of five; `first paint` is when the reader sees something.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

MB = 10**6
TIMES = 5
_OPENED = """() => ({
    loaded_ms: performance.getEntriesByType("navigation")[0].loadEventEnd,
    paint_ms: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0,
})"""


def make(records: list[str], path: Path) -> float:
    """Write the report as a user does; the seconds that it took."""
    start = time.monotonic()
    command = [sys.executable, "-m", "pibench", "report", *records, "-o", str(path)]
    subprocess.run(command, check=True)
    return time.monotonic() - start


def open_(path: Path) -> dict[str, float]:
    """Open it several times, each in a fresh context; the medians in ms."""
    times: dict[str, list[float]] = {"loaded_ms": [], "paint_ms": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for _ in range(TIMES):
            page = browser.new_page()
            page.goto(path.as_uri(), wait_until="load")
            # The event's end is noted after the event.
            page.wait_for_function(
                'performance.getEntriesByType("navigation")[0].loadEventEnd > 0'
                ' && performance.getEntriesByName("first-contentful-paint").length > 0'
            )
            for name, value in page.evaluate(_OPENED).items():
                times[name].append(value)
            page.close()
        print(f"Chromium {browser.version}")
        browser.close()
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    """Make it, open it, print the figures."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        seconds = make(sys.argv[1:], path)
        print(f"made in {seconds:.1f} s, {path.stat().st_size / MB:.2f} MB")
        opened = open_(path)
    print(f"opened in {opened['loaded_ms']:.0f} ms, first paint at {opened['paint_ms']:.0f} ms")


if __name__ == "__main__":
    main()
