#!/usr/bin/env python3
"""The program that runs inside every target: networks in, measurements out.

    run.py JOB.json            run a job on this machine, frames to standard output
    run.py --guest JOB.json    the same as the only task of an emulated machine
    run.py --inference SPEC    one forward-only run in pycaffe (started by the above)
    run.py --describe          versions of Caffe's libraries (started by the above)

Needs the standard library; --inference needs numpy and pycaffe too, and psutil
is used where present. The syntax is Python 3.5's, since a Raspberry Pi with
Ubuntu 16.04 has no newer one. It imports nothing of pibench
except the modules beside this file, which are copied with it.

Each network runs in a separate child: Caffe aborts its process on a bad
model, and only a child's own wait status and peak memory are evidence.

The output is one frame per line, `PIBENCH <crc32> <json>`, so that a torn
or mixed-up line on a serial console is noticed and never believed. Events:
hello (the machine), baseline, start, alive (every few seconds), result, end.
Figures carry their unit in their name: `_bytes`, `_ms`, `_kib` as the kernel's.
"""

import os
import sys

# Started with -I, Python leaves a script's own folder out of its search path.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from probe.main import main  # noqa: E402  (the path comes first)

if __name__ == "__main__":
    main()
