"""A plain Debian 12 for arm64 in QEMU, as a Pi's owner would reach it: sshd, Python, no Caffe.

    with booted(builder) as guest:
        guest.port, guest.known_hosts, guest.identity     # ssh -p PORT -i IDENTITY pi@127.0.0.1

The image is built once (about 20 s and 20 MB to fetch) and kept in pibench's
cache; a boot takes about 10 s. What is written in a guest is gone when it ends.
Programs in /home/pi/bin are on its user's PATH, /mnt is a disk of 24 MiB, and on
`port_32_bit` answers the same sshd as under a 32-bit kernel (`uname -m`: armv8l), on
`port_slice` one in a control group (version 2) of 300 MiB.
Its root file system is Debian's own packages unpacked; the kernel is the one
of pibench's VM. `virt` by default; with machine="raspi3b" QEMU's model of the
board, whose device tree contains "Raspberry Pi 3 Model B".
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pibench.images import store
from pibench.images.apt import Apt
from pibench.images.build import Builder, make_disk
from pibench.images.initrd import MODULES, module_files, write_initrd
from pibench.images.recipe import file_sha256, fingerprint
from pibench.images.rootfs import unpack
from pibench.process import run, running
from pibench.targets.vm.machine import KERNEL_ARGUMENTS

FORMAT = 7
# One of its servers runs in a group with a memory limit.
ARGUMENTS = tuple(word for word in KERNEL_ARGUMENTS if word != "cgroup_disable=memory")
INIT = Path(__file__).with_name("guest-init")
SUITE = "bookworm"
PACKAGES = ("openssh-server", "python3", "busybox-static")
# Dependencies in the packaging sense that sshd and Python never open.
LEAVE_OUT = frozenset(
    {
        "libperl5.36",
        "perl-modules-5.36",
        "perl",
        "perl-base",
        "dpkg",
        "passwd",
        "tar",
        "procps",
        "libdb5.3",
        "adduser",
        "libpam-runtime",
        "debconf",
        "ucf",
        "init-system-helpers",
        "sysvinit-utils",
        "usrmerge",
        "sensible-utils",
        "lsb-base",
        "libfile-find-rule-perl",
        "libtext-glob-perl",
        "libnumber-compare-perl",
        "media-types",
        "gcc-12-base",
        "libaudit-common",
        "libsemanage-common",
        "runit-helper",
    }
)
NETWORK_MODULES = ("virtio_net", "virtio_rng", "dwc2", "cdc_ether", "rndis_host", "bcm2835_rng")
FREE_BYTES = 768 << 20
SMALL_BYTES = 24 << 20
BOOT_DEADLINE_S = 120.0
SSHD_CONFIG = """\
PidFile none
SetEnv PATH=/home/pi/bin:/usr/local/bin:/usr/bin:/bin
HostKey /etc/ssh/host_key
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
Subsystem sftp /usr/lib/openssh/sftp-server
"""
USERS = """\
root:x:0:0:root:/root:/bin/sh
sshd:x:100:65534::/run/sshd:/bin/false
pi:x:1000:1000::/home/pi:/bin/sh
nobody:x:65534:65534::/nonexistent:/bin/false
"""


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A guest that runs: where its sshd is, and what to reach it with."""

    process: subprocess.Popen[bytes]
    port: int
    port_32_bit: int
    port_slice: int
    identity: Path
    known_hosts: Path
    log: Path

    @property
    def url(self) -> str:
        return f"ssh://pi@127.0.0.1:{self.port}"

    def sh(self, command: str, *, check: bool = True) -> str:
        """What a command prints that runs there by the system's own ssh."""
        options = (f"UserKnownHostsFile={self.known_hosts}", "BatchMode=yes", "LogLevel=ERROR")
        argv = [
            *("ssh", "-F", "none", "-p", str(self.port), "-i", str(self.identity)),
            *(word for option in options for word in ("-o", option)),
            *("pi@127.0.0.1", command),
        ]
        return run(argv, deadline_s=60, check=check).stdout


def image(builder: Builder) -> Path:
    """The folder with kernel, initial RAM disk, disk and keys; built where it is not there yet."""
    kernel = builder.sysroot().content / "kernel"
    key = fingerprint([FORMAT, SUITE, PACKAGES, file_sha256(INIT), builder.key("sysroot")])

    def build(content: Path, work: Path) -> None:
        recipe = replace(builder.recipe, suite=SUITE)
        apt = Apt(work / "apt", recipe, "arm64")
        apt.update()
        wanted = [p for p in apt.resolve(PACKAGES) if p.name not in LEAVE_OUT]
        apt.download(wanted, work / "debs")
        root = work / "root"
        unpack(sorted((work / "debs").glob("*.deb")), root)
        _settle(root, content)
        if sys.version_info[:2] == (3, 11):
            # As the package's script would; a Python of another version writes other byte code.
            compiling = [sys.executable, "-m", "compileall", "-q", "-j", "0", "-s", str(root)]
            unchecked = ["--invalidation-mode", "unchecked-hash", str(root / "usr/lib/python3.11")]
            run([*compiling, *unchecked], deadline_s=120, check=False)
        make_disk(root, content / "root.ext4", free_bytes=FREE_BYTES)
        (work / "small").mkdir()
        make_disk(work / "small", content / "small.ext4", free_bytes=SMALL_BYTES)
        release = next((kernel / "lib/modules").iterdir()).name
        shutil.copy2(kernel / "vmlinuz", content)
        for tree in kernel.glob("*.dtb"):
            shutil.copy2(tree, content)
        write_initrd(
            content / "initrd.gz",
            init=INIT,
            busybox=root / "bin/busybox",
            modules=module_files(kernel, release, (*MODULES, *NETWORK_MODULES)),
        )

    found, _ = store.ensure("guest", key, builder.lock.digest("arm64"), build)
    return found.content


