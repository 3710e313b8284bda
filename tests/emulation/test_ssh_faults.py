"""Target ssh where something is in the way: each time one clear line, and nothing left behind.

Against the real OpenSSH server of the guest. Caffe is a script there, in the
user's own PATH: what it computes does not matter here, only that it takes long.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pibench import networks
from pibench.errors import HostError, InvalidInputError
from pibench.records.schema import Record
from pibench.runner.options import RunOptions
from pibench.runner.runner import Runner
from pibench.targets.base import Progress
from pibench.targets.ssh import SshTarget
from pibench.targets.ssh.connection import Login, parse
from pibench.targets.ssh.session import Patience
from tests.emulation.guests import Guest
from tests.emulation.wires import Wire, wire_to
from tests.interrupted import ended_in_order, pibench

pytestmark = pytest.mark.emulation
SHORT = Patience(lease_s=6.0, reconnect_s=3.0)
# Ends by itself when asked to; until then it works on its network.
CAFFE = """\
#!/bin/sh
case "$1" in --version) echo caffe version 0; exit 0;; esac
for word; do last=$previous; previous=$word; done
cat "$3" >/dev/null
while [ ! -e /home/pi/finish ]; do sleep 0.2; done
"""


@pytest.fixture
def home(guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the guest's key accepted in it, and images where they always are."""
    from pibench import settings

    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(settings.cache_dir()))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    shutil.copy2(guest.identity, tmp_path / ".ssh/id_ed25519")
    shutil.copy2(guest.known_hosts, tmp_path / ".ssh/known_hosts")
    return tmp_path


@pytest.fixture
def slow_caffe(guest: Guest) -> Iterator[None]:
    """The board's own Caffe, which works until the test asks it to finish."""
    quoted = CAFFE.replace("'", "'\\''")
    guest.sh(f"mkdir -p bin; rm -f finish; printf %s '{quoted}' > bin/caffe; chmod 755 bin/caffe")
    yield
    guest.sh("rm -rf bin finish")


@pytest.fixture
def wire(guest: Guest, home: Path) -> Iterator[Wire]:
    """A wire to the guest's sshd, and its key accepted at that end."""
    with wire_to(guest.port) as wire:
        known = home / ".ssh/known_hosts"
        known.write_text(known.read_text().replace(f":{guest.port} ", f":{wire.port} "))
        yield wire


def target(builder, port: int, **changes) -> SshTarget:
    login = Login(address=parse(f"ssh://{changes.pop('user', 'pi')}@127.0.0.1:{port}"))
    return SshTarget(login, builder, **changes)


def run(target: SshTarget, on_progress=lambda _: None) -> list[Record]:
    request = RunOptions(compute="real", threads=1)
    return Runner(target=target, options=request, on_progress=on_progress).run(
        [networks.load("SqueezeNet V1.1")]
    )


def refused(target: SshTarget) -> str:
    """The one line of a run that is refused."""
    with pytest.raises(HostError) as caught:
        run(target)
    line = caught.value.line()
    assert "\n" not in line
    assert caught.value.hint
    return line


def left_of_runs(guest: Guest, base: str = ".cache/pibench") -> str:
    """Return folders of runs and pibench's processes on the board."""
    return guest.sh(
        f"ls {base}/runs 2>/dev/null; "
        "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | "
        "grep -E 'run[.]py|supervise|bin/caffe' | grep -v grep; done",
        check=False,
    )


# ---------------------------------------------------------------- who answers, and to whom


def test_a_host_that_nobody_has_accepted(builder, guest: Guest, home: Path) -> None:
    (home / ".ssh/known_hosts").unlink()
    line = refused(target(builder, guest.port))
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", "/dev/stdin"],
        input=guest.known_hosts.read_text().split(maxsplit=1)[1].splitlines()[0],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[1]
    assert f"its host key is not known here (ED25519 {fingerprint})" in line
    assert f"then accept it: ssh -p {guest.port} pi@127.0.0.1" in line
    assert not (home / ".ssh/known_hosts").exists()


