"""Settings for every test."""

from __future__ import annotations

import os
import signal
import sys

# Containers often forbid bytecode to be kept: pytest would rewrite every test each time, and each
# of the hundreds of processes that tests start would compile pibench.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from hypothesis import settings

# A shell starts background jobs with SIGINT ignored, nohup ignores SIGHUP, others block or ignore
# more, and children inherit that: tests of interruptions would then fail for where they were
# started from.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())

# How long an example takes depends on how busy the host is.
settings.register_profile("pibench", deadline=None)
settings.load_profile("pibench")
