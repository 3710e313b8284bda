"""Check whether a board can run a job, before anything large is copied to it.

Needs only a Python, old versions included, and no other file: it can be sent
over a connection and run from standard input.

    python3 check.py NEEDS      NEEDS is JSON; prints facts and problems as JSON

NEEDS: `trials`, short commands that succeed where the engine works, in which `{python}`
stands for the system's Python; `folder`, the place for the job's files (`~` is the
user's home); `job_bytes`, their size; `root_bytes`, the unpacked size of pibench's
root; `root_key`, under which that root may be there already, None where it is not
available. A problem is one line about the cause and one line about the fix.
"""

import json
import os
import signal
import subprocess
import sys

OLDEST_PYTHON = (3, 5)
# The probe and Caffe with no network take about 70 MiB, pycaffe about 100.
LEAST_MEMORY_KIB = 160 * 1024
# For records, logs, and what the system itself writes meanwhile.
SPARE_BYTES = 32 * 1024 * 1024
TRIAL_DEADLINE_S = 120
ROOTS = "roots"
# The machines that pibench's root runs on.
ARM64 = ("aarch64", "arm64")
SYSTEM_PATH = "/usr/bin:/bin"


def facts(needs):
    """Return the properties of this machine that a job depends on."""
    folder = os.path.abspath(os.path.expanduser(needs["folder"]))
    memory = memory_kib()
    return {
        "architecture": os.uname()[4],
        "python": list(sys.version_info[:3]),
        "python_bits": 64 if sys.maxsize > 2**32 else 32,
        "board": device_tree_model(),
        "memory_total_kib": memory.get("MemTotal"),
        "memory_available_kib": memory.get("MemAvailable"),
        "folder": folder,
        "folder_complaint": folder_complaint(folder),
        "free_bytes": free_bytes(folder),
        "caffe_complaint": engine_complaint(needs["trials"]),
        "root_is_there": root_is_there(folder, needs.get("root_key")),
    }


def problems(found, needs):
    """Return what prevents the job here, as (cause, fix), the most important first."""
    python = ".".join(str(number) for number in found["python"])
    if tuple(found["python"][:2]) < OLDEST_PYTHON:
        return [("its Python is {}, and 3.5 is needed".format(python), "install a newer python3")]
    found_problems = []
    if found["folder_complaint"]:
        what = "{} cannot be used: {}".format(found["folder"], found["folder_complaint"])
        found_problems.append((what, "name another folder that you may write to"))
    needs_root = found["caffe_complaint"] is not None
    if needs_root:
        found_problems += root_problems(found, needs)
    wanted = needs["job_bytes"] + SPARE_BYTES
    if needs_root and not found["root_is_there"]:
        wanted += needs.get("root_bytes") or 0
    if found["free_bytes"] is not None and found["free_bytes"] < wanted:
        what = "{} has {} MiB free, and {} MiB are needed".format(
            found["folder"], found["free_bytes"] >> 20, (wanted >> 20) + 1
        )
        found_problems.append((what, "make room there, or name a folder on another file system"))
    available_kib = found["memory_available_kib"]
    if available_kib is not None and available_kib < LEAST_MEMORY_KIB:
        what = "{} MiB of memory are available, and {} alone takes {} MiB".format(
            available_kib >> 10, needs.get("label", "Caffe"), LEAST_MEMORY_KIB >> 10
        )
        found_problems.append((what, "stop other programs there: a desktop, a browser, a server"))
    return found_problems


def root_problems(found, needs):
    """Return why pibench's root cannot replace a Caffe that this machine does not have."""
    label = needs.get("label", "Caffe")
    missing = "it has no usable {} of its own ({})".format(label, found["caffe_complaint"])
    machine = found["architecture"]
    if machine in ("armv6l", "armv7l", "armv8l"):
        what = "its kernel is 32-bit ({}), and {}: pibench's {} is for arm64".format(
            machine, missing, label
        )
        # Boards with a 64-bit processor follow the firmware's setting: the Pi 3 and later.
        return [
            (
                what,
                "on a Pi 3 or later, set arm_64bit=1 in config.txt and reboot, or use 64-bit Pi OS",
            )
        ]
    if machine not in ARM64:
        what = "it is not an arm64 machine ({}), and {}".format(machine, missing)
        return [(what, "install {} there, or use a 64-bit Pi".format(label))]
    if needs.get("root_bytes") is None:
        return [(missing, "install {0} there, or make the bundle with {0} in it".format(label))]
    return []