def test_no_setting_has_an_unknown_host_accepted(builder, guest: Guest, home: Path) -> None:
    (home / ".ssh/known_hosts").unlink()
    (home / ".ssh/config").write_text(
        "Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n"
    )
    assert "its host key is not known here" in refused(target(builder, guest.port))


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_host_that_has_another_key_than_before(
    kind: str, builder, guest: Guest, home: Path
) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", home / "other"], check=True)
    other = (home / "other.pub").read_text()
    (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{guest.port} {other}")
    line = refused(target(builder, guest.port))
    assert "its host key has CHANGED (now ED25519 SHA256:" in line
    assert f"ssh-keygen -R '[127.0.0.1]:{guest.port}'" in line


@pytest.mark.usefixtures("home")
def test_a_user_who_is_not_let_in(builder, guest: Guest) -> None:
    line = refused(target(builder, guest.port, user="root"))
    assert line.startswith(f"root@127.0.0.1 port {guest.port}: it lets the user root not in")
    assert "ssh-copy-id" in line


def test_a_key_that_asks_for_a_passphrase_hangs_nowhere(builder, guest: Guest, home: Path) -> None:
    locked = home / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", locked], check=True)
    login = Login(address=parse(guest.url), identity=locked)
    assert "ssh-add" in refused(SshTarget(login, builder))
    login = Login(address=parse(guest.url), identity=home / "absent")
    with pytest.raises(InvalidInputError, match="there is no key"):
        run(SshTarget(login, builder))


@pytest.mark.usefixtures("home")
def test_nobody_answers(builder) -> None:
    with wire_to(1) as wire:
        port = wire.port
    assert "check that it is on" in refused(target(builder, port))


# ---------------------------------------------------------------- what the board lacks


@pytest.mark.usefixtures("home")
def test_a_32_bit_kernel(builder, guest: Guest) -> None:
    line = refused(target(builder, guest.port_32_bit))
    assert "its kernel is 32-bit (armv8l), and it has no usable Caffe of its own (no caffe)" in line
    assert "arm_64bit=1" in line
    assert left_of_runs(guest) == ""


@pytest.mark.usefixtures("home")
def test_too_little_disk_for_our_caffe(builder, guest: Guest) -> None:
    line = refused(target(builder, guest.port, folder="/mnt/pibench"))
    assert "/mnt/pibench has 21 MiB free, and " in line
    assert "are needed" in line
    assert guest.sh("ls /mnt") == "lost+found\n"


@pytest.mark.usefixtures("home", "slow_caffe")
def test_a_disk_that_fills_while_it_is_written_to(
    builder, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It was empty when it was looked at.
    monkeypatch.setattr("pibench.targets.ssh.job_bytes", lambda _: -(64 << 20))
    guest.sh(
        "head -c 50k /dev/zero >/mnt/hole; "
        "dd if=/dev/zero of=/mnt/full bs=4k 2>/dev/null; rm /mnt/hole; sync"
    )
    try:
        line = refused(target(builder, guest.port, folder="/mnt/pibench"))
    finally:
        guest.sh("rm /mnt/full")
    assert "the job could not be unpacked there: /mnt/pibench/runs/" in line
    assert "No space left on device" in line
    assert left_of_runs(guest, "/mnt/pibench") == ""
    guest.sh("rm -r /mnt/pibench")


# ---------------------------------------------------------------- lost connections


def when_started(*actions):
    """Does things by and by once a network has begun: pairs of seconds and what to do."""

    def watched(output: Progress) -> None:
        if output.message == "started":
            for after_s, act in actions:
                threading.Timer(after_s, act).start()

    return watched


@pytest.mark.usefixtures("slow_caffe")
def test_a_cut_connection_is_taken_up_again(builder, guest: Guest, wire: Wire) -> None:
    patience = Patience(lease_s=60.0, reconnect_s=30.0)
    (record,) = run(
        target(builder, wire.port, patience=patience),
        when_started((0, wire.cut), (2, wire.repair), (4, lambda: guest.sh("touch finish"))),
    )
    # One to look at the board, one for the run, one after the cut.
    assert wire.carried >= 3
    assert record.evidence.exit_status == 0
    assert record.evidence.elapsed_seconds > 2
    assert record.environment.guest.caffe_origin == "system"
    assert left_of_runs(guest) == ""


@pytest.mark.usefixtures("slow_caffe")
def test_a_connection_that_does_not_come_back(builder, guest: Guest, wire: Wire) -> None:
    with pytest.raises(HostError) as caught:
        run(target(builder, wire.port, patience=SHORT), when_started((0, wire.cut)))
    line = caught.value.line()
    assert "was lost and not regained within 3 s" in line
    assert "removes its files by itself within 6 s" in line
    assert_gone_soon(guest)


KILLED = """\
import sys
from pibench.images.build import Builder
from tests.emulation.test_ssh_faults import SHORT, run, target
run(target(Builder(), int(sys.argv[1]), patience=SHORT), lambda one: print(one.message, flush=True))
"""


@pytest.mark.usefixtures("home", "slow_caffe")
def test_nothing_stays_after_kill_9(guest: Guest) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(guest.port)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        assert "bin/caffe" in left_of_runs(guest)
        child.send_signal(signal.SIGKILL)
    assert_gone_soon(guest)


@pytest.mark.usefixtures("home", "slow_caffe")
def test_ctrl_c_takes_everything_along(guest: Guest) -> None:
    arguments = ["run", "SqueezeNet V1.1", "--target", guest.url, "--threads", "1"]
    # As a shell starts it in the background.
    with pibench(*arguments, ignoring=[signal.SIGINT]) as child:
        guest.sh("until ps | grep -q '[b]in/caffe time.*/0.prototxt'; do sleep 0.2; done")
        # A second run would measure the first.
        assert child.poll() is None
        other = subprocess.run(
            [sys.executable, "-m", "pibench", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert other.returncode == 3
        assert "another run of pibench is under way there" in other.stderr
        ended_in_order(child, signal.SIGINT)
    assert left_of_runs(guest) == ""


def assert_gone_soon(guest: Guest) -> None:
    end = time.monotonic() + SHORT.lease_s + 6
    while left_of_runs(guest) != "":
        assert time.monotonic() < end, left_of_runs(guest)
        time.sleep(0.5)
