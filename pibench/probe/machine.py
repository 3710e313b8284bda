"""What this machine is, and which engine it runs."""

import json
import os
import resource
import subprocess
import sys

from .cgroup import cgroup_cpu, cgroup_memory, cgroup_pids, tightest_memory_bytes
from .child import child_env
from .engines import engine_of
from .machine_state import MachineState
from .procfs import read_fields, read_int, read_text
from .programs import RUN, place_environment, preloaded

# Libraries that Caffe may be linked with: Debian's uses the first, a link to whichever BLAS.
BLAS_LIBRARIES = ("libblas.so.3", "libopenblas.so.0", "libcblas.so.3", "libatlas.so.3")
BOARD = "/proc/device-tree/model"
HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"
PR_SET_THP_DISABLE = 41  # linux/prctl.h
# The instructions `mrs x0, midr_el1` and `ret`: Linux and QEMU let any program
# read the main ID register (Documentation/arm64/cpu-feature-registers.rst): MIDR_EL1,
# 0x410fd034 for a Cortex-A53.
READ_MAIN_ID = b"\x00\x00\x38\xd5\xc0\x03\x5f\xd6"
REGISTER_BYTES = 8
UNAME_FIELD_BYTES = 65
TREE = "/proc/device-tree"
# The instructions `mrs x0, cntfrq_el0` and `ret`: Linux lets any program read it.
READ_TIMER_HZ = b"\x00\xe0\x3b\xd5\xc0\x03\x5f\xd6"
# QEMU's default for the Arm generic timer (target/arm/cpu.h: GTIMER_SCALE 16, in ns).
QEMU_TIMER_HZ = 62500000


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


def run_code(instructions):
    """Return what a few arm64 instructions leave in x0; None where they cannot be executed."""
    # A 32-bit Python under a 64-bit kernel cannot run them.
    if os.uname().machine != "aarch64" or sys.maxsize < 2**32:
        return None
    import ctypes
    import mmap

    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        code = mmap.mmap(-1, len(instructions), prot=everything)
    except (OSError, ValueError):
        return None
    code.write(instructions)
    start = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return ctypes.CFUNCTYPE(ctypes.c_uint64)(start)()


def virtualization_reason(tree=TREE, timer_hz=None, architecture=None):
    """Return in words what shows that this machine is emulated or virtual, not a board; or None.

    Measurements there are not measurements of the board, above all its times. A sign is
    something that QEMU or another hypervisor puts there, or that the firmware of every
    Raspberry Pi provides and they do not.
    """
    if (architecture or os.uname().machine) == "x86_64":
        return None
    compatible = (read_text(os.path.join(tree, "compatible")) or "").split("\0")
    if "linux,dummy-virt" in compatible:
        return "its device tree is a virtual machine's (linux,dummy-virt)"
    if has_fw_cfg(tree) or (read_text("/sys/class/dmi/id/sys_vendor") or "") == "QEMU":
        return "it has QEMU's own devices or firmware"
    if not (read_text(os.path.join(tree, "model")) or "").startswith("Raspberry Pi"):
        return None
    if (timer_hz or run_code(READ_TIMER_HZ)) == QEMU_TIMER_HZ:
        # A board's runs at 19.2 MHz (BCM2837 and before) or 54 MHz (BCM2711 and later).
        return "its timer runs at 62.5 MHz, as QEMU's does and no Raspberry Pi's"
    serials = ("serial-number", "system/linux,serial", "system/linux,revision")
    if not any(os.path.exists(os.path.join(tree, name)) for name in serials):
        return "its device tree lacks the serial number that a Raspberry Pi's firmware puts there"
    return None


def has_fw_cfg(tree):
    """Return whether QEMU's firmware configuration device for guests exists."""
    try:
        names = os.listdir(tree)
    except OSError:
        names = []
    return os.path.isdir("/sys/firmware/qemu_fw_cfg") or any(
        name.startswith("fw-cfg@") for name in names
    )


def huge_pages_in_use(switch_off, setting=HUGE_PAGES):
    """Return whether programs get huge pages by default; `switch_off` disables them if possible.

    Boards' kernels have no transparent huge pages. Where the kernel uses them, memory counts as
    resident in pieces of 2 MiB, and a small network's peak varies by several MiB. QEMU asks for
    them for the code that it translates.

    The switch applies to this process and its children from here on. QEMU's user mode does
    not pass it on (linux-user/syscall.c).
    """
    used = read_text(setting) or ""
    if switch_off and ("[always]" in used or "[madvise]" in used):
        import ctypes

        if ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0:
            return False
    return "[always]" in used


def sandbox():
    """Return user, privileges, file system and network of this process, from the kernel."""
    status = read_fields("/proc/self/status")
    return {
        "uid": os.getuid(),
        "capabilities": status.get("CapEff"),
        "no_new_privileges": status.get("NoNewPrivs"),
        "seccomp": status.get("Seccomp"),
        "root_read_only": root_is_read_only(),
        "interfaces": interfaces(),
    }


def root_is_read_only():
    """Return whether the root file system is mounted read-only; None where that is unknown."""
    for line in (read_text("/proc/self/mountinfo") or "").splitlines():
        words = line.split()
        if len(words) > 5 and words[4] == "/":
            return "ro" in words[5].split(",")
    return None


def interfaces():
    """Return the names of the network interfaces; `lo` alone reaches no other machine."""
    lines = (read_text("/proc/self/net/dev") or "").splitlines()[2:]
    return sorted(line.partition(":")[0].strip() for line in lines if ":" in line)


def seen_by_programs(program):
    """Return the CPU and the architecture that the engine's programs see.

    `program` prints MIDR_EL1 and uname's structure of six fields (linux/utsname.h). Where it
    does not run, nothing is returned: the target then rejects the machine.
    """
    try:
        output = subprocess.check_output([program], stderr=subprocess.DEVNULL, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return {}
    if len(output) != REGISTER_BYTES + 6 * UNAME_FIELD_BYTES:
        return {}
    start = REGISTER_BYTES + 4 * UNAME_FIELD_BYTES
    architecture = output[start : start + UNAME_FIELD_BYTES].partition(b"\0")[0]
    return {
        "main_id_register": int.from_bytes(output[:REGISTER_BYTES], "little"),
        "architecture": architecture.decode("ascii", "replace"),
    }


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
            "main_id_register": run_code(READ_MAIN_ID),
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
    if job.get("cpu_report"):
        machine.update(seen_by_programs(job["cpu_report"]))
    return machine


def describe_engine(job, folder):
    """Return the versions of the engine and of its BLAS; starts both, slow when emulated.

    An engine that reports a BLAS itself, or None, is not asked.
    """
    env = dict(job["env"])
    if job["other_blas"]:
        env["LD_PRELOAD"] = preloaded(job["other_blas"], folder)

    def ask(command):
        return first_line(*place_environment(job, command, env))

    found = dict(engine_of(job).versions(job, ask))
    if "blas" in found:
        return found
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
