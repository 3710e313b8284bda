"""Load the programs' files into the page cache, page by page, before anything is measured.

A page of a program counts as resident when it is in the page cache next to a
page that was touched (the kernel maps sixteen at a time), so a peak would
depend on what ran before. After this preload all files of the programs are cached, as
on a board after its first run.

Current kernels cache files in folios of many pages where they read ahead or
the file was just written, and map more than sixteen for one page touched: the
same program is then up to 3 MiB larger or smaller, depending on who read its
files. A file that is read at random is cached in single pages, as it is on
the boards, whose kernels have no folios.
"""

import os
import re

from .procfs import read_text

MAPPED = re.compile(r" (/\S.*)$", re.M)
CHUNK_BYTES = 1 << 20
# ext4 has folios of many pages since then; the effect above was seen with 6.18.
LARGE_FOLIOS = (6, 16)


def mapped_files(pid):
    """Return the paths of the files that a process has mapped."""
    return sorted(set(MAPPED.findall(read_text("/proc/{}/maps".format(pid)) or "")))


def preload(paths):
    """Read files, so that they are in the page cache, in single pages."""
    singly = version(os.uname().release) >= LARGE_FOLIOS
    for path in paths:
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            if singly:
                # Pages not yet written to the disk, or mapped by a process, would stay as they are.
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
    """Return the first two numbers of a kernel's release."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)
