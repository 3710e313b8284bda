#!/usr/bin/env python3
"""Run this kit: python3 run.py (see README.txt).

This file is read by old Pythons too, so that they can say what is missing.
"""

import os
import sys

TOP = os.path.dirname(os.path.abspath(__file__))


def start():
    if sys.version_info < (3, 5):
        version = ".".join(str(part) for part in sys.version_info[:3])
        sys.stdout.write(
            "this is Python %s, and 3.5 or later is needed; run it with python3\n" % version
        )
        return 3
    sys.path.insert(0, TOP)
    try:
        from probe.kit import main
    except ImportError as error:
        sys.stdout.write("the kit is damaged: %s; copy and unpack it anew\n" % error)
        return 2
    return main(TOP)


if __name__ == "__main__":
    sys.exit(start())
