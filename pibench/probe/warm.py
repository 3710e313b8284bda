"""Reading the programs' files before anything is measured.

A page of a program counts as resident when it lies in the page cache beside
one that was touched (the kernel maps sixteen at a time), so that a peak would
depend on what ran before. Read once, all files of the programs are there, as
on a board whose first run is behind it.
"""

import re

from .procfs import read_text

MAPPED = re.compile(r" (/\S.*)$", re.M)
CHUNK_BYTES = 1 << 20


def mapped_files(pid):
    """The paths of the files that a process has mapped."""
    return sorted(set(MAPPED.findall(read_text("/proc/{}/maps".format(pid)) or "")))


def warm_up(paths):
    """Read files, so that they lie in the page cache."""
    for path in paths:
        try:
            with open(path, "rb") as handle:
                while handle.read(CHUNK_BYTES):
                    pass
        except OSError:
            continue
