"""The kernel's messages and counters about processes that it killed for lack of memory."""

import errno
import os
import re

from .procfs import read_fields, read_int

OOM_LINE = re.compile(r"Out of memory|oom-kill:|oom_reaper|Memory cgroup out of memory")


class KernelLog(object):
    """The kernel's messages about killed processes, from /dev/kmsg where it may be read."""

    def __init__(self):
        try:
            self.handle = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
            os.lseek(self.handle, 0, os.SEEK_END)
        except OSError:
            self.handle = None

    def oom_lines(self):
        """Return the OOM lines since the last call; None where the log may not be read."""
        if self.handle is None:
            return None
        lines = []
        while True:
            try:
                record = os.read(self.handle, 8192).decode("utf-8", "replace")
            except OSError as error:
                if error.errno == errno.EPIPE:
                    # Some records were overwritten before they were read; go on.
                    continue
                return lines
            text = record.partition(";")[2].splitlines()
            if text and OOM_LINE.search(text[0]):
                lines.append(text[0])


def oom_counter():
    """Return how many processes the kernel killed for lack of memory (kernel 4.13 and later)."""
    return read_int(read_fields("/proc/vmstat"), "oom_kill")
