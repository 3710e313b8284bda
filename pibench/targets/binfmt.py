"""How this machine's kernel runs aarch64 programs, and how to make it run them by QEMU.

Sources: the kernel's Documentation/admin-guide/binfmt-misc.rst and
fs/binfmt_misc.c; QEMU's documentation of user mode emulation.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from pibench.errors import HostError
from pibench.process import run
from pibench.targets import emulation
from pibench.targets.emulation import ET_DYN, ET_EXEC, aarch64_header, aarch64_program, is_static
from pibench.targets.sandbox import scratch

DIRECTORY = Path("/proc/sys/fs/binfmt_misc")
FILESYSTEMS = Path("/proc/filesystems")
PACKAGE = "qemu-user-static"
"""Debian's package of the static emulator. Since Debian 13 it is empty and depends on qemu-user,
which is static there."""

_QEMU = re.compile(r"qemu-\S+ version \S+.*")
_DEADLINE_S = 10.0
# The kernel compares these headers: programs as they are linked by default (PIE), and as
# Debian 11's Python is (not PIE).
_PROGRAMS = (aarch64_header(ET_EXEC), aarch64_header(ET_DYN))

NAME = "qemu-aarch64"
DISTRIBUTIONS_OWN = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
"""The file by which Debian's package registers QEMU itself on a machine that runs systemd."""
# e_ident up to the padding, e_type and e_machine. Not compared are the ABI (byte 7: GNU's for
# some static programs) and the last bit of e_type, which separates ET_EXEC (2) from ET_DYN (3).
_MAGIC = aarch64_header(ET_EXEC)[:20]
_MASK = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"
_MOUNT_DEADLINE_S = 30.0
_REFUSED = "in a container, do it on the host, or start the container with --privileged"


@dataclass(frozen=True, kw_only=True)
class Handler:
    """One registered handler, as the kernel's file of that name shows it.

    `magic` is compared under `mask` (None: all bits) at `offset` bytes from a
    file's start. A handler by file name extension has an empty magic.
    """

    name: str
    enabled: bool
    interpreter: Path
    flags: str
    offset: int = 0
    magic: bytes = b""
    mask: bytes | None = None

    def takes(self, header: bytes) -> bool:
        """Return whether this handler matches a file that begins with `header`."""
        mask = self.mask or b"\xff" * len(self.magic)
        # The kernel compares the first 256 bytes, with zeros where the file is shorter.
        part = header.ljust(256, b"\0")[self.offset : self.offset + len(self.magic)]
        same = all((a ^ b) & m == 0 for a, b, m in zip(part, self.magic, mask, strict=False))
        return bool(self.magic) and len(part) == len(self.magic) and same


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why a container for arm64 would not run, and the command that fixes it."""

    text: str
    fix: str


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What the kernel does with an aarch64 program.

    `handler` is the one that matches it, None where none does or none is
    needed; `qemu_version` is the first line of QEMU's `--version`.
    """

    handler: Handler | None = None
    qemu_version: str | None = None
    problems: tuple[Problem, ...] = ()


def fix_command() -> str:
    """Return the command that registers QEMU.

    It contains the full path of this Python: sudo's path does not include a virtual environment.
    """
    return f"sudo {sys.executable} -m pibench doctor --fix"


def parse(name: str, text: str) -> Handler:
    """Read a handler's file: `enabled` or `disabled`, then one key and its value per line.

    Raises HostError when the text is not in the kernel's format.
    """
    state, *lines = text.splitlines() or [""]
    values = dict(line.partition(" ")[::2] for line in lines)
    try:
        return Handler(
            name=name,
            enabled={"enabled": True, "disabled": False}[state],
            interpreter=Path(values["interpreter"]),
            flags=values.get("flags:", "").strip(),
            offset=int(values.get("offset", "0")),
            magic=bytes.fromhex(values.get("magic", "")),
            mask=bytes.fromhex(values["mask"]) if "mask" in values else None,
        )
    except (KeyError, ValueError):
        raise HostError(
            f"the binfmt_misc handler {name} is not written as Linux does so far",
            hint=f"look at it: cat {DIRECTORY / name}",
        ) from None


def handlers(directory: Path = DIRECTORY) -> list[Handler]:
    """Return all registered handlers, the latest first: the order in which the kernel tries them.

    The kernel does not show the order. A file's time is the time of its registration, to
    some milliseconds, unless someone has changed it since. The order of two handlers
    with the same time cannot be known.
    """
    files = [path for path in directory.iterdir() if path.name not in ("status", "register")]
    files.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [parse(path.name, path.read_text(errors="replace")) for path in files]


