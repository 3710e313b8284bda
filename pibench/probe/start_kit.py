#!/usr/bin/env python3
"""Run this bundle: python3 run.py (see README.txt).

The syntax suits old Pythons too, so that they can report what is missing.
"""

import hashlib
import json
import os
import sys

TOP = os.path.dirname(os.path.abspath(__file__))
PROGRAM = "probe/"


def damaged():
    """Return the first file of the program that differs from the packed file; None if all are.

    The check comes before any of it is imported: half a file may be a program too.
    """
    try:
        with open(os.path.join(TOP, "manifest.json"), "rb") as handle:
            files = json.loads(handle.read().decode("utf-8"))["files"]
        packed = {str(one["path"]): one["sha256"] for one in files}
    except (EnvironmentError, KeyError, TypeError, ValueError, RuntimeError):
        return "manifest.json"
    program = sorted(name for name in packed if name.startswith(PROGRAM))
    for name in program:
        try:
            with open(os.path.join(TOP, name), "rb") as handle:
                found = hashlib.sha256(handle.read()).hexdigest()
        except (EnvironmentError, ValueError):
            found = None
        if found != packed[name]:
            # A damaged manifest may contain any name: only printable names are shown.
            return ascii(name)[1:-1]
    return None if program else "manifest.json"


def start():
    if sys.version_info < (3, 5):
        version = ".".join(str(part) for part in sys.version_info[:3])
        sys.stdout.write(
            "this is Python %s, and 3.5 or later is needed; run it with python3\n" % version
        )
        return 3
    name = damaged()
    if name is not None:
        sys.stdout.write(
            "the bundle is damaged: %s differs from the packed file; "
            "copy and unpack it again; pi-results.jsonl can stay\n" % name
        )
        return 2
    sys.path.insert(0, TOP)
    from probe.kit import main

    return main(TOP)


if __name__ == "__main__":
    sys.exit(start())
