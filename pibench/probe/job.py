"""Run a job's networks in one child each, and gather all evidence about each run."""

import errno
import json
import os
import re
import signal
import time

from .cgroup import growth, memory_group, reached_own_limit
from .child import POLL_S, Started, prepare_child, watch_child
from .engines import engine_of
from .forks import SAME_PEAK_BYTES, ForkError, LoadedProgram
from .machine import describe_engine, describe_machine, memory_kib
from .machine_state import MachineState
from .procfs import read_fields, read_int, read_text
from .programs import (
    NoProgramsError,
    bare_item,
    make_empty_model,
    place_environment,
    preload,
    preload_once,
    settle,
    turn,
)

# A program with no network ends within a second: its emulator is sampled often.
CLOSE_POLL_S = 0.02
# The host's answer where it did what it was asked for.
DONE = "done"
FILL_TIMEOUT_S = 120
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


class NotPlacedError(Exception):
    """A process is not in the control group that it was to be moved into."""


class RunGroup(object):
    """The memory group of one run, and what the kernel has counted there since it began.

    It is the probe's own, or with `places` a new one, into which `place` has the host move the
    run's process. `own` has it give a forked process pages of its own.
    """

    def __init__(self, frames, name, places):
        self.frames = frames
        self.name = name
        self.group = memory_group()
        self.before = self.read()
        self.place = self._place if places else None
        self.own = self._own if places else None

    def _place(self, pid):
        self.frames.ask("place", id=self.name, pid=pid)
        # The kernel's own word for it.
        probes, self.group = memory_group(), memory_group(process=pid)
        if self.group is None or (probes is not None and self.group.folder == probes.folder):
            raise NotPlacedError("{} was not moved into a group".format(pid))
        self.before = self.read()

    def _own(self, pid):
        group = memory_group(process=pid)
        if group is None or group.folder != self.group.folder:
            # It was forked before its parent had been moved.
            return False
        return self.frames.ask("own", id=self.name, pid=pid) == DONE

    def read(self):
        return self.group.read() if self.group else None

    def charged_bytes(self):
        """Return what a run is charged for that has a group of its own; None for others."""
        return self.group.anonymous_bytes() if self.place else None

    def counted(self):
        """Return the fields of a result that come from the group."""
        after = self.read()
        return {
            "cgroup_memory": after,
            "cgroup_oom_kills": growth(self.before, after, "oom_kill"),
            "reached_own_limit": reached_own_limit(self.before, after),
        }


class Watched(object):
    """Runs one program after another and gathers all evidence about each run."""

    def __init__(self, job, folder, frames, guest):
        self.job = job
        self.engine = engine_of(job)
        self.folder = folder
        self.frames = frames
        self.guest = guest
        self.python = job["python"][0]
        self.kernel_log = KernelLog()
        self.state = MachineState()
        # Kinds of work whose programs' files have been read.
        self.warm = set()
        # Whether each run has a memory group of its own.
        self.places = job.get("places", False)
        # Whether a program is loaded once and forked for each network.
        self.forks = job.get("forks", False)
        self.loaded = None

    def run(self, item, poll_s=POLL_S):
        """Run one item."""
        command, env = self._command(item)
        return self._watch(command, env, item, poll_s)

    def run_bare(self, item):
        """Run the same program with no network, until it waits for one.

        The memory it has by then is loaded before the first layer and does not belong
        to the network. The same is true for what it touches while it ends.
        """
        item = bare_item(item)
        command, env = self._command(item)
        kind = kind_of(item)
        forks, self.forks = self.forks, False
        if kind not in self.warm:
            self.warm.add(kind)
            preload(self._wait_for_network(command, env, item)["mapped"] or [], self.python)
        bare = self._wait_for_network(command, env, item)
        if forks:
            self.forks = True
            forked = self._wait_for_network(command, env, item)
            differ_bytes = self._difference_bytes(forked, bare)
            bare["fork_differs_bytes"] = differ_bytes
            bare["forks"] = differ_bytes is not None and differ_bytes <= SAME_PEAK_BYTES
        return bare

    def _difference_bytes(self, forked, alone):
        """Return by how much the memory of a forked program differs; None if none was forked.

        Its peak and what its group is charged count. A fork does not copy an emulator's pages of
        files: these are not the program's, nor is its group charged for them.
        """
        peaks = [
            run["peak_rss_bytes"] - (run["emulator_rss_bytes"] or 0) for run in (forked, alone)
        ]
        differences = [peaks[0] - peaks[1]]
        if self.places:
            differences.append(difference(forked["charged_bytes"], alone["charged_bytes"]))
        if not forked["forked"] or None in differences:
            return None
        return max(map(abs, differences))

    def _command(self, item):
        return self.engine.command_of(self.job, item, self.folder)

    def _wait_for_network(self, command, env, item):
        pipe = EmptyPipe(os.path.join(self.folder, item["model"]))
        try:
            return self._watch(command, env, item, CLOSE_POLL_S, pipe.has_reader)
        finally:
            pipe.close()

    def fill(self, size_bytes):
        """Run Python with that many bytes of memory, all of them touched."""
        program = "b'x' * {}".format(size_bytes)
        command = self.job["python"] + ["-I", "-S", "-c", program]
        item = {"id": None, "timeout_s": FILL_TIMEOUT_S, "compute": "memory-only"}
        return self._watch(command, self.job["env"], item, CLOSE_POLL_S)

    def _watch(self, command, env, item, poll_s, arrived=None):
        self.kernel_log.oom_lines()
        loaded = self._loaded(env) if self.forks else None
        name = item["id"]
        group = RunGroup(self.frames, name, self.places)
        oom_before = oom_counter()
        before = self.state.read()
        log = self.engine.LogReader(lambda piece: self.frames.send("blob", id=name, blob=piece))

        def start():
            if loaded is not None:
                try:
                    return loaded.fork(command, group.place, group.own)
                except (ForkError, OSError):
                    # With it end the processes that it forked and that wait.
                    loaded.end()
                    self.forks, self.loaded = False, None
            prepare = prepare_child(self.guest, self.job.get("address_space_bytes"))
            return Started(*place_environment(self.job, command, env), prepare, group.place)

        with turn(self.python, False):
            ended = watch_child(
                start,
                item["timeout_s"],
                log,
                self.frames,
                name,
                poll_s,
                arrived,
                group.charged_bytes,
            )
        if ended["signal"] == signal.SIGKILL and self.kernel_log.handle is not None:
            # The kernel's messages about a kill may follow the process's end. Its counters do
            # not: they are raised before the signal (__oom_kill_process in mm/oom_kill.c).
            time.sleep(0.2)
        ended["oom_lines"] = self.kernel_log.oom_lines()
        ended["oom_kills"] = difference(oom_counter(), oom_before)
        ended.update(group.counted())
        ended["fatal_message"] = log.fatal
        ended["complaint"] = log.complaint
        ended["log_tail"] = log.tail if (ended["exit_status"] != 0) else []
        if item["compute"] == "memory-only":
            ended["memory_only_tier"] = log.memory_only_tier()
        ended["memory"] = memory_kib()
        # Times count only where the machine was undisturbed throughout; a baseline has no times.
        timed = item["id"] is not None and item["compute"] == "real"
        after = self.state.read()
        ended["readings"] = [before, after] + ([self.state.settled()] if timed else [])
        if ended["exit_status"] == 0:
            if log.payload is not None:
                ended["inference"] = json.loads(log.payload)
                ended["inference"].update(log.reported)
            elif item["compute"] == "real":
                ended.update(log.times())
        return ended

    def _loaded(self, env):
        """Return the loaded program for this environment; None if there is none."""
        if self.loaded is None or self.loaded.env != env:
            if self.loaded is not None:
                self.loaded.end()
            try:
                self.loaded = LoadedProgram(self.job, self.job["program"], env, self.guest)
            except (ForkError, OSError):
                self.forks, self.loaded = False, None
        return self.loaded


