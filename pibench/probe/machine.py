"""What this machine is, and which Caffe it runs."""

import json
import os
import platform
import subprocess

from .cgroup import cgroup_memory
from .child import child_env
from .procfs import read_fields, read_int, read_text

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.py")


def memory_kib():
    """MemTotal, MemAvailable and the swap of this machine, in KiB."""
    fields = read_fields("/proc/meminfo")
    return {
        "mem_total_kib": read_int(fields, "MemTotal"),
        "mem_available_kib": read_int(fields, "MemAvailable"),
        "swap_total_kib": read_int(fields, "SwapTotal"),
        "swap_free_kib": read_int(fields, "SwapFree"),
    }


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
    described = first_line(job["python"] + [RUN, "--describe"], job.get("env", {}))
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