def check(directory: Path = DIRECTORY, *, filesystems: Path = FILESYSTEMS) -> Registration:
    """Find out what the kernel would do with an aarch64 program in a container.

    With the flag F the kernel keeps the file that it opened at registration. The
    path it shows may since lead to another file (after an upgrade), or to none (if it
    was registered from within a container). So an aarch64 program is run first, and the
    file at that path is judged only where this was not possible.
    """
    try:
        if not (directory / "status").exists():
            return Registration(problems=(_absence(filesystems),))
        problems = []
        if (directory / "status").read_text().strip() != "enabled":
            problems.append(_problem("binfmt_misc is switched off for the whole machine"))
        takers = [
            handler
            for handler in handlers(directory)
            if all(handler.takes(header) for header in _PROGRAMS)
        ]
    except OSError as error:
        place = error.filename or directory
        return Registration(problems=(_problem(f"{place} cannot be read ({error.strerror})"),))
    except HostError as error:
        return Registration(problems=(_problem(error.message),))
    handler = next((taker for taker in takers if taker.enabled), None)
    if handler is None:
        off = f"the handler {takers[0].name} is disabled" if takers else None
        problems.append(_problem(off or "the kernel knows no interpreter for aarch64 programs"))
        return Registration(problems=tuple(problems))
    if "F" not in handler.flags:
        problems.append(
            _problem(
                f"the handler {handler.name} lacks the flag F: its interpreter "
                f"{handler.interpreter} would be looked for inside the container"
            )
        )
    version = None if problems else version_in_force()
    if version is None:
        version, wrong = _judge(handler.interpreter)
        problems += wrong
    return Registration(handler=handler, qemu_version=version, problems=tuple(problems))


def require(directory: Path = DIRECTORY, *, filesystems: Path = FILESYSTEMS) -> Registration:
    """Return what `check` finds, for a target that runs containers for arm64.

    Raises HostError with the first problem and its fix.
    """
    if not emulation.needed():
        return Registration()
    registration = check(directory, filesystems=filesystems)
    for problem in registration.problems:
        raise HostError(
            f"this machine cannot run arm64 containers: {problem.text}", hint=problem.fix
        )
    return registration


def version_in_force() -> str | None:
    """Return the version of the QEMU that the kernel starts for aarch64 programs in an empty root.

    None where that is not possible: no user namespaces, no handler, an interpreter
    that needs further files, or one that is not QEMU. Only QEMU reads the
    environment variable QEMU_VERSION (linux-user/main.c).
    """
    try:
        with scratch("binfmt") as root:
            program = root / "exit"
            program.write_bytes(aarch64_program())
            program.chmod(0o755)
            command = ["unshare", "--map-root-user", "--root", str(root), "/exit"]
            env = {"QEMU_VERSION": "1"}
            done = run(command, env=env, deadline_s=_DEADLINE_S, check=False)
    except (HostError, OSError):
        return None
    return _version_line(done.stdout)


def _judge(interpreter: Path) -> tuple[str | None, list[Problem]]:
    """Return the version that the file at this path reports, and its problems."""
    try:
        static = is_static(interpreter)
    except OSError as error:
        text = f"the interpreter {interpreter} cannot be read ({error.strerror})"
        return None, [_problem(text, install=True)]
    problems = []
    if not static:
        text = f"the interpreter {interpreter} asks for libraries that no container has: not static"
        problems.append(_problem(text, install=True))
    # Debian registers a link whose name ends in -binfmt-P. Called by it, QEMU expects arguments
    # in the kernel's form. So the program that the link leads to is started.
    command = [str(interpreter.resolve()), "--version"]
    try:
        version = _version_line(run(command, deadline_s=_DEADLINE_S, check=False).stdout)
    except HostError:
        version = None
    if version is None:
        problems.append(_problem(f"the interpreter {interpreter} is not QEMU", install=True))
    return version, problems


def _version_line(output: str) -> str | None:
    found = _QEMU.match(output)
    return found[0] if found else None


def _absence(filesystems: Path) -> Problem:
    if any(line.split()[-1:] == ["binfmt_misc"] for line in filesystems.read_text().splitlines()):
        return _problem("binfmt_misc is not mounted")
    return _problem("the kernel has no binfmt_misc, or has not loaded the module")


