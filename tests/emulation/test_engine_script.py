"""scripts/start-docker-engine.sh: the Engine that it starts keeps nothing of its caller."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulation.engines import require_means
from tests.mounts import require_mounts

pytestmark = pytest.mark.emulation
SCRIPT = Path(__file__).resolve().parents[2] / "scripts/start-docker-engine.sh"
# No network of its own, so that the machine's Engine keeps its bridge.
CONFIGURATION = {"bridge": "none", "iptables": False, "ip6tables": False}
# In name spaces of its own, whose first process takes the Engine along when it ends. The machine's
# Engine is out of sight, and the new one's files are in memory.
STARTED = """\
for folder in /run /var/log /var/lib/docker /etc/docker; do mount -t tmpfs tmpfs $folder; done
printf %s "$CONFIGURATION" >/etc/docker/daemon.json
flock "$1/lock" "$2" "$3" 7>"$1/other" 12>"$1/third" || { cat /var/log/dockerd.log; exit 1; }
flock --nonblock "$1/lock" echo released || true
pid=$(cat /run/docker.pid)
echo "output $(readlink /proc/$$/fd/1)"
echo "session $(ps -o sid= -p "$pid" | tr -d ' ') of $pid"
for engine in $(pgrep -x 'dockerd|containerd'); do
    for file in /proc/$engine/fd/*; do echo "file $(readlink "$file")"; done
done
"""


@pytest.fixture(scope="module")
def caller_output(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The lines of a caller that keeps a lock, two files and a pipe while the script runs."""
    require_means()
    require_mounts()
    for folder in ("/etc/docker", "/var/lib/docker"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    own = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    folder = tmp_path_factory.mktemp("caller")
    done = subprocess.run(
        [*own, "sh", "-ec", STARTED, "sh", folder, SCRIPT, sys.executable],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CONFIGURATION": json.dumps(CONFIGURATION)},
    )
    return done.stdout.splitlines()


def test_a_lock_of_the_caller_is_released(caller_output: list[str]) -> None:
    assert "released" in caller_output


def test_no_file_of_the_caller_stays_open(caller_output: list[str]) -> None:
    files = [line.removeprefix("file ") for line in caller_output if line.startswith("file ")]
    assert "/var/log/dockerd.log" in files
    (pipe,) = (line.removeprefix("output ") for line in caller_output if line.startswith("output "))
    assert pipe not in files
    assert not [file for file in files if "/caller" in file]


def test_it_has_a_session_of_its_own(caller_output: list[str]) -> None:
    (line,) = (line for line in caller_output if line.startswith("session "))
    _, session, _, pid = line.split()
    assert session == pid
