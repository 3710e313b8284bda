"""The programs of a job: the first in its list that work on this machine, and how they start.

Their files are loaded into the page cache before anything is measured: see `preload`.
"""

import fcntl
import os
import re
import time
from contextlib import contextmanager

from .check import complaint_of, system_python
from .procfs import read_text

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.py")
NO_MODEL = "models/none"
BARE_TIMEOUT_S = 600

# Emulated, or on a board with a slow card, an import takes long.
TRIAL_DEADLINE_S = 300
FOLDER = "{folder}"
PYTHON = "{python}"
PROGRAM = "{program}"
MAPPED = re.compile(r" (/\S.*)$", re.M)
CHUNK_BYTES = 1 << 20
READERS = 4
# ext4 has folios of many pages since then; their effect (see `preload`) was seen with 6.18.
LARGE_FOLIOS = (6, 16)
TURN_DEADLINE_S = 10.0
TURN_PAUSE_S = 0.02


class NoProgramsError(Exception):
    """None of the listed programs works here; `reasons` has the reason for each."""

    def __init__(self, reasons):
        Exception.__init__(self, "; ".join(reasons))
        self.reasons = reasons


def settle(job, folder):
    """Return the job with the programs that this machine runs, and with its actual paths.

    `programs` lists candidates in order, each with `origin`, `lock`, `program` (the
    engine's), `python`, `env`, `env_option`, `address_space_bytes` and
    `huge_pages_off`; the chosen one's become the job's own. `{folder}` in
    them stands for the job's folder, `{python}` for the system's own Python.
    A single candidate is taken without a trial, since there is no alternative. Several
    are tried in order, and if none works, the last one is not taken either. Raises NoProgramsError.
    """
    candidates = [placed(candidate, folder) for candidate in job["programs"]]
    if len(candidates) == 1:
        return dict(job, **candidates[0])
    reasons = []
    for candidate in candidates:
        complaint = trial(candidate, job["trials"])
        if complaint is None:
            return dict(job, **candidate)
        reasons.append("{}: {}".format(candidate["origin"], complaint))
    raise NoProgramsError(reasons)


def placed(value, folder):
    """Return a value of the job with its placeholders replaced by the job's folder."""
    if isinstance(value, dict):
        return {key: placed(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [placed(inner, folder) for inner in value]
    if not isinstance(value, str):
        return value
    return value.replace(FOLDER, folder).replace(PYTHON, system_python())


def trial(candidate, trials):
    """Return why the candidate does not work here, or None if it does.

    Each trial is a short command, in which `{program}` stands for the candidate's program and
    `{python}` for its Python.
    """
    stand_for = {PROGRAM: candidate["program"], PYTHON: candidate["python"]}
    for parts in trials:
        command = [word for part in parts for word in stand_for.get(part, [part])]
        command, env = place_environment(candidate, command, candidate["env"])
        complaint = complaint_of(command, env, TRIAL_DEADLINE_S)
        if complaint is not None:
            return complaint
    return None


def make_empty_model(folder):
    """Make the pipe at which a program without a network waits (see bare_item).

    A copy of the folder may lack it: archives and file transfers carry files.
    """
    path = os.path.join(folder, NO_MODEL)
    if not os.path.exists(path):
        os.mkfifo(path)
        os.chmod(path, 0o666)


def preloaded(libraries, folder):
    """Return libraries of the job's folder as LD_PRELOAD has them."""
    return ":".join(os.path.join(folder, name) for name in libraries)


def place_environment(job, command, env):
    """Return command and environment, adapted to an emulator of the host where there is one.

    The emulator's own loader and malloc would act on LD_PRELOAD, MALLOC_TRIM_THRESHOLD_ and similar
    variables, which are meant for the guest's: `env_option` is the option by which the emulator
    sets them there.
    """
    env = dict(env)
    option = job.get("env_option")
    if not option:
        return command, env
    options = []
    for name in sorted(name for name in env if name.startswith(("LD_", "MALLOC_"))):
        options += [option, "{}={}".format(name, env.pop(name))]
    return command[:1] + options + command[1:], env


def bare_item(item):
    """Return the same item with no network: the program waits at a pipe that nobody writes to."""
    nothing = {"weights": None, "inputs": None, "keep": [], "layers": None}
    return dict(item, id=None, model=NO_MODEL, timeout_s=BARE_TIMEOUT_S, **nothing)


def mapped_files(pid):
    """Return the paths of the files that a process has mapped."""
    return sorted(set(MAPPED.findall(read_text("/proc/{}/maps".format(pid)) or "")))


@contextmanager
def turn(path, exclusive, deadline_s=TURN_DEADLINE_S):
    """Wait for a turn with an existing file, and yield whether it came within the deadline.

    Turns that are not exclusive are shared: a program takes one while it is measured. An exclusive
    turn is for a probe that takes files out of the page cache, as otherwise the programs of other
    probes would map fewer pages of them just then, and their peaks would be up to 3 MiB lower.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        end = time.monotonic() + deadline_s
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        while True:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                has_turn = True
                break
            except OSError:
                has_turn = False
            if time.monotonic() >= end:
                break
            time.sleep(TURN_PAUSE_S)
        yield has_turn
    finally:
        os.close(file)


def preload(paths, python):
    """Read files, so that they are in the page cache, in single pages.

    A page of a program counts as resident when it is in the page cache next to a page that
    was touched (the kernel maps sixteen at a time), so a peak would depend on what ran before.
    After this all files of the programs are cached, as on a board after its first run.

    Current kernels cache files in folios of many pages where they read ahead or the file was
    just written, and map more than sixteen for one page touched: the same program is then up
    to 3 MiB larger or smaller, depending on who read its files. A file that is read at random
    is cached in single pages, as it is on the boards, whose kernels have no folios. `python`
    is the program with which probes take turns at that.
    """
    if not paths:
        # A turn alone would wait for the network of every other probe.
        return
    if not has_large_folios():
        read_all(paths, False)
        return
    with turn(python, True) as is_alone:
        # Where programs of other probes keep running, one of those has done it.
        read_all(paths, is_alone)


def preload_once(paths, python):
    """Read files as `preload` does, unless another probe has read them for the same run.

    That one reads them now, which is waited for, or its network runs already.
    """
    if not paths:
        return
    if not has_large_folios():
        read_all(paths, False)
        return
    with turn(python, True, 0.0) as is_alone:
        if is_alone:
            read_all(paths, True)
    if not is_alone:
        with turn(python, False):
            pass


def has_large_folios():
    """Return whether this kernel caches files in folios of many pages."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return bool(release) and tuple(map(int, release.groups())) >= LARGE_FOLIOS


def read_all(paths, singly):
    """Read files, with `singly` into single pages, several at a time: the disk is waited for."""
    if not singly:
        for path in paths:
            read_file(path, False)
        return
    # A guest, where an import takes long, does not come here.
    import threading

    left = iter(list(paths))

    def read():
        for path in left:
            read_file(path, True)

    readers = [threading.Thread(target=read) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()


def read_file(path, singly):
    """Read a file, with `singly` into single pages, if that is possible."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        if singly:
            # Pages not yet written to the disk, or mapped by a process, would stay as they are.
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        while os.read(file, CHUNK_BYTES):
            pass
    except OSError:
        pass
    finally:
        os.close(file)
