#!/usr/bin/env python3
"""The program that runs inside every target: networks in, measurements out.

    probe.py JOB.json            run a job on this machine, frames to standard output
    probe.py --guest JOB.json    the same as the only task of an emulated machine
    probe.py --inference SPEC    one forward-only run in pycaffe (started by the above)
    probe.py --describe          versions of Caffe's libraries (started by the above)

Needs the standard library; --inference needs numpy and pycaffe too, and psutil
is used where present. The syntax is Python 3.5's, since a Raspberry Pi with
Ubuntu 16.04 has no newer one. Nothing of pibench is imported.

Each network runs in a child of its own: Caffe aborts its process on a bad
model, and only a child's own wait status and peak memory are evidence.

What comes out is one frame per line, `PIBENCH <crc32> <json>`, so that a torn
or mixed-up line on a serial console is noticed and never believed. Events:
hello (the machine), baseline, start, alive (every few seconds), result, end.
Figures carry their unit in their name: `_bytes`, `_ms`, `_kib` as the kernel's.
"""

import argparse
import errno
import hashlib
import json
import os
import platform
import re
import resource
import select
import signal
import subprocess
import sys
import time
import zlib

POLL_S = 0.5
ALIVE_S = 5.0
NOBODY = 65534
LOG_LINES = 12
OOM_LINE = re.compile(r"Out of memory|oom-kill:|oom_reaper|Memory cgroup out of memory")
# "I1122 07:43:53.8 8470 caffe.cpp:397]      conv1<tab>forward: 1.2 ms."
LAYER_LINE = re.compile(r"\]\s+(\S.*?)\s+(forward|backward): ([0-9.einf+-]+) ms\.")
TOTAL_LINE = re.compile(r"\] Average (Forward|Backward) pass: ([0-9.einf+-]+) ms\.")
FATAL_LINE = re.compile(r"^F\d{4} \S+\s+\d+ (.*)$")
# What C++ says of an exception that nobody catches, a refused allocation among them.
UNCAUGHT_LINE = re.compile(r"^terminate called after throwing an instance of (.*)$")
PARSE_LINE = re.compile(r"^\[libprotobuf \w+ [^\]]*\] (.*)$")


# ---------------------------------------------------------------- frames


class Frames(object):
    """Writes one event per line, each with a checksum over its JSON."""

    def __init__(self, stream):
        self.stream = stream

    def send(self, event, **fields):
        fields["event"] = event
        text = json.dumps(fields, sort_keys=True)
        crc = zlib.crc32(text.encode("ascii")) & 0xFFFFFFFF
        # The leading newline ends whatever somebody else left unfinished.
        self.stream.write("\nPIBENCH {:08x} {}\n".format(crc, text).encode("ascii"))
        self.stream.flush()


# ---------------------------------------------------------------- the machine


def read_text(path):
    """A file's text, stripped, or None where it is absent or unreadable."""
    try:
        with open(path, "r", errors="replace") as handle:
            return handle.read().strip().strip("\0")
    except (OSError, IOError):
        return None


def read_fields(path):
    """`Name: value kB` lines of a /proc file as {name: first word of the value}."""
    fields = {}
    for line in (read_text(path) or "").splitlines():
        name, _, value = line.replace(":", " ").partition(" ")
        words = value.split()
        if words:
            fields[name] = words[0]
    return fields


def read_int(fields, name):
    try:
        return int(fields[name])
    except (KeyError, ValueError):
        return None


def memory_kib():
    """MemTotal, MemAvailable and the swap of this machine, in KiB."""
    fields = read_fields("/proc/meminfo")
    return {
        "mem_total_kib": read_int(fields, "MemTotal"),
        "mem_available_kib": read_int(fields, "MemAvailable"),
        "swap_total_kib": read_int(fields, "SwapTotal"),
        "swap_free_kib": read_int(fields, "SwapFree"),
    }