class EmptyPipe(object):
    """A named pipe for a program to wait at: nothing is written until it is closed."""

    def __init__(self, path):
        self.path = path
        self.end = None

    def has_reader(self):
        """Return whether a program has opened the pipe; it then waits for something to read."""
        if self.end is None:
            try:
                self.end = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno not in (errno.ENXIO, errno.EINTR):
                    raise
        return self.end is not None

    def close(self):
        if self.end is not None:
            os.close(self.end)
            self.end = None


def difference(after, before):
    return after - before if after is not None and before is not None else None


def kind_of(item):
    """Return the properties that a baseline depends on."""
    setup = tuple(sorted(item.get("env", {}).items()))
    return item["protocol"], item["compute"], item["threads"], tuple(item["preload"]), setup


def run_job(path, frames, guest):
    """Run all items of a job in their order; report each as soon as it has ended.

    The job's `describe` and `baselines` decide whether the machine's engine is
    described and the same program measured with no network. A target leaves these out
    where it knows both already; `mapped` are then the files that the program had mapped.
    """
    with open(path) as handle:
        job = json.load(handle)
    folder = os.path.dirname(os.path.abspath(path))
    try:
        job = settle(job, folder)
    except NoProgramsError as error:
        frames.send("unusable", reasons=error.reasons)
        return
    make_empty_model(folder)
    machine = describe_machine(job)
    if guest:
        machine["kernel_arguments"] = read_text("/proc/cmdline")
    machine.update(engine=job["engine"], caffe_origin=job["origin"], caffe_lock=job["lock"])
    machine["why_no_loops"] = job.get("why_no_loops")
    if job["describe"]:
        machine.update(describe_engine(job, folder))
    frames.send("hello", machine=machine)
    watched = Watched(job, folder, frames, guest)
    if job.get("calibrate"):
        frames.send("calibration", calibration=calibrate(watched, job["calibrate"]))
    preload_once(job["mapped"], watched.python)
    baselines = {}
    for item in items_of(job, frames):
        kind = kind_of(item)
        if job["baselines"] and kind not in baselines:
            baselines[kind] = watched.run_bare(item)
            watched.forks = watched.forks and baselines[kind]["forks"]
        frames.send("start", id=item["id"])
        result = watched.run(item)
        result["baseline"] = baselines.get(kind)
        frames.send("result", id=item["id"], result=result)
    frames.send("end")


def items_of(job, frames):
    """Yield the networks of a job in their order, or as the host asks for them one by one."""
    if not job.get("places"):
        for item in job["items"]:
            yield item
        return
    by_id = {item["id"]: item for item in job["items"]}
    while True:
        name = frames.ask("next")
        if not name:
            return
        yield by_id[name]


def calibrate(watched, wanted):
    """Run programs with no network several times, with frequent samples.

    `wanted` has `kinds`, items without a model, `repeats`, and `fill_bytes`:
    the emulator's own memory grows with the guest's, so Python fills that much.
    """
    runs = []
    for item in wanted["kinds"]:
        runs.append([watched.run_bare(item) for _ in range(wanted["repeats"])])
    filled = None
    if wanted["fill_bytes"]:
        filled = watched.fill(wanted["fill_bytes"])
    # Without the pages of files, which the probe shares.
    own_kib = read_int(read_fields("/proc/self/status"), "RssAnon")
    return {"bare": runs, "filled": filled, "probe_rss_kib": own_kib}
