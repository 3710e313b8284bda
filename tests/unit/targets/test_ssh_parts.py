"""Addresses of boards, who looks after a run there, and what shows that a board is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pibench import devices
from pibench.errors import InvalidInputError
from pibench.images.build import Builder
from pibench.probe import machine, supervise
from pibench.runner.options import RunOptions
from pibench.targets.registry import make_target
from pibench.targets.ssh import SshTarget
from pibench.targets.ssh.connection import Address, parse
from pibench.targets.ssh.session import Patience

# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("url", "host", "user", "port"),
    [
        ("ssh://pi@raspberrypi.local", "raspberrypi.local", "pi", None),
        ("ssh://board", "board", None, None),
        ("ssh://MyAlias/", "MyAlias", None, None),
        ("ssh://pi@10.0.0.7:2222", "10.0.0.7", "pi", 2222),
        ("ssh://pi@[2001:db8::7]:2222", "2001:db8::7", "pi", 2222),
        ("ssh://[fe80::1%25eth0]", "fe80::1%eth0", None, None),
    ],
)
def test_addresses(url: str, host: str, user: str | None, port: int | None) -> None:
    address = parse(url)
    assert address == Address(host=host, user=user, port=port)
    assert parse(address.url) == address


@pytest.mark.parametrize(
    "url",
    [
        "ssh://",
        "ssh://pi@",
        "ssh://pi@host:notaport",
        "ssh://pi@host:99999",
        "ssh://pi@host:0",
        "ssh://pi@host/folder",
        "ssh://pi@[::1",
        "ssh://-oProxyCommand=x",
        "ssh://-l@host",
        "http://host",
    ],
)
def test_what_is_not_an_address_is_one_line(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse(url)
    assert caught.value.hint
    assert "\n" not in caught.value.line()


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse("ssh://pi:raspberry@host")
    assert "ssh-copy-id" in caught.value.line()
    assert "raspberry" not in caught.value.line()


def test_how_a_host_is_named_elsewhere() -> None:
    address = parse("ssh://pi@host:2222")
    assert (str(address), address.known_as()) == ("pi@host port 2222", "[host]:2222")
    assert address.ssh() == "ssh -p 2222 pi@host"
    assert parse("ssh://host:22").known_as() == "host"


# ---------------------------------------------------------------- options


def test_a_board_computes_for_real_unless_told_otherwise() -> None:
    assert RunOptions(target="ssh://pi@host").effective_compute == "real"
    assert RunOptions(target="vm").effective_compute == "memory-only"


def test_options_belong_to_their_target() -> None:
    board, builder = devices.load("rpi3b"), Builder()
    made = make_target("ssh://pi@host", board, builder, identity=Path("key"), remote_dir="~/x")
    assert isinstance(made, SshTarget)
    assert made.login.identity == Path("key")
    with pytest.raises(InvalidInputError, match="one network at a time"):
        make_target("ssh://pi@host", board, builder, at_once=2)
    with pytest.raises(InvalidInputError, match="--identity key belongs to"):
        make_target("vm", board, builder, identity=Path("key"))
    with pytest.raises(InvalidInputError, match="--machine virt belongs to target vm"):
        make_target("ssh://pi@host", board, builder, machine="virt")


# ---------------------------------------------------------------- the supervisor

# Stands for the probe: it prints something, starts a child that dies with it, and waits.
PROBE = """\
import ctypes, os, signal, subprocess, sys
print("begun", flush=True)
die = lambda: ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
child = subprocess.Popen(["sleep", "600"], preexec_fn=die)
open(os.path.join(os.path.dirname(sys.argv[1]), "child"), "w").write(str(child.pid))
child.wait(timeout=float(open(sys.argv[1]).read()))
"""


# As a board starts it, and looking ten times as often.
SUPERVISE = f"""\
import sys
sys.path.insert(0, {str(Path(supervise.__file__).parent)!r})
import supervise
supervise.POLL_S /= 10
supervise.main()
"""


class Run:
    """A run as a board has it, with no connection between."""

    def __init__(self, base: Path, lease_s: float) -> None:
        done = subprocess.run(
            [sys.executable, "-c", SUPERVISE, "start", str(base), str(lease_s)],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        self.status = done.returncode
        self.folder = Path(done.stdout.strip())

    def go(self, seconds: float = 600) -> None:
        (self.folder / "job/probe").mkdir(parents=True)
        (self.folder / "job/probe/run.py").write_text(PROBE)
        (self.folder / "job/job.json").write_text(str(seconds))
        (self.folder / "go").touch()
        wait_for((self.folder / "job/child").exists)
        wait_for((self.folder / "job/child").read_text)
        self.child = int((self.folder / "job/child").read_text())

    def is_gone(self) -> bool:
        return not self.folder.exists() and not Path(f"/proc/{self.child}/fd/0").exists()


def wait_for(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for folder in (tmp_path / "runs").glob("*/"):
        (folder / "stop").touch()


def test_stop_ends_a_run_and_removes_it(base: Path) -> None:
    run = Run(base, 60)
    assert supervise.is_alive(str(run.folder))
    run.go()
    assert (run.folder / "frames").read_text() == "begun\n"
    (run.folder / "stop").touch()
    wait_for(run.is_gone)


def test_a_run_without_a_sign_of_life_ends_by_itself(base: Path) -> None:
    run = Run(base, 1)
    run.go()
    for sign in range(8):
        (run.folder / "lease").write_text(str(sign))
        time.sleep(0.2)
    assert run.folder.exists()
    wait_for(run.is_gone)


def test_how_the_probe_ended_is_reported(base: Path) -> None:
    run = Run(base, 60)
    run.go(seconds=0.1)
    wait_for((run.folder / "ended").exists)
    assert (run.folder / "ended").read_text() == "1"
    assert "TimeoutExpired" in (run.folder / "errors").read_text()


def test_a_second_run_is_refused_while_the_first_lives(base: Path) -> None:
    first = Run(base, 60)
    assert Run(base, 60).status == supervise.BUSY_STATUS
    first.go()
    (first.folder / "stop").touch()
    wait_for(first.is_gone)
    assert Run(base, 60).status == 0


def test_what_a_board_that_was_switched_off_left_is_swept(base: Path) -> None:
    (base / "runs/left/job").mkdir(parents=True)
    assert Run(base, 60).status == 0
    assert not (base / "runs/left").exists()


def test_a_supervisor_that_is_killed_takes_the_probe_along(base: Path) -> None:
    run = Run(base, 60)
    run.go()
    mine = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if str(base).encode() in path.read_bytes() and b"start" in path.read_bytes()
    ]
    for pid in mine:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{run.child}/fd/0").exists())
    assert not supervise.is_alive(str(run.folder))
    # The next run takes the folder away.
    Run(base, 60)
    assert not run.folder.exists()


def test_cleaning_spares_a_run_that_is_under_way(base: Path) -> None:
    (base / "roots/key").mkdir(parents=True)
    (base / "runs/left").mkdir(parents=True)
    clean = [sys.executable, supervise.__file__, "clean", str(base)]
    done = subprocess.run(clean, capture_output=True, text=True, check=True)
    assert done.stdout == "1 1\n"
    assert not base.exists()
    base.mkdir()
    run = Run(base, 60)
    done = subprocess.run(clean, capture_output=True, text=True, check=True)
    assert done.stdout == "0 0\n"
    assert run.folder.exists()


def test_a_connection_is_tried_again_for_less_than_the_board_waits() -> None:
    assert Patience().reconnect_s < Patience().lease_s


# ---------------------------------------------------------------- boards that are none


def tree(folder: Path, **files: str) -> str:
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return str(folder)


def reason(tree: str, timer_hz: int) -> str | None:
    """As on an arm64 machine, whatever this one is."""
    found: str | None = machine.virtualization_reason(tree, timer_hz, "aarch64")
    return found


PI = {"model": "Raspberry Pi 3 Model B Rev 1.2\0", "compatible": "raspberrypi,3-model-b\0"}
PI_HZ = 19_200_000


@pytest.mark.parametrize(
    ("files", "timer_hz", "sign"),
    [
        ({"compatible": "linux,dummy-virt\0"}, PI_HZ, "linux,dummy-virt"),
        ({**PI, "fw-cfg@9020000__reg": "", "serial-number": "1"}, PI_HZ, "QEMU's own"),
        ({**PI, "serial-number": "00000000abcdef01\0"}, 62_500_000, "62.5 MHz"),
        (PI, PI_HZ, "lacks the serial number"),
    ],
)
def test_signs_of_an_emulated_board(
    files: dict[str, str], timer_hz: int, sign: str, tmp_path: Path
) -> None:
    assert sign in (reason(tree(tmp_path, **files), timer_hz) or "")


@pytest.mark.parametrize("entry", ["serial-number", "system__linux,serial"])
def test_a_board_is_one(entry: str, tmp_path: Path) -> None:
    assert reason(tree(tmp_path, **PI, **{entry: "1"}), PI_HZ) is None


def test_another_arm64_machine_may_be_anything(tmp_path: Path) -> None:
    assert reason(tree(tmp_path, model="Some server"), 25_000_000) is None