def _settle(root: Path, content: Path) -> None:
    """What the packages' scripts would have done, and a user with a key."""
    for name in ("identity", "host_key"):
        key = content / name
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], deadline_s=30)
    for folder in ("proc", "sys", "dev", "tmp", "run/sshd", "mnt", "root", "home/pi/.ssh", "etc"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "run/sshd").chmod(0o755)
    (root / "home/pi/.ssh").chmod(0o700)
    (root / "etc/passwd").write_text(USERS)
    (root / "etc/group").write_text("root:x:0:\npi:x:1000:\nnogroup:x:65534:\n")
    (root / "etc/shadow").write_text("root:*:1::::::\nsshd:*:1::::::\npi:*:1::::::\n")
    (root / "etc/ssh/sshd_config").write_text(SSHD_CONFIG)
    shutil.copy2(content / "host_key", root / "etc/ssh/host_key")
    (root / "etc/ssh/host_key").chmod(0o600)
    shutil.copy2(content / "identity.pub", root / "home/pi/.ssh/authorized_keys")


@contextlib.contextmanager
def booted(
    builder: Builder, folder: Path, *, machine: Literal["virt", "raspi3b"] = "virt", cores: int = 4
) -> Iterator[Guest]:
    """A guest that answers on a port of this machine, ended with the block."""
    files = image(builder)
    port, port_32_bit, port_slice = free_port(), free_port(), free_port()
    log = folder / "console"
    known_hosts = folder / "known_hosts"
    host_key = (files / "host_key.pub").read_text()
    known_hosts.write_text(
        "".join(f"[127.0.0.1]:{number} {host_key}" for number in (port, port_32_bit, port_slice))
    )
    # In the cache the key may be readable by others, which ssh refuses.
    identity = folder / "identity"
    shutil.copy2(files / "identity", identity)
    identity.chmod(0o600)
    arguments = _virt(files, cores) if machine == "virt" else _board(files, folder)
    console = "ttyAMA0" if machine == "virt" else "ttyS1"
    ports = {port: 22, port_32_bit: 32, port_slice: 33}
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in ports.items())
    argv = [
        *("qemu-system-aarch64", "-machine", machine, "-nodefaults", "-no-user-config"),
        *("-nographic", "-no-reboot", "-accel", "tcg,thread=single,tb-size=256"),
        *("-kernel", str(files / "vmlinuz"), "-initrd", str(files / "initrd.gz")),
        *("-append", " ".join([f"console={console},115200", *ARGUMENTS])),
        *("-netdev", f"user,id=net,restrict=on{forwards}"),
        *arguments,
    ]
    with (
        log.open("wb") as console_file,
        running(argv, stdout=console_file, stderr=console_file) as qemu,
    ):
        _wait_for_sshd(qemu, port, log)
        yield Guest(
            process=qemu,
            port=port,
            port_32_bit=port_32_bit,
            port_slice=port_slice,
            identity=identity,
            known_hosts=known_hosts,
            log=log,
        )


def _virt(files: Path, cores: int) -> list[str]:
    return [
        *("-cpu", "cortex-a53", "-smp", str(cores), "-m", "1024M", "-serial", "stdio"),
        *_disk("root", files / "root.ext4"),
        *_disk("small", files / "small.ext4"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *("-device", "virtio-rng-pci"),
    ]


def _disk(name: str, path: Path) -> list[str]:
    drive = f"if=none,id={name},file={path},format=raw,snapshot=on"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name}"]


def _board(files: Path, folder: Path) -> list[str]:
    # QEMU takes an SD card only in sizes that are a power of two.
    card = folder / "card.img"
    run(["cp", "--sparse=always", "--reflink=auto", files / "root.ext4", card], deadline_s=60)
    with card.open("r+b") as file:
        file.truncate(1 << (card.stat().st_size - 1).bit_length())
    return [
        *("-dtb", str(files / "bcm2837-rpi-3-b.dtb")),
        *("-serial", "null", "-serial", "stdio"),
        *("-drive", f"if=sd,file={card},format=raw"),
        *("-device", "usb-net,netdev=net"),
    ]


def _wait_for_sshd(qemu: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + BOOT_DEADLINE_S
    while time.monotonic() < end and qemu.poll() is None:
        # QEMU takes connections before anyone listens in the guest: only a greeting counts.
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=5) as tried,
        ):
            if tried.recv(8).startswith(b"SSH-2.0"):
                return
        time.sleep(0.2)
    raise AssertionError(f"the guest did not come up: {log.read_text(errors='replace')[-2000:]}")


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
