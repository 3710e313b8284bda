"""A program that is loaded once and forked for each network, before its main runs.

What waits in the program is the library that is built from qemu/blas/memory_only_forks.c.
"""

import os
import re
import select
import subprocess
import time
from contextlib import suppress

from .child import child_env, prepare_child, process_control
from .procfs import read_fields
from .programs import place_environment

ANSWER_DEADLINE_S = 60.0
WAIT_S = 0.001
# linux/prctl.h
SET_CHILD_SUBREAPER = 36
# Limits of memory_only_forks.c.
LONGEST_REQUEST = 4096
# The kernel counts resident pages in batches of 64 for each thread (see exact_rss_kib): peaks of
# the same program differ by this much when each is started by itself, too.
SAME_PEAK_BYTES = 256 << 10
PAGE_BYTES = 4096
MOST_COPIED_BYTES = 1 << 18
# Documentation/admin-guide/mm/pagemap.rst in Linux's source.
ENTRY_BYTES = 8
PRESENT = 1 << 63
OF_A_FILE = 1 << 61
EXCLUSIVE = 1 << 56
ANONYMOUS = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) ...p |^Anonymous: +([0-9]+) kB", re.M)


class ForkError(Exception):
    """The loaded program forked no process."""


class Forked(object):
    """A process of a program that was loaded before."""

    forked = True

    def __init__(self, pid, pipe):
        self.pid = pid
        self.pipe = pipe

    def end(self):
        """Leave the pipe open: the next process writes to it."""


class LoadedProgram(object):
    """A process that waits in front of its program's main, and is forked for each run.

    `program` is its command line without arguments, `env` its environment; `job` says whether an
    emulator runs it (see place_environment).
    """

    def __init__(self, job, program, env, guest):
        prctl = process_control()
        if prctl is None or prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise ForkError("forked processes would be nobody's")
        self.program = program
        self.env = env
        self.answers, to_us = os.pipe()
        go, self.go = os.pipe()
        run, self.run = os.pipe()
        theirs = (to_us, go, run)
        self.signs = (go, run)
        loaded = dict(env, PIBENCH_FORKS="{},{},{}".format(*theirs))
        command, loaded = place_environment(job, program, loaded)
        self.process = subprocess.Popen(
            command,
            env=child_env(loaded),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=theirs,
            preexec_fn=prepare_child(guest, None, is_measured=False),
        )
        os.close(to_us)
        self.pipe = self.process.stdout.fileno()
        os.set_blocking(self.pipe, False)

    def fork(self, command, place=None, own=None):
        """Fork a process that runs a command of the program; raise ForkError if it cannot.

        `place` moves a process into a control group, by its number: the forked one is born there.
        `own` returns whether it gave a process pages of its own (see `own_pages`): those that it
        shares with this program are charged to this program's group.
        """
        arguments = command[len(self.program) - 1 :]
        request = b"".join(os.fsencode(word) + b"\0" for word in arguments) + b"\0"
        if len(request) > LONGEST_REQUEST:
            raise ForkError("its command line is too long")
        self._drop_output()
        self._drop_signs()
        try:
            os.write(self.process.stdin.fileno(), request)
        except OSError as error:
            raise ForkError(str(error)) from None
        between = self._answer()
        if place is not None:
            place(between)
        os.write(self.go, b"\n")
        pid = self._answer()
        if own is not None and not own(pid):
            raise ForkError("it shares its pages")
        os.write(self.go, b"\n")
        self._answer()
        os.write(self.run, b"\n")
        return Forked(pid, self.pipe)

    def _drop_output(self):
        """Drop what an earlier process left in the pipe: it would be taken for this one's."""
        with suppress(BlockingIOError):
            while os.read(self.pipe, PAGE_BYTES):
                pass

    def _drop_signs(self):
        """Drop what was written for a process that had been killed: the next would not wait."""
        for fd in self.signs:
            while select.select([fd], [], [], 0)[0]:
                os.read(fd, PAGE_BYTES)

    def _answer(self):
        """Return the number of a process that was forked, and waits."""
        if not select.select([self.answers], [], [], ANSWER_DEADLINE_S)[0]:
            raise ForkError("it does not answer")
        answer = b""
        while not answer.endswith(b"\n"):
            byte = os.read(self.answers, 1)
            if not byte:
                raise ForkError("it could not be loaded")
            answer += byte
        if int(answer) < 0:
            raise ForkError("it could not fork")
        return int(answer)

    def end(self):
        # Nobody else's orphans are for this process to bury.
        process_control()(SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            stream.close()
        for fd in (self.answers, self.go, self.run) + self.signs:
            os.close(fd)


def own_pages(pid, proc="/proc", deadline_s=ANSWER_DEADLINE_S):
    """Give a process that waits pages of its own for those that it shares since its fork.

    The kernel copies a shared page when it is written to, and charges the process's group. This
    includes pages that the process itself may not write, and an emulator's own. The host calls
    this: in its sandbox the probe may write to no file. Raises OSError where the kernel refuses
    it, and ForkError where the process does not wait.
    """
    threads = "{}/{}/task".format(proc, pid)
    last = time.monotonic() + deadline_s
    # What is read and written must not change in between.
    while True:
        states = {state_of(threads + "/" + thread) for thread in os.listdir(threads)}
        if states == {"S"}:
            break
        if "Z" in states or time.monotonic() >= last:
            raise ForkError("it does not wait")
        time.sleep(WAIT_S)
    memory = os.open("{}/{}/mem".format(proc, pid), os.O_RDWR)
    try:
        for start, end in shared_pages(pid, proc):
            for at in range(start, end, MOST_COPIED_BYTES):
                content = os.pread(memory, min(end - at, MOST_COPIED_BYTES), at)
                if at + os.pwrite(memory, content, at) < min(end, at + MOST_COPIED_BYTES):
                    raise ForkError("some of its pages cannot be written")
    finally:
        os.close(memory)


def state_of(folder):
    return read_fields(folder + "/status").get("State")


def shared_pages(pid, proc="/proc"):
    """Yield the runs of private pages, as (start, end), that a process shares with another."""
    with open("{}/{}/smaps".format(proc, pid)) as handle:
        text = handle.read()
    pagemap = os.open("{}/{}/pagemap".format(proc, pid), os.O_RDONLY)
    try:
        start = end = 0
        for found in ANONYMOUS.finditer(text):
            if found.group(1):
                start, end = int(found.group(1), 16), int(found.group(2), 16)
            elif start and int(found.group(3)):
                for run in runs_in(pagemap, start, end):
                    yield run
                start = 0
    finally:
        os.close(pagemap)


def runs_in(pagemap, start, end):
    """Yield the runs of pages of one mapping that are anonymous, and another process's too."""
    first, count = start // PAGE_BYTES, (end - start) // PAGE_BYTES
    content = os.pread(pagemap, count * ENTRY_BYTES, first * ENTRY_BYTES)
    begun = None
    for number, entry in enumerate(memoryview(content).cast("Q")):
        page = start + number * PAGE_BYTES
        if entry & (PRESENT | OF_A_FILE | EXCLUSIVE) == PRESENT:
            begun = page if begun is None else begun
        elif begun is not None:
            yield begun, page
            begun = None
    if begun is not None:
        yield begun, end
