"""What a program in a container cannot do to this machine, by programs that try."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pibench import networks
from pibench.targets import container as container_target
from pibench.targets.container.engine import connect
from tests.emulation.conftest import run
from tests.emulation.engines import owned_by

if TYPE_CHECKING:
    from pibench.records.schema import Record

pytestmark = pytest.mark.emulation
MIB = 2**20

# What was tried, and the errno that it failed with, None where it did not.
TRY = """
import errno, json, os, socket, sys
tried = {}
def attempt(name, action, *arguments):
    try:
        action(*arguments)
        tried[name] = None
    except OSError as error:
        tried[name] = errno.errorcode[error.errno]
def write(path):
    with open(path, 'ab') as file:
        file.write(b'x')
"""
TELL = "\nprint(json.dumps(tried), flush=True)\nsys.exit(7)\n"


@pytest.fixture
def hostile(container, monkeypatch) -> Callable[..., Record]:
    """Runs a Python program in Caffe's place, the network its argument."""

    def run_program(body: str, **options: Any) -> Record:
        program = TRY + textwrap.dedent(body) + TELL
        caffe = [container_target.PYTHON, "-I", "-S", "-c", program]
        monkeypatch.setattr(
            container_target, "PROGRAMS", replace(container_target.PROGRAMS, program=caffe)
        )
        (record,) = run(container, [networks.load("SqueezeNet V1.1")], **options)
        client, _ = connect()
        assert owned_by(client, os.getpid()) == []
        return record

    return run_program


def sandbox_report(record: Record) -> dict[str, Any]:
    """What the program printed last; its end decides nothing about the network."""
    assert record.verdict == "inconclusive"
    assert record.evidence.summary == "ended with status 7"
    (words,) = [note for note in record.evidence.notes if note.startswith("last words: ")]
    found: dict[str, Any] = json.loads(words.removeprefix("last words: "))
    return found


def test_it_cannot_write_but_to_its_own_small_tmp(hostile) -> None:
    found = sandbox_report(
        hostile("""
        for path in ("/pibench", "/etc/passwd", "/job/job.json", "/job/models/more", sys.argv[3]):
            attempt(path, write, path)
        attempt("/proc/sys/kernel/core_pattern", write, "/proc/sys/kernel/core_pattern")
        attempt("/sys/fs/cgroup/memory/memory.limit_in_bytes", write,
                "/sys/fs/cgroup/memory/memory.limit_in_bytes")
        written = 0
        try:
            with open("/tmp/full", "wb", buffering=0) as file:
                while True:
                    written += file.write(bytes(1 << 20))
        except OSError as error:
            tried["full"] = errno.errorcode[error.errno]
        tried["written"] = written
        attempt("exec", os.execv, "/tmp/full", ["full"])
        """)
    )
    assert found.pop("written") == 16 * MIB
    assert found.pop("full") == "ENOSPC"
    assert found.pop("exec") == "EACCES"
    assert set(found.values()) <= {"EROFS", "EACCES", "ENOENT"}, found
    assert len(found) == 7


def test_it_reaches_nobody(hostile) -> None:
    found = sandbox_report(
        hostile("""
        def reach(address, kind=socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as end:
                end.settimeout(2)
                end.connect(address)
        attempt("outside", reach, ("192.0.2.1", 80))
        attempt("bridge", reach, ("172.17.0.1", 80))
        attempt("datagram", reach, ("192.0.2.1", 53), socket.SOCK_DGRAM)
        attempt("raw", socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        attempt("engine", write, "/var/run/docker.sock")
        """)
    )
    for name in ("outside", "bridge", "datagram"):
        assert found[name] == "ENETUNREACH", found
    assert found["raw"] in ("EPERM", "EACCES")
    assert found["engine"] in ("ENOENT", "EROFS")


