"""What holds for every test."""

from __future__ import annotations

import signal

# A shell starts background jobs with SIGINT ignored, and children inherit that:
# tests of Ctrl-C would then fail for where they were started from.
signal.signal(signal.SIGINT, signal.default_int_handler)
