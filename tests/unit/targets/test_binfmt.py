"""What the kernel's files of binfmt_misc mean for arm64 containers, and real registration."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pibench.errors import HostError
from pibench.targets import binfmt, emulation
from tests.limits import without_root

STATIC = shutil.which("qemu-aarch64-static")
needs_static = pytest.mark.skipif(STATIC is None, reason="no qemu-aarch64-static here")

# As Debian 12 registers it.
DEBIAN = """\
enabled
interpreter {interpreter}
flags: {flags}
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""
FILESYSTEMS = "nodev\tsysfs\nnodev\tbinfmt_misc\n\text4\n"
VERSION = "qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg-7)"


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
pytestmark = pytest.mark.skipif(not emulation.needed(), reason="not needed on this machine")


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first folder of PATH. Its `unshare` finds that the kernel cannot be tried."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script(folder / "unshare", "exit 1")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """A mounted binfmt_misc without handlers."""
    (tmp_path / "filesystems").write_text(FILESYSTEMS)
    directory = tmp_path / "binfmt_misc"
    directory.mkdir()
    (directory / "status").write_text("enabled\n")
    (directory / "register").touch(mode=0o200)
    return directory


def check(kernel: Path) -> binfmt.Registration:
    return binfmt.check(kernel, filesystems=kernel.parent / "filesystems")


def problem(kernel: Path) -> str:
    (only,) = check(kernel).problems
    assert only.fix.endswith("-m pibench doctor --fix")
    with pytest.raises(HostError, match="cannot run arm64 containers") as raised:
        binfmt.require(kernel, filesystems=kernel.parent / "filesystems")
    assert only.fix == raised.value.hint
    return only.text


def add(kernel: Path, name: str, interpreter: object, *, flags: str = "POF") -> Path:
    path = kernel / name
    path.write_text(DEBIAN.format(interpreter=interpreter, flags=flags))
    return path


@pytest.fixture
def emulator(tmp_path: Path) -> Path:
    """A program that says it is QEMU, which is a script: no ELF, and so not static."""
    return script(tmp_path / "qemu-aarch64-static", f"echo '{VERSION}'")


def test_a_handler_is_read_as_the_kernel_writes_it() -> None:
    handler = binfmt.parse("qemu-aarch64", DEBIAN.format(interpreter="/usr/bin/q", flags="POCF"))
    assert handler.enabled
    assert handler.interpreter == Path("/usr/bin/q")
    assert handler.flags == "POCF"
    assert handler.magic[:4] == b"\x7fELF"
    assert handler.mask is not None
    assert len(handler.mask) == len(handler.magic) == 20
    by_name = binfmt.parse(
        "python", "disabled\ninterpreter /usr/bin/python\nflags: \nextension .pyc"
    )
    assert not by_name.enabled
    assert by_name.flags == by_name.magic.decode() == ""
    for text in (
        "",
        "enabled\n",
        "sometimes\ninterpreter x\n",
        "enabled\ninterpreter x\nmagic 7",
    ):
        with pytest.raises(HostError, match="handler odd is not written as"):
            binfmt.parse("odd", text)


def test_which_files_a_handler_takes() -> None:
    handler = binfmt.parse("q", DEBIAN.format(interpreter="/q", flags=""))
    program, pie = (
        emulation.aarch64_header(emulation.ET_EXEC),
        emulation.aarch64_header(emulation.ET_DYN),
    )
    assert handler.takes(program)
    assert handler.takes(pie)
    of_gnu = program[:7] + b"\x03" + program[8:]
    assert handler.takes(of_gnu)
    assert not handler.takes(Path(sys.executable).read_bytes()[:64])
    assert not handler.takes(b"#!/bin/sh\n")
    assert not handler.takes(b"")
    unmasked = binfmt.Handler(
        name="m", enabled=True, interpreter=Path("/q"), flags="", offset=18, magic=b"\xb7\x00"
    )
    assert unmasked.takes(program)
    by_name = binfmt.Handler(name="e", enabled=True, interpreter=Path("/q"), flags="")
    assert not by_name.takes(program)


@needs_static
def test_a_good_registration(kernel: Path) -> None:
    add(kernel, "whatever-its-name", STATIC)
    (kernel / "python3.11").write_text(
        "enabled\ninterpreter /p\nflags: \noffset 0\nmagic a70d0d0a\n"
    )
    found = check(kernel)
    assert found.problems == ()
    assert found.handler is not None
    assert found.handler.name == "whatever-its-name"
    assert str(found.qemu_version).startswith("qemu-aarch64 version ")
    assert binfmt.require(kernel, filesystems=kernel.parent / "filesystems") == found


def test_the_kernel_itself_is_believed_before_the_path_that_it_shows(
    kernel: Path, programs: Path
) -> None:
    add(kernel, "qemu-aarch64", "/gone/with/the/container/that/registered/it")
    script(programs / "unshare", f"echo '{VERSION}'")
    assert check(kernel).qemu_version == VERSION
    assert check(kernel).problems == ()


def test_the_latest_handler_that_is_enabled_counts(kernel: Path, emulator: Path) -> None:
    for name, registered_s in (("a", 20), ("b", 30), ("c", 10)):
        os.utime(add(kernel, name, emulator), (registered_s, registered_s))
    assert [handler.name for handler in binfmt.handlers(kernel)] == ["b", "a", "c"]
    off = (kernel / "b").read_text().replace("enabled", "disabled")
    (kernel / "b").write_text(off)
    os.utime(kernel / "b", (30, 30))
    found = check(kernel)
    assert found.handler is not None
    assert found.handler.name == "a"


def test_a_kernel_without_binfmt_misc(tmp_path: Path) -> None:
    (tmp_path / "filesystems").write_text("\text4\n")
    assert "has no binfmt_misc" in problem(tmp_path / "binfmt_misc")


def test_not_mounted(tmp_path: Path) -> None:
    (tmp_path / "filesystems").write_text(FILESYSTEMS)
    (tmp_path / "binfmt_misc").mkdir()
    assert problem(tmp_path / "binfmt_misc") == "binfmt_misc is not mounted"


@needs_static
def test_switched_off_for_the_whole_machine(kernel: Path) -> None:
    add(kernel, "qemu-aarch64", STATIC)
    (kernel / "status").write_text("disabled\n")
    assert "switched off for the whole machine" in problem(kernel)
    (kernel / "qemu-aarch64").unlink()
    assert len(check(kernel).problems) == 2


def test_no_handler(kernel: Path) -> None:
    assert "knows no interpreter" in problem(kernel)
    # A handler that is only for programs without PIE is not enough.
    path = add(kernel, "half", "/q")
    path.write_text(path.read_text().replace("fffeffffff", "ffffffffff"))
    assert "knows no interpreter" in problem(kernel)


def test_a_disabled_handler(kernel: Path, emulator: Path) -> None:
    path = add(kernel, "qemu-aarch64", emulator)
    path.write_text(path.read_text().replace("enabled", "disabled"))
    assert problem(kernel) == "the handler qemu-aarch64 is disabled"


@needs_static
def test_an_interpreter_that_would_be_looked_for_in_the_container(kernel: Path) -> None:
    add(kernel, "qemu-aarch64", STATIC, flags="PO")
    assert "lacks the flag F" in problem(kernel)


def test_an_interpreter_that_is_not_there(kernel: Path) -> None:
    add(kernel, "qemu-aarch64", "/nowhere/qemu")
    assert problem(kernel) == (
        "the interpreter /nowhere/qemu cannot be read (No such file or directory)"
    )


def test_an_interpreter_that_is_not_static(kernel: Path, emulator: Path) -> None:
    add(kernel, "qemu-aarch64", emulator)
    assert "not static" in problem(kernel)


def test_an_interpreter_that_is_not_qemu(kernel: Path, tmp_path: Path) -> None:
    # Static, and nothing that this machine starts.
    path = tmp_path / "other"
    path.write_bytes(emulation.aarch64_program())
    add(kernel, "qemu-aarch64", path)
    assert problem(kernel) == f"the interpreter {path} is not QEMU"


@needs_static
def test_the_static_emulator_under_the_name_that_debian_registers(
    kernel: Path, tmp_path: Path
) -> None:
    link = tmp_path / "aarch64-binfmt-P"
    link.symlink_to(str(STATIC))
    add(kernel, "qemu-aarch64", link)
    found = check(kernel)
    assert found.problems == ()
    assert found.qemu_version is not None
    assert found.qemu_version.startswith("qemu-aarch64 version ")


def test_an_unreadable_handler(kernel: Path) -> None:
    (kernel / "odd").touch()
    assert "the binfmt_misc handler odd is not written as" in problem(kernel)
    (kernel / "loop").symlink_to("loop")
    assert "cannot be read" in problem(kernel)


def test_nothing_is_needed_on_arm64(on_machine: Callable[[str], None], tmp_path: Path) -> None:
    on_machine("aarch64")
    assert not emulation.needed()
    assert binfmt.require(tmp_path / "nothing") == binfmt.Registration()
    if os.geteuid() == 0:
        assert binfmt.register(tmp_path / "nothing") == []


def test_what_asks_for_a_loader(tmp_path: Path) -> None:
    assert not emulation.is_static(Path("/bin/ls"))
    (tmp_path / "program").write_bytes(emulation.aarch64_program())
    assert emulation.is_static(tmp_path / "program")
    for content in (b"", b"#!/bin/sh\n" + b" " * 100, emulation.aarch64_header(emulation.ET_EXEC)):
        (tmp_path / "other").write_bytes(content)
        assert not emulation.is_static(tmp_path / "other")
    cut = emulation.aarch64_header(emulation.ET_EXEC, segments=9)
    (tmp_path / "cut").write_bytes(cut)
    assert not emulation.is_static(tmp_path / "cut")
    with pytest.raises(OSError, match="No such file"):
        emulation.is_static(tmp_path / "nothing")


@needs_static
def test_the_static_emulator_asks_for_no_loader() -> None:
    assert emulation.is_static(Path(str(STATIC)))


@needs_static
def test_our_program_is_one(tmp_path: Path) -> None:
    program = tmp_path / "exit"
    program.write_bytes(emulation.aarch64_program())
    program.chmod(0o755)
    assert subprocess.run([str(STATIC), str(program)], check=False).returncode == 0


def test_registering_takes_root(kernel: Path) -> None:
    with without_root(), pytest.raises(HostError, match="takes root") as raised:
        binfmt.register(kernel)
    assert raised.value.hint == binfmt.fix_command()


@needs_root
def test_no_static_emulator_is_installed(
    monkeypatch: pytest.MonkeyPatch, kernel: Path, tmp_path: Path
) -> None:
    # The name alone proves nothing.
    (tmp_path / "qemu-aarch64-static").symlink_to("/bin/ls")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="no statically linked QEMU") as raised:
        binfmt.register(
            kernel, filesystems=tmp_path / "filesystems", distribution=tmp_path / "nothing"
        )
    assert raised.value.hint == "sudo apt-get install qemu-user-static"


@needs_root
@needs_static
def test_a_kernel_that_refuses(kernel: Path) -> None:
    (kernel / "register").unlink()
    (kernel / "register").mkdir()
    with pytest.raises(HostError, match="the kernel refused to change") as raised:
        binfmt.register(kernel, filesystems=kernel.parent / "filesystems")
    assert "--privileged" in str(raised.value.hint)


@needs_root
@needs_static
def test_registering_that_changed_nothing(kernel: Path) -> None:
    """A folder is no kernel: the line is written, and still no handler is there."""
    (kernel / "register").chmod(0o600)
    with pytest.raises(HostError, match="to no avail: the kernel knows no interpreter"):
        binfmt.register(kernel, filesystems=kernel.parent / "filesystems")
    assert (kernel / "register").read_text() == binfmt.registration_line()


def test_the_line_is_the_distributions_where_that_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    static = tmp_path / "qemu-aarch64"
    static.write_bytes(emulation.aarch64_program())
    static.chmod(0o755)
    own = tmp_path / "qemu-aarch64.conf"
    monkeypatch.setenv("PATH", str(tmp_path))
    for line, taken in (
        (f":qemu-aarch64:M::\\x7fELF:\\xff:{static}:OPF", True),
        (f":qemu-aarch64:M::\\x7fELF:\\xff:{static}:OP", False),
        (":qemu-aarch64:M::\\x7fELF:\\xff:/bin/ls:OPF", False),
        ("odd", False),
        ("", False),
    ):
        own.write_text(f"# a comment\n\n{line}\n")
        assert (binfmt.registration_line(own) == line) is taken
    assert binfmt.registration_line(own) == (
        ":qemu-aarch64:M:0:"
        r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:"
        r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:"
        f"{static}:F"
    )


# A user namespace has a binfmt_misc of its own since Linux 6.7: what is
# registered there is gone with the process and never this machine's.
PRIVATELY = ("unshare", "--user", "--map-root-user", "--mount", "--")
MOUNT = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc"
EMPTY = "test ! -e /proc/sys/fs/binfmt_misc/qemu-aarch64"

REGISTER = """if True:
    from pathlib import Path
    from pibench.targets import binfmt
    def problems():
        return " ".join(problem.text for problem in binfmt.check().problems)
    kernels = binfmt.DIRECTORY
    assert "knows no interpreter" in problems(), problems()
    (done,) = binfmt.register()
    assert "registered qemu-aarch64" in done, done
    assert binfmt.check().qemu_version == binfmt.version_in_force() is not None
    assert binfmt.register() == []
    (kernels / "status").write_text("0")
    assert "switched off" in problems(), problems()
    assert binfmt.register() == ["switched binfmt_misc on"]
    (kernels / "qemu-aarch64").write_text("0")
    assert problems() == "the handler qemu-aarch64 is disabled", problems()
    removed, registered = binfmt.register()
    assert "did not serve" in removed, removed
    line = binfmt.registration_line().replace("qemu-aarch64:M", "later:M")
    (kernels / "register").write_text(line.rpartition(":")[0] + ":P")
    assert "later lacks the flag F" in problems(), problems()
    binfmt.register()
    (kernels / "qemu-aarch64").write_text("-1")
    binfmt.register(distribution=Path("/nowhere"))
    assert binfmt.check().handler.flags == "F", binfmt.check()
"""


@needs_static
def test_registering_with_a_kernel(programs: Path) -> None:
    (programs / "unshare").unlink()
    private = [*PRIVATELY, "sh", "-c", f'{MOUNT} && {EMPTY} && exec "$0" "$@"']
    if subprocess.run([*private, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here, or none with a binfmt_misc of its own")
    done = subprocess.run(
        [*private, sys.executable, "-c", REGISTER],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