def cgroup_memory():
    """The memory cgroup's limit, peak and OOM counter, version 2 or 1; None where absent."""
    for line in (read_text("/proc/self/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            base = "/sys/fs/cgroup" + path
            if not os.path.exists(base + "/memory.max"):
                base = "/sys/fs/cgroup"
            names = ("memory.max", "memory.swap.max", "memory.peak")
            counter = read_fields(base + "/memory.events").get("oom_kill")
            version = 2
        elif "memory" in controllers.split(","):
            base = "/sys/fs/cgroup/memory" + path
            if not os.path.exists(base + "/memory.limit_in_bytes"):
                base = "/sys/fs/cgroup/memory"
            names = (
                "memory.limit_in_bytes",
                "memory.memsw.limit_in_bytes",
                "memory.max_usage_in_bytes",
            )
            counter = read_fields(base + "/memory.oom_control").get("oom_kill")
            version = 1
        else:
            continue
        values = [read_text(base + "/" + name) for name in names]
        if values[0] is None:
            continue
        return {
            "version": version,
            "limit": values[0],
            "swap_limit": values[1],
            "peak": values[2],
            "oom_kill": counter,
        }
    return None


def cpu_model():
    for line in (read_text("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "CPU part"):
            return value.strip()
    return None


def describe_machine(job):
    """What this machine is, and which Caffe it runs."""
    machine = {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "board": read_text("/proc/device-tree/model"),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "cgroup_memory": cgroup_memory(),
        "transparent_hugepage": read_text("/sys/kernel/mm/transparent_hugepage/enabled"),
        "overcommit": read_text("/proc/sys/vm/overcommit_memory"),
        "throttled": throttled_bits(),
    }
    machine.update(memory_kib())
    machine["caffe_version"] = first_line(job["caffe"] + ["--version"], job.get("env", {}))
    described = first_line(
        job["python"] + [os.path.abspath(__file__), "--describe"], job.get("env", {})
    )
    try:
        machine.update(json.loads(described))
    except (TypeError, ValueError):
        machine.update({"blas": None, "blas_core": None})
    return machine


def throttled_bits():
    """The Pi firmware's throttle bits (0x0: never throttled), None elsewhere."""
    base = "/sys/devices/platform/soc/soc:firmware/get_throttled"
    return read_text(base)


def first_line(command, env):
    """The first line that a short command prints, or None."""
    try:
        output = subprocess.check_output(
            command, env=child_env(env), stderr=subprocess.DEVNULL, timeout=120
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else None


def describe_libraries():
    """Print the BLAS that Caffe will use, its CPU core type and threads, as JSON."""
    import ctypes

    found = {"blas": None, "blas_core": None}
    try:
        blas = ctypes.CDLL("libopenblas.so.0")
        blas.openblas_get_config.restype = ctypes.c_char_p
        blas.openblas_get_corename.restype = ctypes.c_char_p
        found["blas"] = blas.openblas_get_config().decode("ascii", "replace").strip()
        found["blas_core"] = blas.openblas_get_corename().decode("ascii", "replace").strip()
    except (OSError, AttributeError):
        for name in ("libatlas.so.3", "libblas.so.3"):
            try:
                ctypes.CDLL(name)
                found["blas"] = name
                break
            except OSError:
                continue
    print(json.dumps(found))


# ---------------------------------------------------------------- evidence of a kill


class KernelLog(object):
    """The kernel's messages about killed processes, from /dev/kmsg where it may be read."""

    def __init__(self):
        try:
            self.handle = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
            os.lseek(self.handle, 0, os.SEEK_END)
        except OSError:
            self.handle = None

    def oom_lines(self):
        """The OOM lines since the last call; None where the log may not be read."""
        if self.handle is None:
            return None
        lines = []
        while True:
            try:
                record = os.read(self.handle, 8192).decode("utf-8", "replace")
            except OSError as error:
                if error.errno == errno.EPIPE:
                    # Some records were overwritten before we read them; go on.
                    continue
                return lines
            text = record.partition(";")[2].splitlines()
            if text and OOM_LINE.search(text[0]):
                lines.append(text[0])


def oom_counter():
    """How many processes the kernel has killed for want of memory (kernel 4.13 and later)."""
    return read_int(read_fields("/proc/vmstat"), "oom_kill")


# ---------------------------------------------------------------- one child


def child_env(extra):
    env = dict(os.environ)
    env.update(extra or {})
    return env


def death_signal():
    """A function that ties a child's life to ours, or None where the C library is not found."""
    import ctypes

    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    set_death_signal = 1  # PR_SET_PDEATHSIG in linux/prctl.h
    return lambda: prctl(set_death_signal, int(signal.SIGKILL), 0, 0, 0)


def prepare_child(guest, address_space_bytes):
    """Runs in the child before the exec: no privileges, no core dump, first to be killed."""
    # In the guest nothing outlives the probe anyway, and memory is dear.
    tie_to_parent = None if guest else death_signal()

    def prepare():
        if tie_to_parent:
            tie_to_parent()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if address_space_bytes:
            limit = (address_space_bytes, address_space_bytes)
            resource.setrlimit(resource.RLIMIT_AS, limit)
        os.setsid()
        try:
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


class LogReader(object):
    """Keeps of a child's log what matters: the times, the fatal words, the last lines."""

    def __init__(self):
        self.rest = b""
        self.tail = []
        self.fatal = None
        self.complaint = None
        self.layers = []
        self.totals = {}
        self.payload = None

    def feed(self, chunk):
        self.rest += chunk
        lines = self.rest.split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            self.line(line.decode("utf-8", "replace"))

    def line(self, text):
        if text.startswith("PIBENCH-RESULT "):
            self.payload = text[len("PIBENCH-RESULT ") :]
            return
        layer = LAYER_LINE.search(text)
        total = TOTAL_LINE.search(text)
        fatal = FATAL_LINE.match(text) or UNCAUGHT_LINE.match(text)
        complaint = PARSE_LINE.match(text)
        if layer:
            self.layers.append([layer.group(1), layer.group(2), float(layer.group(3))])
        elif total:
            self.totals[total.group(1).lower()] = float(total.group(2))
        else:
            self.tail = (self.tail + [text[:400]])[-LOG_LINES:]
        if fatal and self.fatal is None:
            self.fatal = fatal.group(1)[:1000]
        if complaint and self.complaint is None:
            self.complaint = complaint.group(1)[:1000]


def watch_child(command, env, timeout_s, frames, item_id, prepare):
    """Run one child to its end; its wait status, peak memory, log and the time it took."""
    log = LogReader()
    started = time.monotonic()
    child = subprocess.Popen(
        command,
        env=child_env(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=prepare,
    )
    pipe = child.stdout.fileno()
    os.set_blocking(pipe, False)
    high_water_kib = swap_kib = 0
    last_alive = started
    timed_out = False
    while True:
        select.select([pipe], [], [], POLL_S)
        if not drain(pipe, log):
            # The child has closed its end, and select would not wait any more.
            time.sleep(POLL_S / 10)
        status = read_fields("/proc/{}/status".format(child.pid))
        high_water_kib = max(high_water_kib, read_int(status, "VmHWM") or 0)
        swap_kib = max(swap_kib, read_int(status, "VmSwap") or 0)
        pid, wait_status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        now = time.monotonic()
        if now - last_alive >= ALIVE_S:
            frames.send("alive", id=item_id, rss_kib=read_int(status, "VmRSS"))
            last_alive = now
        if now - started > timeout_s and not timed_out:
            timed_out = True
            os.killpg(child.pid, signal.SIGKILL)
    # wait4 has taken the status: tell Popen, or it would look for the child again.
    child.returncode = -1
    drain(pipe, log)
    child.stdout.close()
    killed_by = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else None
    return {
        "pid": child.pid,
        "exit_status": None if killed_by else os.WEXITSTATUS(wait_status),
        "signal": killed_by,
        "timed_out": timed_out,
        # The kernel's kB are KiB.
        "peak_rss_bytes": usage.ru_maxrss * 1024,
        "high_water_bytes": high_water_kib * 1024 or None,
        "swap_used_bytes": swap_kib * 1024,
        "elapsed_ms": (time.monotonic() - started) * 1000.0,
        "user_ms": usage.ru_utime * 1000.0,
        "log": log,
    }


def drain(pipe, log):
    """Read what there is; False once the other end is closed."""
    while True:
        try:
            chunk = os.read(pipe, 65536)
        except (BlockingIOError, InterruptedError):
            return True
        if not chunk:
            return False
        log.feed(chunk)


# ---------------------------------------------------------------- protocols


def command_of(job, item, folder):
    """The command line and environment that run one item under its protocol.

    An item without a model is the same program with no network: what is loaded
    before the first layer, and not the network's to answer for.
    """
    env = dict(job.get("env", {}))
    env["OPENBLAS_NUM_THREADS"] = str(item["threads"])
    env["OMP_NUM_THREADS"] = str(item["threads"])
    env["GLOG_logtostderr"] = "1"
    if item["compute"] == "memory-only":
        env["LD_PRELOAD"] = job["preload"]
        # The times are of no use then, and writing the log takes its time.
        env["GLOG_minloglevel"] = "2"
    model = os.path.join(folder, item["model"]) if item["model"] else None
    if item["protocol"] == "inference":
        spec = {
            "model": model,
            "weights": os.path.join(folder, item["weights"]) if item.get("weights") else None,
            "warmup": item["warmup"],
            "repeats": item["repeats"],
            "seed": item["seed"],
        }
        command = job["python"] + [os.path.abspath(__file__), "--inference", json.dumps(spec)]
    elif model:
        iterations = str(item["iterations"])
        command = job["caffe"] + ["time", "-model", model, "-iterations", iterations]
    else:
        command = job["caffe"] + ["--version"]
    return command, env


def run_item(job, item, folder, frames, kernel_log, guest):
    """Run one network and gather all evidence about how it went."""
    kernel_log.oom_lines()
    oom_before = oom_counter()
    command, env = command_of(job, item, folder)
    prepare = prepare_child(guest, job.get("address_space_bytes"))
    ended = watch_child(command, env, item["timeout_s"], frames, item.get("id"), prepare)
    log = ended.pop("log")
    if ended["signal"] == signal.SIGKILL:
        # The kernel's words about a kill may follow the process's end.
        time.sleep(0.2)
    lines = kernel_log.oom_lines()
    oom_after = oom_counter()
    ended["oom_lines"] = lines
    ended["oom_kills"] = (
        oom_after - oom_before if oom_before is not None and oom_after is not None else None
    )
    ended["fatal_message"] = log.fatal
    ended["complaint"] = log.complaint
    ended["log_tail"] = log.tail if (ended["exit_status"] != 0) else []
    ended["memory"] = memory_kib()
    ended["cgroup_memory"] = cgroup_memory()
    ended["throttled"] = throttled_bits()
    if ended["exit_status"] == 0:
        if log.payload is not None:
            ended["inference"] = json.loads(log.payload)
        elif item["compute"] == "real":
            ended["caffe_time"] = {"layers": log.layers, "totals": log.totals}
    return ended


def baseline_of(job, item, folder, frames, kernel_log, guest):
    """Run the same program with no network."""
    bare = dict(item, id=None, model=None, weights=None, timeout_s=600)
    return run_item(job, bare, folder, frames, kernel_log, guest)


def run_job(path, frames, guest):
    """Run all items of a job in their order, each reported as soon as it has ended."""
    with open(path) as handle:
        job = json.load(handle)
    folder = os.path.dirname(os.path.abspath(path))
    kernel_log = KernelLog()
    frames.send("hello", machine=describe_machine(job))
    baselines = {}
    for item in job["items"]:
        kind = (item["protocol"], item["compute"], item["threads"])
        if kind not in baselines:
            ended = baseline_of(job, item, folder, frames, kernel_log, guest)
            baselines[kind] = ended
        frames.send("start", id=item["id"])
        result = run_item(job, item, folder, frames, kernel_log, guest)
        result["baseline"] = baselines[kind]
        frames.send("result", id=item["id"], result=result)
    frames.send("end")


def protect():
    """Keep the probe from being killed in its child's stead."""
    try:
        with open("/proc/self/oom_score_adj", "w") as handle:
            handle.write("-1000")
    except OSError:
        pass


# ---------------------------------------------------------------- inference


def run_inference(spec):
    """Load weights, run forward only, and print times per layer and the outputs."""
    import numpy

    os.environ.setdefault("GLOG_minloglevel", "2")
    import caffe

    caffe.set_mode_cpu()
    if spec["model"] is None:
        return
    if spec["weights"]:
        net = caffe.Net(spec["model"], caffe.TEST, weights=spec["weights"])
    else:
        net = caffe.Net(spec["model"], caffe.TEST)
    random = numpy.random.RandomState(spec["seed"])
    for name in net.inputs:
        blob = net.blobs[name]
        blob.data[...] = random.uniform(-1.0, 1.0, size=blob.data.shape)
    for _ in range(spec["warmup"]):
        net.forward()
    totals_ms = []
    for _ in range(spec["repeats"]):
        started = time.perf_counter()
        net.forward()
        totals_ms.append((time.perf_counter() - started) * 1000.0)
    names = list(net._layer_names)
    layers = []
    for index, name in enumerate(names):
        times_ms = []
        for _ in range(spec["repeats"]):
            started = time.perf_counter()
            net._forward(index, index)
            times_ms.append((time.perf_counter() - started) * 1000.0)
        layers.append(
            {"name": name, "type": net.layers[index].type, "forward_ms": median(times_ms)}
        )
    # In-place layers run more than once spoil what later ones read: outputs
    # are taken from one undisturbed pass.
    net.forward()
    result = {
        "latency_ms": median(totals_ms),
        "totals_ms": totals_ms,
        "layers": layers,
        "outputs": [describe_output(name, net.blobs[name].data) for name in net.outputs],
        "high_water_kib": read_int(read_fields("/proc/self/status"), "VmHWM"),
    }
    print("PIBENCH-RESULT " + json.dumps(result))


def describe_output(name, data):
    """One output blob, condensed: the hash of its float32 values and their range."""
    import numpy

    flat = numpy.ascontiguousarray(data, dtype="<f4").reshape(-1)
    finite = flat[numpy.isfinite(flat)].astype("f8")
    return {
        "name": name,
        "shape": list(data.shape),
        "sha256": hashlib.sha256(flat.tobytes()).hexdigest(),
        "minimum": float(finite.min()) if finite.size else None,
        "maximum": float(finite.max()) if finite.size else None,
        "l2_norm": float(numpy.linalg.norm(finite)) if finite.size else None,
        "non_finite_count": int(flat.size - finite.size),
    }


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2.0


# ---------------------------------------------------------------- command line


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", nargs="?", help="the job file")
    parser.add_argument("--guest", action="store_true", help="this machine runs nothing else")
    parser.add_argument("--inference", metavar="SPEC", help=argparse.SUPPRESS)
    parser.add_argument("--describe", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.describe:
        describe_libraries()
    elif options.inference:
        run_inference(json.loads(options.inference))
    else:
        if options.guest:
            protect()
        run_job(options.job, Frames(sys.stdout.buffer), options.guest)


if __name__ == "__main__":
    main()
