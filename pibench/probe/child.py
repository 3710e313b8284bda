"""One child process, watched to its end: its wait status, peak memory and log.

Where the child is emulated, its memory is separated from that of QEMU's user-mode emulator.
Seen from outside, an emulated process is a process of QEMU, and its resident memory is that
of both. The guest's pages are at the guest's own addresses, below 2^40, since the targets
reserve the guest's address space (QEMU_RESERVED_VA). QEMU's own program, heap and translated
code are where Linux puts those of any position-independent program, far above.
"""

import os
import re
import resource
import select
import signal
import subprocess
import time

from .procfs import read_fields, read_int
from .programs import mapped_files

POLL_S = 0.1
# Limit for the fraction of the time spent on reading the emulator's memory.
SAMPLING_SHARE = 0.05
SAMPLING_PAUSE_S = 1.0
# Walking the page tables of a timed child must not occupy a core for long either.
WALKING_SHARE = 0.01
WALKING_PAUSE_S = 5.0
ALIVE_S = 5.0
# Emulated, a chunk of short lines may take seconds to read; a child that writes without
# end must not stop the probe from checking the elapsed time.
CHUNK_BYTES = 16384
DRAIN_S = 0.5
LAST_DRAIN_S = 10.0
NOBODY = 65534
# linux/prctl.h
SET_DEATH_SIGNAL = 1
SET_DUMPABLE = 4
GUEST_END = 1 << 40
# A shell that waits for a line, and becomes the program then.
PLACED = ["/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "sh"]
RESIDENT = re.compile(rb"^([0-9a-f]+)-[0-9a-f]+ |^Rss: +([0-9]+) kB", re.M)
# No emulator was seen to take more than 45 MB: a share above this means that the two
# were not separated correctly, and is dropped.
PLAUSIBLE_BYTES = 256 << 20


def child_env(extra):
    env = dict(os.environ)
    env.update(extra or {})
    return env


def process_control():
    """Return the C library's prctl, or None where it is not found."""
    import ctypes

    try:
        return ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None


def keep_out(prctl):
    """Deny everybody but root access to this process's memory and files.

    Otherwise a program of the same user could write to the probe's standard output
    through /proc, and forge the probe's reports.
    """
    if prctl:
        prctl(SET_DUMPABLE, 0, 0, 0, 0)


def prepare_child(guest, address_space_bytes, is_measured=True):
    """Return the child's setup before the exec: no privileges, no core dump, first to be killed.

    What is not measured itself is as safe from being killed as the probe.
    """
    # In the guest nothing outlives the probe anyway, and memory is scarce.
    prctl = None if guest else process_control()

    def prepare():
        if prctl:
            prctl(SET_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
            # Until its exec the child is as closed as the probe, even to itself.
            prctl(SET_DUMPABLE, 1, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if address_space_bytes:
            # Only root may exceed the limit that is in force already.
            most = resource.getrlimit(resource.RLIMIT_AS)[1]
            limit = address_space_bytes
            if most != resource.RLIM_INFINITY:
                limit = min(limit, most)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        os.setsid()
        try:
            if is_measured:
                with open("/proc/self/oom_score_adj", "w") as handle:
                    handle.write("500")
        except OSError:
            pass
        if guest:
            # A model file is not trusted: it may not write to the console.
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    return prepare


def exact_rss_kib(pid, proc="/proc"):
    """Return the resident size of a process from its page tables; 0 where that is unknown.

    VmHWM, VmRSS and ru_maxrss are read from counters, which lack up to 64
    pages of each thread (before Linux 6.2), or a batch of at least 32 of each CPU
    (from f1a7941243c1, "mm: convert mm's rss stats into percpu_counter", on).
    """
    return read_int(read_fields("{}/{}/smaps_rollup".format(proc, pid)), "Rss") or 0


def emulated_rss_kib(pid, proc="/proc"):
    """Return the resident sizes of a process that runs an emulator, and of the emulator in it.

    None where it runs none or cannot be read; the emulator's is None where that is implausible.
    Both come from one walk of the page tables, which takes the kernel 10 ms for a large network.
    """
    try:
        if "qemu" not in os.path.basename(os.readlink("{}/{}/exe".format(proc, pid))):
            return None
        with open("{}/{}/smaps".format(proc, pid), "rb") as handle:
            text = handle.read()
    except OSError:
        return None
    sizes_kib = {}
    address = 0
    for found in RESIDENT.finditer(text):
        if found.group(1):
            address = int(found.group(1), 16)
        else:
            # By address: a mapping that grows while it is read appears twice.
            sizes_kib[address] = int(found.group(2))
    share_kib = sum(size for address, size in sizes_kib.items() if address >= GUEST_END)
    is_plausible = 0 < share_kib * 1024 < PLAUSIBLE_BYTES
    return sum(sizes_kib.values()), share_kib if is_plausible else None


class Resident(object):
    """The peak memory of a child, and an emulator's share of it, by samples.

    The share only grows, as code is translated: the peak so far less the share
    now is at most what the emulated program had then, and is just that where
    the sample is close to the peak.
    """

    def __init__(self, pid, proc="/proc"):
        self.pid = pid
        self.proc = proc
        self.high_water_kib = 0
        self.share_kib = None
        self.guest_kib = 0
        self.not_before = 0.0

    def sample(self, high_water_kib, at_once=False):
        self.high_water_kib = max(self.high_water_kib, high_water_kib)
        if time.monotonic() < self.not_before and not at_once:
            return
        # The CPU time, not the elapsed time: on a busy machine that is longer.
        begun = time.process_time()
        rss_kib, share_kib = emulated_rss_kib(self.pid, self.proc) or (
            exact_rss_kib(self.pid, self.proc),
            None,
        )
        self.high_water_kib = max(self.high_water_kib, rss_kib)
        cost = time.process_time() - begun
        status = "{}/{}/status".format(self.proc, self.pid)
        # The mappings of a process that is ending are incomplete.
        if share_kib is not None and read_fields(status).get("VmRSS"):
            self.share_kib = max(self.share_kib or 0, share_kib)
            self.guest_kib = max(self.guest_kib, self.high_water_kib - self.share_kib)
        pause = min(cost / WALKING_SHARE, WALKING_PAUSE_S)
        if share_kib is not None:
            # An emulated child's times do not count; the share must be sampled close to the peak.
            pause = min(cost / SAMPLING_SHARE, SAMPLING_PAUSE_S)
        self.not_before = time.monotonic() + pause

    def of_peak_bytes(self, peak_kib):
        """Return the emulator's share of the peak of both, or None where it was not measured."""
        if self.share_kib is None:
            return None
        return min(self.share_kib, max(peak_kib - self.guest_kib, 0)) * 1024


class Started(object):
    """A process of a program that was started for it alone.

    `place` moves it into a control group, by its number, before it becomes the program.
    """

    forked = False

    def __init__(self, command, env, prepare, place=None):
        self._process = subprocess.Popen(
            command if place is None else PLACED + command,
            env=child_env(env),
            stdin=subprocess.DEVNULL if place is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=prepare,
        )
        self.pid = self._process.pid
        self.pipe = self._process.stdout.fileno()
        os.set_blocking(self.pipe, False)
        if place is not None:
            place(self.pid)
            self._process.stdin.write(b"\n")
            self._process.stdin.close()

    def end(self):
        # wait4 has taken the status: pass it to Popen, which would look for the child again.
        self._process.returncode = -1
        self._process.stdout.close()


def watch_child(
    start, timeout_s, log, frames, item_id, poll_s=POLL_S, arrived=None, charged_bytes=None
):
    """Run one child to its end; return its wait status, peak memory and elapsed time.

    `start` starts it, and returns it with the end of a pipe that does not block, to which
    it writes. `log` reads what it prints.

    Where `arrived` is given, the child is ended as soon as `arrived` is true of it and
    it sleeps. That is not a failure, and the files it had mapped are reported, and what
    `charged_bytes` returns then.
    """
    started = time.monotonic()
    child = start()
    pipe = child.pipe
    resident = Resident(child.pid)
    swap_kib = rss_kib = 0
    last_alive = started
    timed_out = is_ending = False
    mapped = charged = None
    while True:
        select.select([pipe], [], [], poll_s / 10 if is_ending else poll_s)
        if not drain(pipe, log):
            # The child has closed its end, and select would not wait any more.
            time.sleep(poll_s / 10)
        has_arrived = arrived is not None and mapped is None and arrived()
        status = read_fields("/proc/{}/status".format(child.pid))
        swap_kib = max(swap_kib, read_int(status, "VmSwap") or 0)
        before_kib, rss_kib = rss_kib, read_int(status, "VmRSS") or 0
        # It opens the file, makes its buffers, and only then waits: 1 MiB later.
        waits = has_arrived and status.get("State", "").startswith("S") and rss_kib == before_kib
        resident.sample(read_int(status, "VmHWM") or 0, at_once=waits or is_ending)
        if waits:
            mapped = mapped_files(child.pid)
            charged = charged_bytes() if charged_bytes else None
            os.killpg(child.pid, signal.SIGKILL)
        pid, wait_status, usage = os.wait4(child.pid, os.WNOHANG | os.WUNTRACED)
        if pid and not os.WIFSTOPPED(wait_status):
            break
        if pid:
            # It has done its work, and waits for this sample before it ends: see pycaffe, and
            # PIBENCH_STOP_AT_EXIT in engines/caffe.
            status = read_fields("/proc/{}/status".format(child.pid))
            resident.sample(read_int(status, "VmHWM") or 0, at_once=True)
            os.kill(child.pid, signal.SIGCONT)
            # The emulator translates 3 MiB of code that only an end runs, within moments.
            is_ending = True
        now = time.monotonic()
        if now - last_alive >= ALIVE_S:
            frames.send("alive", id=item_id, rss_kib=rss_kib)
            last_alive = now
        if now - started > timeout_s and not timed_out:
            timed_out = True
            os.killpg(child.pid, signal.SIGKILL)
    drain(pipe, log, LAST_DRAIN_S)
    child.end()
    peak_kib = max(usage.ru_maxrss, resident.high_water_kib)
    killed_by = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else None
    if mapped is not None and killed_by == signal.SIGKILL:
        killed_by, wait_status = None, 0
    return {
        "pid": child.pid,
        "forked": child.forked,
        "exit_status": None if killed_by else os.WEXITSTATUS(wait_status),
        "signal": killed_by,
        "timed_out": timed_out,
        # The kernel's kB are KiB.
        "peak_rss_bytes": peak_kib * 1024,
        # Of the peak, where the child was emulated by a process of this machine.
        "emulator_rss_bytes": resident.of_peak_bytes(peak_kib),
        "swap_used_bytes": swap_kib * 1024,
        "elapsed_ms": (time.monotonic() - started) * 1000.0,
        "user_ms": usage.ru_utime * 1000.0,
        "system_ms": usage.ru_stime * 1000.0,
        "mapped": mapped,
        "charged_bytes": charged,
    }


def drain(pipe, log, deadline_s=DRAIN_S):
    """Read what is available, within the time limit; return False once the other end is closed."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        try:
            chunk = os.read(pipe, CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            break
        if not chunk:
            return False
        log.feed(chunk)
    return True
