"""Register QEMU with the kernel for aarch64 programs, which needs root.

Source: the kernel's Documentation/admin-guide/binfmt-misc.rst.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pibench.errors import HostError
from pibench.process import run
from pibench.targets import binfmt, elf, emulation

NAME = "qemu-aarch64"
DISTRIBUTIONS_OWN = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
"""The file by which Debian's package registers QEMU itself on a machine that runs systemd."""
# e_ident up to the padding, e_type and e_machine. Not compared are the ABI (byte 7: GNU's for
# some static programs) and the last bit of e_type, which separates ET_EXEC (2) from ET_DYN (3).
_MAGIC = elf.aarch64_header(elf.ET_EXEC)[:20]
_MASK = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"
_DEADLINE_S = 30.0
_REFUSED = "in a container, do it on the host, or start the container with --privileged"


def register(
    directory: Path = binfmt.DIRECTORY,
    *,
    filesystems: Path = binfmt.FILESYSTEMS,
    distribution: Path = DISTRIBUTIONS_OWN,
) -> list[str]:
    """Let the kernel run aarch64 programs by a static QEMU.

    Nothing is done where this works already, or where this machine needs no emulation.

    Args:
        directory: where binfmt_misc is mounted.
        filesystems: the kernel's list of file systems.
        distribution: the file of binfmt.d by which the distribution registers QEMU.

    Returns:
        What was done, one line for each step.

    Raises:
        HostError: not run as root, no static QEMU is installed, the kernel refuses, or
            aarch64 programs still do not work afterwards.
    """
    if os.geteuid() != 0:
        raise HostError("registering QEMU with the kernel takes root", hint=binfmt.mend_command())
    if not emulation.needed():
        return []
    done = _mount(directory, filesystems)
    if (directory / "status").read_text().strip() != "enabled":
        _write(directory / "status", "1")
        done.append("switched binfmt_misc on")
    if not binfmt.check(directory, filesystems=filesystems).problems:
        return done
    line = registration_line(distribution)
    if (directory / NAME).exists():
        _write(directory / NAME, "-1")
        done.append(f"removed the handler {NAME}, which did not serve")
    _write(directory / "register", line)
    done.append(f"registered {NAME}: {line}")
    for problem in binfmt.check(directory, filesystems=filesystems).problems:
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
            run([modprobe, "binfmt_misc"], deadline_s=_DEADLINE_S, check=False)
        if "binfmt_misc" not in filesystems.read_text().split():
            raise HostError(
                "this kernel has no binfmt_misc, and no such module could be loaded",
                hint="in a container, load it on the host: sudo modprobe binfmt_misc; "
                "elsewhere it takes a kernel with CONFIG_BINFMT_MISC",
            )
    tried = run(
        ["mount", "-t", "binfmt_misc", "binfmt_misc", directory],
        deadline_s=_DEADLINE_S,
        check=False,
    )
    said = next(iter(tried.stderr.splitlines()), tried.ending)
    if tried.returncode != 0:
        raise HostError(
            f"binfmt_misc could not be mounted on {directory}: {said}",
            hint=_REFUSED,
        )
    return [f"mounted binfmt_misc on {directory}"]


def registration_line(distribution: Path = DISTRIBUTIONS_OWN) -> str:
    """Return the line to register: the distribution's where its interpreter works, else pibench's.

    The flag F makes the kernel open the interpreter now, so containers do not need
    to contain it.
    """
    own = _first_line(distribution)
    # :name:type:offset:magic:mask:interpreter:flags; the first character is the separator.
    fields = own.split(own[0]) if own else []
    if len(fields) == 8 and "F" in fields[7] and _serves(Path(fields[6])):
        return own
    for program in ("qemu-aarch64-static", "qemu-aarch64"):
        found = shutil.which(program)
        if found and _serves(Path(found)):
            return f":{NAME}:M:0:{_escaped(_MAGIC)}:{_escaped(_MASK)}:{found}:F"
    raise HostError(
        "no statically linked QEMU for aarch64 is installed",
        hint=f"sudo apt-get install {binfmt.PACKAGE}",
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
        return elf.is_static(interpreter)
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
