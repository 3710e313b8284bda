"""How this machine's kernel runs aarch64 programs, read from its files under binfmt_misc.

Sources: the kernel's Documentation/admin-guide/binfmt-misc.rst and
fs/binfmt_misc.c; QEMU's documentation of user mode emulation.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from pibench.errors import HostError
from pibench.process import run
from pibench.targets import elf, emulation
from pibench.targets.scratch import scratch

DIRECTORY = Path("/proc/sys/fs/binfmt_misc")
FILESYSTEMS = Path("/proc/filesystems")
PACKAGE = "qemu-user-static"
"""Debian's package of the static emulator. Since Debian 13 it is empty and depends on qemu-user,
which is static there."""

_QEMU = re.compile(r"qemu-\S+ version \S+.*")
_DEADLINE_S = 10.0
# The kernel compares these headers: programs as they are linked by default (PIE), and as
# Debian 11's Python is (not PIE).
_PROGRAMS = (elf.aarch64_header(elf.ET_EXEC), elf.aarch64_header(elf.ET_DYN))


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


def mend_command() -> str:
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

    Args:
        directory: where binfmt_misc is mounted.
        filesystems: the kernel's list of file systems.
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
            program.write_bytes(elf.aarch64_program())
            program.chmod(0o755)
            done = run(
                ["unshare", "--map-root-user", "--root", root, "/exit"],
                env={"QEMU_VERSION": "1"},
                deadline_s=_DEADLINE_S,
                check=False,
            )
    except (HostError, OSError):
        return None
    return _version_line(done.stdout)


def _judge(interpreter: Path) -> tuple[str | None, list[Problem]]:
    """Return the version that the file at this path reports, and its problems."""
    try:
        static = elf.is_static(interpreter)
    except OSError as error:
        text = f"the interpreter {interpreter} cannot be read ({error.strerror})"
        return None, [_problem(text, install=True)]
    problems = []
    if not static:
        text = f"the interpreter {interpreter} asks for libraries that no container has: not static"
        problems.append(_problem(text, install=True))
    # Debian registers a link whose name ends in -binfmt-P. Called by it, QEMU expects arguments
    # in the kernel's form. So the program that the link leads to is started.
    try:
        said = run(
            [str(interpreter.resolve()), "--version"], deadline_s=_DEADLINE_S, check=False
        ).stdout
    except HostError:
        said = ""
    version = _version_line(said)
    if version is None:
        problems.append(_problem(f"the interpreter {interpreter} is not QEMU", install=True))
    return version, problems


def _version_line(said: str) -> str | None:
    found = _QEMU.match(said)
    return found[0] if found else None


def _absence(filesystems: Path) -> Problem:
    if any(line.split()[-1:] == ["binfmt_misc"] for line in filesystems.read_text().splitlines()):
        return _problem("binfmt_misc is not mounted")
    return _problem("the kernel has no binfmt_misc, or has not loaded the module")


def _problem(text: str, *, install: bool = False) -> Problem:
    fix = mend_command()
    return Problem(text=text, fix=f"sudo apt-get install {PACKAGE} && {fix}" if install else fix)