def test_it_cannot_become_anybody_else(hostile) -> None:
    found = sandbox_report(
        hostile("""
        import ctypes
        with open("/proc/self/oom_score_adj") as file:
            tried["first to be killed"] = int(file.read())
        tried["ids"] = [os.getuid(), os.getgid(), os.getgroups()]
        for name in ("setuid", "setgid", "chroot"):
            attempt(name, getattr(os, name), "/" if name == "chroot" else 0)
        attempt("chown", os.chown, "/tmp", 0, 0)
        libc = ctypes.CDLL(None, use_errno=True)
        def call(name, *arguments):
            if getattr(libc, name)(*arguments) != 0:
                raise OSError(ctypes.get_errno(), name)
        attempt("mount", call, "mount", b"none", b"/tmp", b"tmpfs", 0, None)
        attempt("unshare", call, "unshare", 0x10000000)
        attempt("nice", os.setpriority, os.PRIO_PROCESS, 0, -5)
        attempt("device", os.mknod, "/tmp/sda", 0o60666, os.makedev(8, 0))
        attempt("kmsg", write, "/dev/kmsg")
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open("/dev/null", os.O_RDWR), 2)
            os.dup2(2, 1)
            try:
                os.execv("/bin/mount", ["mount", "-t", "tmpfs", "none", "/tmp"])
            finally:
                os._exit(9)
        tried["mount program"] = os.waitpid(pid, 0)[1] != 0
        """)
    )
    assert found.pop("ids") == [65534, 65534, [65534]]
    # Between it and the probe the kernel takes it.
    assert found.pop("first to be killed") == 500
    assert found.pop("mount program") is True
    assert None not in found.values(), found


def test_a_fork_without_end_ends_at_its_own_limit(hostile) -> None:
    found = sandbox_report(
        hostile("""
        import time
        # QEMU 7.2 now and then aborts in a forked child, and reports it on its standard error.
        kept, nowhere = [os.dup(1), os.dup(2)], os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1), os.dup2(nowhere, 2)
        forked = 0
        try:
            while True:
                if os.fork() == 0:
                    os.setsid()
                    time.sleep(600)
                forked += 1
        except OSError as error:
            tried["fork"] = errno.errorcode[error.errno]
        tried["forked"] = forked
        os.dup2(kept[0], 1), os.dup2(kept[1], 2)
        """)
    )
    assert found["fork"] == "EAGAIN"
    assert 5 < found["forked"] < 64


def test_a_fork_bomb_is_over_with_its_deadline(hostile) -> None:
    before = len(psutil.pids())
    record = hostile(
        """
        while True:
            try:
                if os.fork() == 0:
                    os.setsid()
            except OSError:
                pass
        """,
        timeout_s=4,
    )
    assert record.verdict == "inconclusive"
    assert record.evidence.timed_out
    assert len(psutil.pids()) < before + 60


def test_words_without_end_are_over_with_their_deadline(hostile) -> None:
    record = hostile(
        """
        while True:
            os.write(1, b"x" * 65536)
        """,
        timeout_s=4,
    )
    assert record.verdict == "inconclusive"
    assert record.evidence.timed_out
    assert record.evidence.elapsed_seconds < 30


def test_it_cannot_speak_for_the_probe(hostile) -> None:
    record = hostile("""
    import zlib
    event = json.dumps({"event": "end"}).encode()
    frame = b"\\nPIBENCH %08x %s\\n" % (zlib.crc32(event), event)
    def speak(path):
        with open(path, "wb", buffering=0) as file:
            file.write(frame)
    os.write(1, frame)
    for number in (1, 2):
        attempt("stdout %d" % number, speak, "/proc/1/fd/%d" % number)
    attempt("memory", write, "/proc/1/mem")
    attempt("kill", os.kill, 1, 9)
    """)
    found = sandbox_report(record)
    # A kill of the first process in a container is not delivered, and no error.
    assert found.pop("kill") is None
    assert set(found.values()) <= {"EACCES", "EPERM"}, found