def engine_complaint(trials):
    """Return why the system's own engine does not work, or None if it does.

    In a trial, `{python}` stands for the system's Python.
    """
    for parts in trials:
        command = [system_python() if part == "{python}" else part for part in parts]
        complaint = complaint_of(command, None, TRIAL_DEADLINE_S)
        if complaint is not None:
            return complaint
    return None


def system_python():
    """Return the system's Python: pycaffe is installed for it, whichever Python runs this."""
    for folder in SYSTEM_PATH.split(":"):
        path = os.path.join(folder, "python3")
        if os.access(path, os.X_OK):
            return path
    return sys.executable


def complaint_of(command, env, deadline_s):
    """Return why a short command fails, from its last line of output; None if it works."""
    full_env = dict(os.environ)
    full_env.update(env or {})
    name = os.path.basename(command[0])
    try:
        # In its own session: the processes that the command starts keep its output open, and
        # have to be ended with it.
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=full_env,
            start_new_session=True,
        )
    except (IOError, OSError) as error:
        absent = error.errno == 2
        return "no {}".format(name) if absent else "{}: {}".format(name, error.strerror)
    try:
        output = child.communicate(timeout=deadline_s)[0]
    except BaseException as error:
        # An interruption of this program does not reach another session either.
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        return "{} did not answer within {} s".format(" ".join(command), deadline_s)
    if child.returncode == 0:
        return None
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else "{} ended with {}".format(name, child.returncode)


def root_is_there(folder, key):
    """Return whether pibench's root is in the folder from an earlier run, and complete."""
    if key is None:
        return False
    return os.path.exists(os.path.join(folder, ROOTS, key, "complete"))


def folder_complaint(folder):
    """Return why files cannot be stored there, or None if they can."""
    existing = nearest_existing(folder)
    if not os.path.isdir(existing):
        return "{} is not a folder".format(existing)
    if not os.access(existing, os.W_OK | os.X_OK):
        return "{} may not be written to".format(existing)
    if ":" in folder or ";" in folder:
        return "the dynamic loader takes no path with a colon or semicolon"
    if file_system(existing) in ("tmpfs", "ramfs"):
        return "it lies in memory, which is what is measured"
    return None


def free_bytes(folder):
    try:
        status = os.statvfs(nearest_existing(folder))
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def nearest_existing(path):
    """Return the path, or the nearest folder above it that exists."""
    path = os.path.abspath(path)
    while not os.path.exists(path) and path != "/":
        path = os.path.dirname(path)
    return path


def file_system(path):
    """Return the type of the file system of a path, such as `ext4`; None if unknown."""
    best, kind = "", None
    path = os.path.realpath(path)
    try:
        with open("/proc/self/mounts") as handle:
            lines = handle.read().splitlines()
    except (IOError, OSError):
        return None
    for line in lines:
        mounted = line.split()[1].replace("\\040", " ")
        inside = path == mounted or path.startswith(mounted.rstrip("/") + "/")
        if inside and len(mounted) >= len(best):
            best, kind = mounted, line.split()[2]
    return kind


def memory_kib():
    """Return the fields of /proc/meminfo."""
    found = {}
    try:
        with open("/proc/meminfo") as handle:
            for line in handle:
                name, _, value = line.partition(":")
                if value.strip().endswith("kB"):
                    found[name] = int(value.split()[0])
    except (IOError, OSError, ValueError):
        pass
    return found


def device_tree_model():
    """Return the board's model name from its device tree, or None without one."""
    try:
        with open("/proc/device-tree/model") as handle:
            return handle.read().strip("\0 \n") or None
    except (IOError, OSError):
        return None


def main():
    needs = json.loads(sys.argv[1])
    found = {"python": list(sys.version_info[:3])}
    if sys.version_info >= OLDEST_PYTHON:
        found = facts(needs)
    print(json.dumps({"facts": found, "problems": problems(found, needs)}, sort_keys=True))


if __name__ == "__main__":
    main()
