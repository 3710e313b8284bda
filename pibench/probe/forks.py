"""A program that is loaded once and forked for each network, before its main runs.

What waits in the program is the library that is built from qemu/blas/memory_only_forks.c.
"""

import os
import select
import subprocess

from .child import child_env, prepare_child, process_control

ANSWER_DEADLINE_S = 60.0
# linux/prctl.h
SET_CHILD_SUBREAPER = 36
# Limits of memory_only_forks.c.
LONGEST_REQUEST = 4096
# The kernel counts resident pages in batches of 64 for each thread (see exact_rss_kib): peaks of
# the same program differ by this much when each is started by itself, too.
SAME_PEAK_BYTES = 256 << 10


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
    """A process that waits in front of its program's main, and is forked for each run."""

    def __init__(self, program, library, env, guest):
        prctl = process_control()
        if prctl is None or prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise ForkError("forked processes would be nobody's")
        self.program = program
        self.env = env
        self.answers, to_us = os.pipe()
        loaded = dict(env, PIBENCH_FORKS=str(to_us))
        loaded["LD_PRELOAD"] = ":".join(filter(None, [library, env.get("LD_PRELOAD")]))
        self.process = subprocess.Popen(
            program,
            env=child_env(loaded),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(to_us,),
            preexec_fn=prepare_child(guest, None, is_measured=False),
        )
        os.close(to_us)
        self.pipe = self.process.stdout.fileno()
        os.set_blocking(self.pipe, False)

    def fork(self, command):
        """Fork a process that runs a command of the program; raise ForkError if it cannot."""
        arguments = command[len(self.program) - 1 :]
        request = b"".join(os.fsencode(word) + b"\0" for word in arguments) + b"\0"
        if len(request) > LONGEST_REQUEST:
            raise ForkError("its command line is too long")
        try:
            os.write(self.process.stdin.fileno(), request)
        except OSError as error:
            raise ForkError(str(error)) from None
        if not select.select([self.answers], [], [], ANSWER_DEADLINE_S)[0]:
            raise ForkError("it does not answer")
        answer = os.read(self.answers, 32)
        if not answer or int(answer) < 0:
            raise ForkError("it could not be loaded, or could not fork")
        return Forked(int(answer), self.pipe)

    def end(self):
        # Nobody else's orphans are for this process to bury.
        process_control()(SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            stream.close()
        os.close(self.answers)
