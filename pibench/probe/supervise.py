"""Supervise a run on a board, so a lost connection neither ends it nor leaves it behind.

    python3 supervise.py start BASE LEASE_S      make a folder below BASE, print it, and
                                                 supervise it in the background
    python3 supervise.py alive FOLDER            exit status 0 if it has a supervisor
    python3 supervise.py clean BASE              remove pibench's root and dead runs below BASE

The host writes small files into FOLDER, and the supervisor answers by other files:
`lease`, whose content changes as a sign of life of the host; `go`, the job in
`job/` is to be started; `stop`, end it and remove FOLDER. `frames` and `errors`
are what the probe writes, `ended` its exit status. A lease without a new sign
of life ends as `stop` does: nothing stays, even if the host is lost. Time is
counted by the clock since boot; a board's own may jump.

One self-contained file in Python 3.5, as check.py.
"""

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

POLL_S = 0.5
LOCK = "lock"
BUSY = ".busy"
BUSY_STATUS = 75
RUNS = "runs"
ROOTS = "roots"
SET_DEATH_SIGNAL = 1


def start(base, lease_s):
    """Make a folder and return to the caller; another process supervises the folder."""
    runs = os.path.join(base, RUNS)
    os.makedirs(runs, exist_ok=True)
    # Both locks last exactly as long as the supervisor lives.
    if not locked(os.path.join(runs, BUSY)):
        # Two runs at once would disturb each other's measurements.
        sys.exit(BUSY_STATUS)
    sweep(runs)
    folder = tempfile.mkdtemp(dir=runs)
    locked(os.path.join(folder, LOCK))
    if os.fork():
        print(folder)
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    # The end of a connection sends a hangup, which must not end the run.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir("/")
    try:
        Supervisor(folder, lease_s).watch()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


def locked(path):
    """Take a lock for the rest of this process; return False where another process has it."""
    lock = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        os.close(lock)
        return False


class Supervisor(object):
    """Waits for `go`, runs the probe, and ends it by `stop` or with the lease."""

    def __init__(self, folder, lease_s):
        self.folder = folder
        self.lease_s = lease_s
        self.probe = None
        self.sign_of_life = None
        self.renewed = time.monotonic()

    def watch(self):
        """Wait until the folder is to be removed."""
        while True:
            time.sleep(POLL_S)
            if self.is_there("stop") or not os.path.isdir(self.folder) or self.lease_is_over():
                break
            if self.probe is None and self.is_there("go"):
                self.probe = self.start_probe()
            if self.probe is not None and not self.is_there("ended"):
                status = self.probe.poll()
                if status is not None:
                    self.write("ended", str(status))
        if self.probe is not None and self.probe.poll() is None:
            # Its children die with it (PR_SET_PDEATHSIG in child.py).
            self.probe.kill()
            self.probe.wait()

    def start_probe(self):
        job = os.path.join(self.folder, "job")
        command = [sys.executable, "-I", os.path.join(job, "probe", "run.py")]
        with open(self.path("frames"), "wb") as frames, open(self.path("errors"), "wb") as errors:
            return subprocess.Popen(
                command + [os.path.join(job, "job.json")],
                stdin=subprocess.DEVNULL,
                stdout=frames,
                stderr=errors,
                cwd=self.folder,
                preexec_fn=die_with_parent,
            )

    def lease_is_over(self):
        try:
            with open(self.path("lease")) as handle:
                lease = handle.read()
        except (IOError, OSError):
            lease = self.sign_of_life
        if lease != self.sign_of_life:
            self.sign_of_life = lease
            self.renewed = time.monotonic()
        return time.monotonic() - self.renewed > self.lease_s

    def path(self, name):
        return os.path.join(self.folder, name)

    def is_there(self, name):
        return os.path.exists(self.path(name))

    def write(self, name, text):
        with open(self.path(name + ".new"), "w") as handle:
            handle.write(text)
        os.rename(self.path(name + ".new"), self.path(name))


def die_with_parent():
    ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)


def is_alive(folder):
    """Return whether the folder has a supervisor."""
    try:
        lock = os.open(os.path.join(folder, LOCK), os.O_WRONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(lock)


def sweep(runs):
    """Remove runs without a supervisor (the board was switched off); return their number."""
    removed = 0
    for name in listed(runs):
        path = os.path.join(runs, name)
        if os.path.isdir(path) and not is_alive(path):
            shutil.rmtree(path, ignore_errors=True)
            removed += 1
    return removed


def clean(base):
    """Remove what is stored below `base`, except for a run in progress."""
    base = os.path.expanduser(base)
    runs = sweep(os.path.join(base, RUNS))
    roots = os.path.join(base, ROOTS)
    count = len([name for name in listed(roots) if not name.startswith(".")])
    shutil.rmtree(roots, ignore_errors=True)
    busy = os.path.join(base, RUNS, BUSY)
    if not os.path.exists(busy) or locked(busy):
        remove(busy)
    for folder in (os.path.join(base, RUNS), base):
        remove(folder)
    print("{} {}".format(count, runs))


def remove(path):
    """Remove a file or an empty folder, where that is possible."""
    with contextlib.suppress(OSError):
        (os.rmdir if os.path.isdir(path) else os.unlink)(path)


def listed(folder):
    return os.listdir(folder) if os.path.isdir(folder) else []


def main():
    what, folder = sys.argv[1:3]
    if what == "start":
        try:
            start(folder, float(sys.argv[3]))
        except (IOError, OSError) as error:
            sys.exit("{}: {}".format(error.filename or folder, error.strerror))
    elif what == "alive":
        sys.exit(0 if is_alive(folder) else 1)
    else:
        clean(folder)


if __name__ == "__main__":
    main()
