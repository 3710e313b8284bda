"""The probe's command line; see run.py."""

import json
import sys

from .child import keep_out, process_control
from .frames import Frames
from .job import run_job
from .machine import describe_libraries


def protect():
    """Protect the probe from being killed instead of its child."""
    try:
        with open("/proc/self/oom_score_adj", "w") as handle:
            handle.write("-1000")
    except OSError:
        pass


def main():
    if len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
        # This mode is timed: emulated, each import takes time.
        keep_out(process_control())
        run_job(sys.argv[1], Frames(sys.stdout.buffer), False)
        return
    import argparse

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", nargs="?", help="the job file")
    parser.add_argument("--guest", action="store_true", help="this machine runs nothing else")
    parser.add_argument("--inference", metavar="SPEC", help=argparse.SUPPRESS)
    parser.add_argument("--counted", metavar="SPEC", help=argparse.SUPPRESS)
    parser.add_argument("--describe", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.describe:
        describe_libraries()
    elif options.inference:
        from .engines.pycaffe import run_inference

        run_inference(json.loads(options.inference))
    elif options.counted:
        from .engines.pycaffe import run_counted

        run_counted(json.loads(options.counted))
    else:
        if options.guest:
            protect()
        else:
            keep_out(process_control())
        run_job(options.job, Frames(sys.stdout.buffer), options.guest)
