#!/usr/bin/env python3
"""The program that runs inside every target: networks in, measurements out.

    run.py JOB.json            run a job on this machine, frames to standard output
    run.py --guest JOB.json    the same as the only task of an emulated machine
    run.py --inference SPEC    one forward-only run in pycaffe (started by the above)
    run.py --forward SPEC      the same with an engine that is a module of Python
    run.py --describe          versions of Caffe's libraries (started by the above)

Needs the standard library; --inference needs numpy and pycaffe too, --forward numpy and
the engine; psutil is used where present. The syntax is Python 3.5's, since a Raspberry Pi with
Ubuntu 16.04 has no newer one. It imports nothing of pibench
except the modules beside this file, which are copied with it.

Each network runs in a separate child: Caffe aborts its process on a bad
model, and only a child's own wait status and peak memory are evidence.

The output is one frame per line, `PIBENCH <crc32> <json>`, so that a torn
or mixed-up line on a serial console is noticed and never believed. Events:
hello (the machine), baseline, start, alive (every few seconds), result, end.
Where the job asks for it, `next`, `place` and `own` wait for a line on standard input: the id of
the next network (none: no more), and `done` where a process was moved into a control group, or
got pages of its own.
Figures carry their unit in their name: `_bytes`, `_ms`, `_kib` as the kernel's.
"""

import json
import os
import sys

# Started with -I, Python leaves a script's own folder out of its search path.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from probe.child import keep_out, process_control  # noqa: E402  (the path comes first)
from probe.job import run_job  # noqa: E402
from probe.log import Frames  # noqa: E402
from probe.machine import describe_libraries  # noqa: E402


def protect():
    """Protect the probe from being killed instead of its child."""
    try:
        with open("/proc/self/oom_score_adj", "w") as handle:
            handle.write("-1000")
    except OSError:
        pass


def wait(loaded, go):
    """Report to a pipe that this program is loaded, and wait at another.

    A guest is saved between the two; what is imported by then is there when it is restored.
    """
    import ctypes  # noqa: F401
    import mmap  # noqa: F401

    with open(loaded, "w") as pipe:
        pipe.write("loaded\n")
    with open(go) as pipe:
        pipe.readline()
    os.unlink(loaded)
    os.unlink(go)


def main():
    if len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
        # This mode is timed: emulated, each import takes time.
        keep_out(process_control())
        run_job(sys.argv[1], Frames(sys.stdout.buffer, sys.stdin.buffer), False)
        return
    import argparse

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", nargs="?", help="the job file")
    parser.add_argument("--guest", action="store_true", help="this machine runs nothing else")
    parser.add_argument("--wait", nargs=2, metavar=("LOADED", "GO"), help=argparse.SUPPRESS)
    parser.add_argument("--inference", metavar="SPEC", help=argparse.SUPPRESS)
    parser.add_argument("--forward", metavar="SPEC", help=argparse.SUPPRESS)
    parser.add_argument("--counted", metavar="SPEC", help=argparse.SUPPRESS)
    parser.add_argument("--describe", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.describe:
        describe_libraries()
    elif options.inference:
        from probe.engines.pycaffe import run_inference

        run_inference(json.loads(options.inference))
    elif options.forward:
        from probe.engines import engine_of
        from probe.engines.forward import run_forward

        spec = json.loads(options.forward)
        run_forward(engine_of(spec), spec)
    elif options.counted:
        from probe.engines.pycaffe import run_counted

        run_counted(json.loads(options.counted))
    else:
        if options.guest:
            protect()
            if options.wait:
                wait(*options.wait)
        else:
            keep_out(process_control())
        run_job(options.job, Frames(sys.stdout.buffer, sys.stdin.buffer), options.guest)


if __name__ == "__main__":
    main()
