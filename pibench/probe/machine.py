"""What this machine is, and which Caffe it runs."""

import json
import os
import resource
import subprocess
import sys

from .cgroup import cgroup_cpu, cgroup_memory, cgroup_pids, tightest_memory_bytes
from .child import child_env
from .commands import RUN, other_blas, place_environment
from .emulator import main_id_register
from .huge_pages import huge_pages_in_use
from .machine_state import MachineState
from .procfs import read_fields, read_int, read_text
from .sandbox import sandbox
from .virt_detect import virtualization_reason

# Libraries that Caffe may be linked with: Debian's uses the first, a link to whichever BLAS.
BLAS_LIBRARIES = ("libblas.so.3", "libopenblas.so.0", "libcblas.so.3", "libatlas.so.3")
BOARD = "/proc/device-tree/model"


def memory_kib(meminfo="/proc/meminfo"):
    """Return MemTotal, MemAvailable and the swap of this machine, in KiB."""
    fields = read_fields(meminfo)
    return {
        "mem_total_kib": read_int(fields, "MemTotal"),
        "mem_available_kib": read_int(fields, "MemAvailable"),
        "swap_total_kib": read_int(fields, "SwapTotal"),
        "swap_free_kib": read_int(fields, "SwapFree"),
    }


def address_space_bytes():
    """Return the limit of a process's memory (ulimit -v or -d), None where there is none."""
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    limits = [limit for limit in limits if limit != resource.RLIM_INFINITY]
    return min(limits) if limits else None


def cpu_model():
    for line in (read_text("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "CPU part"):
            return value.strip()
    return None


def describe_machine(job):
    """Return this machine's properties, and the limits for processes on it."""
    release = os.uname()
    state = MachineState()
    state.read()
    machine = state.describe()
    state.close()
    machine.update(memory_kib())
    board = read_text(BOARD)
    if not board:
        machine["unavailable"]["device_tree_model"] = "no {}".format(BOARD)
    machine.update(
        {
            "kernel": release.release,
            "architecture": release.machine,
            "python": sys.version.split()[0],
            "board": board,
            "no_board": virtualization_reason(),
            "cpu": cpu_model(),
            "main_id_register": main_id_register(),
            "cores": os.cpu_count(),
            "cores_usable": len(os.sched_getaffinity(0)),
            "cgroup_memory": cgroup_memory(),
            "memory_limit_bytes": tightest_memory_bytes(),
            "address_space_bytes": address_space_bytes(),
            "cgroup_cpu": cgroup_cpu(),
            "cgroup_pids": cgroup_pids(),
            "sandbox": sandbox(),
            "huge_pages": huge_pages_in_use(job["huge_pages_off"]),
            "overcommit": read_text("/proc/sys/vm/overcommit_memory"),
        }
    )
    return machine


def describe_caffe(job, folder):
    """Return the versions of Caffe and of the BLAS it runs; starts both, slow when emulated."""
    env = dict(job["env"])
    if job["other_blas"]:
        env["LD_PRELOAD"] = other_blas(job, folder)

    def ask(command):
        return first_line(*place_environment(job, command, env))

    found = {"caffe_version": ask(job["caffe"] + ["--version"])}
    described = ask(job["python"] + [RUN, "--describe"])
    try:
        found.update(json.loads(described))
    except (TypeError, ValueError):
        found.update({"blas": None, "blas_core": None})
    return found


def first_line(command, env):
    """Return the first line that a short command prints, or None."""
    try:
        output = subprocess.check_output(
            command, env=child_env(env), stderr=subprocess.DEVNULL, timeout=120
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else None


def describe_libraries():
    """Print the BLAS that Caffe will use, its CPU core type and threads, as JSON.

    It is the library that `cblas_sgemm` comes from: a library that was loaded earlier
    takes precedence over the one in the library path.
    """
    import ctypes

    found = {"blas": None, "blas_core": None}
    for name in BLAS_LIBRARIES:
        try:
            found["blas"] = origin(ctypes.CDLL(name).cblas_sgemm)
            break
        except (OSError, AttributeError):
            continue
    if "openblas" in (found["blas"] or ""):
        try:
            blas = ctypes.CDLL("libopenblas.so.0")
            blas.openblas_get_config.restype = ctypes.c_char_p
            blas.openblas_get_corename.restype = ctypes.c_char_p
            found["blas"] = blas.openblas_get_config().decode("ascii", "replace").strip()
            found["blas_core"] = blas.openblas_get_corename().decode("ascii", "replace").strip()
        except (OSError, AttributeError):
            pass
    print(json.dumps(found))


def origin(function):
    """Return the file of the library that contains a function, with the last folder of its path."""
    import ctypes

    class Found(ctypes.Structure):
        # Dl_info of dlfcn.h
        _fields_ = [
            ("file", ctypes.c_char_p),
            ("base", ctypes.c_void_p),
            ("symbol", ctypes.c_char_p),
            ("address", ctypes.c_void_p),
        ]

    found = Found()
    address = ctypes.cast(function, ctypes.c_void_p)
    if not ctypes.CDLL(None).dladdr(address, ctypes.byref(found)) or not found.file:
        raise OSError("no library")
    path = os.path.realpath(found.file.decode("utf-8", "replace"))
    return os.path.join(os.path.basename(os.path.dirname(path)), os.path.basename(path))
