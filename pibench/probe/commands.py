"""The command lines and environments of a job's items."""

import json
import os

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.py")
NO_MODEL = "models/none"
BARE_TIMEOUT_S = 600


def command_of(job, item, folder):
    """Return the command line and environment that run one item under its protocol."""
    env = dict(job.get("env", {}))
    env["OPENBLAS_NUM_THREADS"] = str(item["threads"])
    env["OMP_NUM_THREADS"] = str(item["threads"])
    env["GLOG_logtostderr"] = "1"
    if job["other_blas"]:
        env["LD_PRELOAD"] = other_blas(job, folder)
    if item["compute"] == "memory-only":
        env["LD_PRELOAD"] = job["preload"]
        # The times are of no use then, and writing the log takes time.
        env["GLOG_minloglevel"] = "2"
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
        command = job["caffe"] + ["time", "-model", model, "-iterations", iterations]
    return command, env


def other_blas(job, folder):
    """Return the libraries of a BLAS that replaces the one Caffe finds, for the loader."""
    return ":".join(os.path.join(folder, name) for name in job["other_blas"])


def place_environment(job, command, env):
    """Return command and environment, adapted to an emulator of the host where there is one.

    The emulator's own loader would act on LD_PRELOAD and similar variables, which are meant for
    the guest's loader: `env_option` is the option by which the emulator sets them there.
    """
    env = dict(env)
    option = job.get("env_option")
    if not option:
        return command, env
    options = []
    for name in sorted(name for name in env if name.startswith("LD_")):
        options += [option, "{}={}".format(name, env.pop(name))]
    return command[:1] + options + command[1:], env


def bare_item(item):
    """Return the same item with no network: the program waits at a pipe that nobody writes to."""
    nothing = {"weights": None, "inputs": None, "keep": []}
    return dict(item, id=None, model=NO_MODEL, timeout_s=BARE_TIMEOUT_S, **nothing)
