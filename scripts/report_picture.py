#!/usr/bin/env python3
"""The head of the HTML report as a picture, by Chromium: the one in the README.

    report_picture.py RECORDS PICTURE.png

Its letters are those of this machine: Inter, where the package fonts-inter is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH, MARGIN = 1280, 24


def main() -> None:
    """Make the report, open it, and take the picture down to the end of the peaks."""
    records, picture = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        command = [sys.executable, "-m", "pibench", "report", records, "-o", str(path)]
        subprocess.run(command, check=True)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
            page = browser.new_page(viewport={"width": WIDTH, "height": 1600})
            page.goto(path.as_uri())
            page.locator("#memory svg.main-svg").first.wait_for()
            box = page.locator("#memory figcaption").bounding_box()
            if box is None:
                sys.exit(f"{records}: the report has no peaks to show")
            height = box["y"] + box["height"] + MARGIN
            page.screenshot(path=picture, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
            browser.close()
    print(f"written: {picture}, {Path(picture).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
