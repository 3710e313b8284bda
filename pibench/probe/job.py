"""A job's networks, one child each, all evidence gathered about how each one went."""

import json
import os
import signal
import time

from .cgroup import cgroup_memory
from .child import prepare_child, watch_child
from .kernel_log import KernelLog, oom_counter
from .machine import RUN, describe_machine, memory_kib, throttled_bits


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
        command = job["python"] + [RUN, "--inference", json.dumps(spec)]
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
