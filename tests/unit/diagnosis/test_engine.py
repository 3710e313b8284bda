"""What `doctor` reports about the Docker Engine: one that answers, one that hangs, and none."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pibench import diagnosis
from pibench.diagnosis import Finding

VERSION = {"Version": "20.10.24+dfsg1", "ApiVersion": "1.41"}
INFO = {
    "CgroupVersion": "2",
    "NCPU": 4,
    "MemTotal": 8 << 30,
    "MemoryLimit": True,
    "SwapLimit": True,
}


@pytest.fixture(autouse=True)
def _no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)


class Answers(BaseHTTPRequestHandler):
    """The Engine API as far as it is asked."""

    def do_GET(self) -> None:
        body = json.dumps(VERSION if self.path.endswith("/version") else INFO).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_address[1]}")
        yield
        server.shutdown()


def asked(deadline_s: float = 20.0) -> Finding:
    (finding,) = diagnosis.ask_engine(deadline_s)()
    assert finding.name == "docker engine"
    return finding


@pytest.mark.usefixtures("answering")
def test_an_engine_that_answers() -> None:
    finding = asked()
    assert finding.state == "ok"
    assert finding.found.startswith("20.10.24+dfsg1 at tcp://127.0.0.1:")
    assert finding.found.endswith(", cgroup v2, 4 CPUs, 8.0 GiB")


def test_a_socket_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    finding = asked()
    assert finding.state == "missing"
    assert finding.found == f"unix://{tmp_path}/none.sock: No such file or directory"
    assert finding.fix == "correct or unset DOCKER_HOST"


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("tcp://127.0.0.1:1", "Connection refused"),
        ("smoke://signals", "Invalid bind address protocol"),
    ],
)
def test_a_host_that_is_none(monkeypatch: pytest.MonkeyPatch, host: str, message: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    finding = asked()
    assert message in finding.found
    assert finding.fix == "correct or unset DOCKER_HOST"


def test_an_engine_that_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "hung.sock"))
        server.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/hung.sock")
        before = time.monotonic()
        finding = asked(0.3)
        assert time.monotonic() - before < 2.0
    assert finding.state == "missing"
    assert finding.found.endswith("does not answer")


def test_what_mends_the_default_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fix(error: OSError, *, systemd: Path = tmp_path / "none") -> str:
        return diagnosis.explain(error, systemd=systemd)[1]

    gone = FileNotFoundError(2, "No such file or directory")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "dockerd").touch(mode=0o755)
    assert fix(gone, systemd=tmp_path) == "start it: sudo systemctl start docker"
    assert fix(TimeoutError(), systemd=tmp_path) == "restart it: sudo systemctl restart docker"
    assert fix(gone) == "start it: sudo dockerd &"
    assert "usermod -aG docker" in fix(PermissionError(13, "Permission denied"))
    (tmp_path / "dockerd").unlink()
    if shutil.which("dockerd", path="/usr/sbin:/sbin"):
        return
    assert diagnosis.explain(gone) == ("not installed", "sudo apt-get install docker.io")


def test_a_socket_that_one_may_not_use() -> None:
    """The SDK wraps the system's error several times over."""
    denied = RuntimeError("Error while fetching server API version")
    denied.__context__ = ConnectionError("Connection aborted.")
    denied.__context__.__context__ = PermissionError(13, "Permission denied")
    problem, fix = diagnosis.explain(denied)
    assert problem == "unix:///var/run/docker.sock: Permission denied"
    for way in ('sudo usermod -aG docker "$USER"', "run with sudo", "DOCKER_HOST"):
        assert way in fix


@pytest.mark.parametrize(
    ("version", "info", "states", "message"),
    [
        ({"Version": "19.03", "ApiVersion": "1.40"}, {}, ["missing"], "too old"),
        ({}, {"MemoryLimit": False}, ["missing"], "cannot limit memory"),
        ({}, {"SwapLimit": False}, ["ok", "optional"], "20.10.24"),
        # Podman's service goes by a version of its own and names the API that it follows.
        ({"Version": "4.3.1", "ApiVersion": "1.41"}, {}, ["ok"], "4.3.1 at unix:///var/run"),
    ],
)
def test_what_an_engine_must_be_able_to_do(
    version: dict[str, Any], info: dict[str, Any], states: list[str], message: str
) -> None:
    findings = diagnosis.judge_engine(VERSION | version, INFO | info)
    assert [finding.state for finding in findings] == states
    assert message in findings[0].found


def test_an_engine_without_a_version() -> None:
    (finding,) = diagnosis.judge_engine({}, {})
    assert finding.state == "missing"
    assert "of unknown version" in finding.found
