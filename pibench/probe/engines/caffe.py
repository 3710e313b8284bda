"""Caffe: its command lines, its log, its version."""

import json
import os
import re

from ..child import child_env
from ..log import LogReader as AnyLogReader
from ..programs import RUN, preloaded

# "I1122 07:43:53.8 8470 caffe.cpp:397]      conv1<tab>forward: 1.2 ms."
LAYER_LINE = re.compile(r"\]\s+(\S.*?)\s+(forward|backward): ([0-9.einf+-]+) ms\.")
TOTAL_LINE = re.compile(r"\] Average (Forward|Backward) pass: ([0-9.einf+-]+) ms\.")
FATAL_LINE = re.compile(r"^F\d{4} \S+\s+\d+ (.*)$")
# The C++ runtime's message about an uncaught exception, a refused allocation for example.
UNCAUGHT_LINE = re.compile(r"^terminate called after throwing an instance of (.*)$")
# The stand-ins for Caffe's own loops print it at the first call of one.
LOOPS_LINE = "memory-only loops: in effect"
PARSE_LINE = re.compile(r"^\[libprotobuf \w+ [^\]]*\] (.*)$")


class LogReader(AnyLogReader):
    """Keeps the times of `caffe time`, and the messages of glog and of the parser."""

    def __init__(self, on_blob=None):
        AnyLogReader.__init__(self, on_blob)
        self.layers = []
        self.totals = {}
        self.has_loops = False

    def engine_line(self, text):
        if text == LOOPS_LINE:
            self.has_loops = True
            return True
        layer = LAYER_LINE.search(text)
        total = TOTAL_LINE.search(text)
        fatal = FATAL_LINE.match(text) or UNCAUGHT_LINE.match(text)
        complaint = PARSE_LINE.match(text)
        if layer:
            self.layers.append([layer.group(1), layer.group(2), float(layer.group(3))])
        elif total:
            self.totals[total.group(1).lower()] = float(total.group(2))
        if fatal and self.fatal is None:
            self.fatal = fatal.group(1)[:1000]
        if complaint and self.complaint is None:
            self.complaint = complaint.group(1)[:1000]
        return bool(layer or total)

    def memory_only_tier(self):
        return "loops" if self.has_loops else AnyLogReader.memory_only_tier(self)

    def times(self):
        return {"caffe_time": {"layers": self.layers, "totals": self.totals}}


def command_of(job, item, folder):
    """Return the command line and environment that run one item under its protocol."""
    env = dict(job.get("env", {}))
    env.update(item.get("env", {}))
    env["OPENBLAS_NUM_THREADS"] = str(item["threads"])
    env["OMP_NUM_THREADS"] = str(item["threads"])
    env["GLOG_logtostderr"] = "1"
    if item["preload"]:
        env["LD_PRELOAD"] = preloaded(item["preload"], folder)
    if item["compute"] == "memory-only":
        env["PIBENCH_BLAS_REPORT"] = "start"
        if "QEMU_CPU" in child_env(env):
            # An emulator's share of the memory is read while the process stops: see watch_child.
            env["PIBENCH_STOP_AT_EXIT"] = "1"
        # The times are of no use then, and writing the log takes time. So do BLAS threads that
        # have nothing to compute and look for work.
        env["GLOG_minloglevel"] = "2"
        env["OPENBLAS_THREAD_TIMEOUT"] = "4"
    model = os.path.join(folder, item["model"])
    if item["protocol"] == "inference":
        spec = {
            "model": model,
            "weights": os.path.join(folder, item["weights"]) if item.get("weights") else None,
            "warmup": item["warmup"],
            "repeats": item["repeats"],
            "seed": item["seed"],
            "inputs": os.path.join(folder, item["inputs"]) if item.get("inputs") else None,
            # Without arithmetic there are no values.
            "values": item["compute"] == "real",
            "keep": item["keep"],
        }
        command = job["python"] + [RUN, "--inference", json.dumps(spec)]
    else:
        iterations = str(item["iterations"])
        command = job["program"] + ["time", "-model", model, "-iterations", iterations]
    return command, env


def versions(job, ask):
    return {"engine_version": ask(job["program"] + ["--version"])}