def _problem(text: str, *, install: bool = False) -> Problem:
    fix = fix_command()
    return Problem(text=text, fix=f"sudo apt-get install {PACKAGE} && {fix}" if install else fix)


def register(
    directory: Path = DIRECTORY,
    *,
    filesystems: Path = FILESYSTEMS,
    distribution: Path = DISTRIBUTIONS_OWN,
) -> list[str]:
    """Let the kernel run aarch64 programs by a static QEMU.

    Nothing is done where this works already, or where this machine needs no emulation.
    Returns one line for each step that was taken. Raises HostError where it is not run as root,
    no static QEMU is installed, the kernel refuses, or such programs still do not work afterwards.
    """
    if os.geteuid() != 0:
        raise HostError("registering QEMU with the kernel takes root", hint=fix_command())
    if not emulation.needed():
        return []
    done = _mount(directory, filesystems)
    if (directory / "status").read_text().strip() != "enabled":
        _write(directory / "status", "1")
        done.append("switched binfmt_misc on")
    if not check(directory, filesystems=filesystems).problems:
        return done
    line = registration_line(distribution)
    if (directory / NAME).exists():
        _write(directory / NAME, "-1")
        done.append(f"removed the handler {NAME}, which did not serve")
    _write(directory / "register", line)
    done.append(f"registered {NAME}: {line}")
    for problem in check(directory, filesystems=filesystems).problems:
        raise HostError(
            f"QEMU was registered, but to no avail: {problem.text}",
            hint=f"look at the handlers in {directory}",
        )
    return done


def _mount(directory: Path, filesystems: Path) -> list[str]:
    """Mount binfmt_misc where it is missing; load its module first."""
    if (directory / "status").exists():
        return []
    if "binfmt_misc" not in filesystems.read_text().split():
        # The module itself creates the mount point.
        if modprobe := shutil.which("modprobe", path="/usr/sbin:/sbin"):
            run([modprobe, "binfmt_misc"], deadline_s=_MOUNT_DEADLINE_S, check=False)
        if "binfmt_misc" not in filesystems.read_text().split():
            raise HostError(
                "this kernel has no binfmt_misc, and no such module could be loaded",
                hint="in a container, load it on the host: sudo modprobe binfmt_misc; "
                "elsewhere it takes a kernel with CONFIG_BINFMT_MISC",
            )
    command = ["mount", "-t", "binfmt_misc", "binfmt_misc", str(directory)]
    tried = run(command, deadline_s=_MOUNT_DEADLINE_S, check=False)
    if tried.returncode != 0:
        reason = next(iter(tried.stderr.splitlines()), tried.ending)
        raise HostError(f"binfmt_misc could not be mounted on {directory}: {reason}", hint=_REFUSED)
    return [f"mounted binfmt_misc on {directory}"]


def registration_line(distribution: Path = DISTRIBUTIONS_OWN) -> str:
    """Return the line to register: the distribution's where its interpreter works, else pibench's.

    The flag F makes the kernel open the interpreter now, so containers do not need
    to contain it.
    """
    line = _first_line(distribution)
    # :name:type:offset:magic:mask:interpreter:flags; the first character is the separator.
    fields = line.split(line[0]) if line else []
    if len(fields) == 8 and "F" in fields[7] and _serves(Path(fields[6])):
        return line
    for program in ("qemu-aarch64-static", "qemu-aarch64"):
        found = shutil.which(program)
        if found and _serves(Path(found)):
            return f":{NAME}:M:0:{_escaped(_MAGIC)}:{_escaped(_MASK)}:{found}:F"
    raise HostError(
        "no statically linked QEMU for aarch64 is installed",
        hint=f"sudo apt-get install {PACKAGE}",
    )


def _first_line(path: Path) -> str:
    """Return the first line of a binfmt.d file that is not a comment (binfmt.d(5)), or ""."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except OSError:
        return ""
    return next((line for line in lines if line and line[0] not in "#;"), "")


def _serves(interpreter: Path) -> bool:
    try:
        return is_static(interpreter)
    except OSError:
        return False


def _escaped(value: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in value)


def _write(path: Path, text: str) -> None:
    """Write a line to the kernel, which expects it in a single write."""
    try:
        path.write_text(text)
    except OSError as error:
        raise HostError(
            f"the kernel refused to change {path}: {error.strerror}", hint=_REFUSED
        ) from None
