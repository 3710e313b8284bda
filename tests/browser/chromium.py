"""Where the system's Chromium is: nothing is downloaded for the tests."""

from __future__ import annotations

import shutil

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
