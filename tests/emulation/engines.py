"""A Docker Engine of the tests' own, to be stopped, killed, and robbed of a cgroup at will."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker.errors import DockerException

from docker import DockerClient
from pibench.process import run, running
from pibench.targets.container.engine import OWNER_LABEL

if TYPE_CHECKING:
    import subprocess

START_DEADLINE_S = 60
# A Raspberry Pi's kernel without cgroup_enable=memory has no such hierarchy at all.
WITHOUT_MEMORY_CGROUP = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'umount /sys/fs/cgroup/memory && exec "$@"',
)


# With --bridge=none dockerd deletes any docker0 that it sees, also that of the machine's Engine.
# unshare becomes dockerd: the process is the same.
OWN_NETWORK = ("unshare", "--net")


class OwnEngine:
    """A second dockerd with folders of its own and no network, next to the machine's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/s"
        self.group = f"pibench-engine-{os.getpid()}"
        self._running = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *within: str) -> None:
        """Start it, where it does not run yet; `within` is a command that runs another."""
        if self._process is not None and self._process.poll() is None:
            return
        argv = [
            *within,
            *([] if not within else ["sh"]),
            *OWN_NETWORK,
            *("dockerd", "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/x"),
            *("--pidfile", f"{self.folder}/pid", "--host", self.host),
            *("--bridge=none", "--iptables=false", "--ip6tables=false"),
            *("--cgroup-parent", f"/{self.group}"),
        ]
        # Where nobody waits for orphans, what was killed looks alive to its successor.
        for left in ("pid", "x/containerd/containerd.pid"):
            (self.folder / left).unlink(missing_ok=True)
        log = self._running.enter_context((self.folder / "log").open("ab"))
        self._process = self._running.enter_context(running(argv, stderr=log))
        end = time.monotonic() + START_DEADLINE_S
        while not self.answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < end, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.1)

    def answers(self) -> bool:
        """Whether it can be talked to."""
        with contextlib.suppress(DockerException), self.client() as client:
            return bool(client.ping())
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end; containerd goes with it."""
        os.kill(int((self.folder / "pid").read_text()), number)
        assert self._process is not None
        self._process.wait(timeout=60)

    def stop(self) -> None:
        """End it, its containers too."""
        self._running.close()
        self._process = None
        # dockerd makes its folder a mount, and one that was killed leaves it.
        run(["umount", self.folder / "data"], deadline_s=10, check=False)
        for group in Path("/sys/fs/cgroup").glob(f"*/{self.group}"):
            with contextlib.suppress(OSError):
                group.rmdir()

    def group_folder(self) -> Path:
        """The memory group around its containers, of version 1; skips where there is none."""
        top = Path("/sys/fs/cgroup/memory")
        if not top.exists():
            pytest.skip("there are no memory groups of version 1 here")
        folder = top / self.group
        folder.mkdir(exist_ok=True)
        return folder

    @contextlib.contextmanager
    def client(self):
        """The SDK's client of this Engine."""
        client = DockerClient(base_url=self.host, timeout=60)
        try:
            yield client
        finally:
            client.close()


def own_containers(client: DockerClient) -> list[str]:
    """The ids of all containers of pibench, whoever's."""
    found = client.api.containers(all=True, filters={"label": OWNER_LABEL})
    return [container["Id"] for container in found]


def owned_by(client: DockerClient, pid: int) -> list[str]:
    """The ids of the containers of one process."""
    found = client.api.containers(all=True, filters={"label": OWNER_LABEL})
    mark = f'"pid": {pid},'
    return [container["Id"] for container in found if mark in container["Labels"][OWNER_LABEL]]


def require_means() -> None:
    """Skip where no Engine can be started."""
    if os.geteuid() != 0:
        pytest.skip("an Engine of the tests' own takes root")
    if shutil.which("dockerd") is None:
        pytest.skip("there is no dockerd here")
