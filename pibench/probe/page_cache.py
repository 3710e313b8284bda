"""Bringing the programs' files into the page cache, page by page, before anything is measured.

A page of a program counts as resident when it lies in the page cache beside
one that was touched (the kernel maps sixteen at a time), so that a peak would
depend on what ran before. Read once, all files of the programs are there, as
on a board whose first run is behind it.

Current kernels cache files in folios of many pages where they read ahead or
the file was just written, and map more than sixteen for one page touched: the
same program is then up to 3 MiB larger or smaller, depending on who read its
files. A file that is read at random is cached in single pages, as it is on
the boards, whose kernels know no folios.
"""

import os
import re

from .procfs import read_text

MAPPED = re.compile(r" (/\S.*)$", re.M)
CHUNK_BYTES = 1 << 20
# ext4 has folios of many pages since then; what is said above was seen with 6.18.
LARGE_FOLIOS = (6, 16)


def mapped_files(pid):
    """The paths of the files that a process has mapped."""
    return sorted(set(MAPPED.findall(read_text("/proc/{}/maps".format(pid)) or "")))


def preload(paths):
    """Read files, so that they lie in the page cache, in single pages."""
    singly = version(os.uname().release) >= LARGE_FOLIOS
    for path in paths:
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            if singly:
                # What is not yet on the disk, or mapped by a process, would stay as it is.
                os.fsync(file)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
            while os.read(file, CHUNK_BYTES):
                pass
        except OSError:
            continue
        finally:
            os.close(file)


def version(release):
    """The first two numbers of a kernel's release."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)
