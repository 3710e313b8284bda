"""The Engine's description of itself, its faults, and who owns which container."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pibench.errors import HostError
from pibench.targets.container import engine
from pibench.targets.container.engine import (
    OWNER_LABEL,
    EngineLacksError,
    EngineLostError,
    engine_faults,
    is_orphan,
    owner_label,
)

VERSION = {"Version": "20.10.24+dfsg1", "Components": [{"Name": "Engine"}]}
INFO = {"CgroupVersion": "2", "Architecture": "x86_64", "NCPU": 8}


def connected(
    monkeypatch: pytest.MonkeyPatch, version: dict[str, Any], info: dict[str, Any] = INFO
) -> engine.EngineFacts:
    """What is found of an Engine that answers so: none is too old on purpose."""
    answers = {"version": {"ApiVersion": "1.41"} | version, "info": info}

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers[self.path.rpartition("/")[2]]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_address[1]}")
        try:
            client, facts = engine.connect()
            client.close()
        finally:
            server.shutdown()
    return facts


# ---------------------------------------------------------------- what it is


def test_docker_states_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = connected(monkeypatch, VERSION)
    assert str(facts) == "Docker Engine 20.10.24+dfsg1, cgroup v2"
    assert (facts.cores, facts.is_arm64, facts.reports_children) == (8, False, True)


@pytest.mark.parametrize("architecture", ["aarch64", "arm64"])
def test_an_arm64_engine_needs_no_emulator(
    monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    assert connected(monkeypatch, VERSION, INFO | {"Architecture": architecture}).is_arm64


def test_an_engine_that_names_no_version_of_cgroups_has_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert connected(monkeypatch, VERSION, {"NCPU": 1}).cgroup_version == "1"


@pytest.mark.parametrize("version", ["20.10", "20.10.0-rc1", "23.0.1", "28.2.2"])
def test_engines_that_are_new_enough(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    assert connected(monkeypatch, VERSION | {"Version": version}).version == version


@pytest.mark.parametrize("version", ["19.03.15", "18.09.1", "20.9", "1.13.1", "", "dev"])
def test_an_old_engine_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    with pytest.raises(HostError, match="is too old") as refused:
        connected(monkeypatch, VERSION | {"Version": version})
    assert refused.value.hint == "install 20.10 or newer"


def test_podman_counts_its_versions_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    podman = {"Version": "4.3.1", "Components": [{"Name": "Podman Engine"}, {"Name": "Conmon"}]}
    facts = connected(monkeypatch, podman)
    assert (facts.name, facts.version) == ("Podman", "4.3.1")
    assert not facts.reports_children


# ---------------------------------------------------------------- its faults


def test_no_socket_is_one_line_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    with pytest.raises(EngineLostError) as lost:
        engine.connect()
    line = lost.value.line()
    assert "\n" not in line
    assert f"unix://{tmp_path}/none" in line
    assert "No such file or directory" in line
    for way in ("systemctl start docker", "DOCKER_HOST", "pibench doctor"):
        assert way in line


@pytest.mark.parametrize("host", ["nonsense", "ftp://x", "tcp://localhost:99999"])
def test_an_invalid_host_gives_no_traceback(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(HostError) as fault:
        engine.connect()
    assert host in fault.value.message
    assert "DOCKER_HOST" in fault.value.line()


@pytest.mark.parametrize(
    ("status", "kind"), [(404, EngineLacksError), (409, HostError), (500, HostError)]
)
def test_a_refusal_has_the_engine_s_own_words_on_one_line(
    status: int, kind: type[HostError]
) -> None:
    import docker.errors
    import requests

    response = requests.Response()
    response.status_code = status
    refusal = docker.errors.APIError("refused", response, "Range of CPUs\nis from 0.01 to 2.00")
    if status == 404:
        refusal = docker.errors.NotFound("refused", response, "Range of CPUs\nis from 0.01 to 2.00")
    with pytest.raises(kind) as fault, engine_faults("to create a container"):
        raise refusal
    assert type(fault.value) is kind
    output = "the Engine refused to create a container: Range of CPUs is from 0.01 to 2.00"
    assert fault.value.message == output


def test_a_time_out_is_an_engine_that_is_lost() -> None:
    import requests

    for raised, output in (
        (requests.exceptions.ReadTimeout("read timed out"), "did not answer to start"),
        (BrokenPipeError(32, "Broken pipe"), "connection to the Engine broke to start"),
    ):
        with pytest.raises(EngineLostError, match=output), engine_faults("to start a container"):
            raise raised


def test_what_is_not_a_fault_of_the_engine_passes() -> None:
    with pytest.raises(ZeroDivisionError), engine_faults("to divide"):
        raise ZeroDivisionError


# ---------------------------------------------------------------- whose it is


def label(**changes: Any) -> str:
    return json.dumps(json.loads(owner_label()[OWNER_LABEL]) | changes)


def test_one_s_own_container_is_not_an_orphan() -> None:
    assert not is_orphan(label())


def test_the_container_of_a_process_that_ended_is_an_orphan() -> None:
    program = "from pibench.targets.container.engine import *\nprint(owner_label()[OWNER_LABEL])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(done.stdout)["pid"] != os.getpid()
    assert is_orphan(done.stdout.decode())


def test_the_container_of_another_living_process_is_not_an_orphan() -> None:
    program = (
        "from pibench.targets.container.engine import *\n"
        "print(owner_label()[OWNER_LABEL], flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        output = other.stdout.readline().decode()
        assert not is_orphan(output)
        other.kill()
    assert is_orphan(output)


def test_a_process_id_that_is_used_again_does_not_keep_it() -> None:
    ticks = json.loads(label())["started_ticks"]
    assert is_orphan(label(started_ticks=ticks - 1))


def test_a_machine_that_was_started_again_has_no_owners_of_before() -> None:
    assert is_orphan(label(boot="00000000-0000-0000-0000-000000000000"))


def test_another_machine_s_containers_are_its_own() -> None:
    assert not is_orphan(label(host="f" * 16))
    assert not is_orphan(label(host="f" * 16, boot="x", pid=1, started_ticks=0))


@pytest.mark.parametrize(
    "garbage",
    ["", "{", "null", "[]", "3", '"x"', "{}", '{"host": 1}', label(pid="x"), label(pid=None)],
)
def test_a_label_that_cannot_be_read_condemns_nobody(garbage: str) -> None:
    assert not is_orphan(garbage)


def test_the_host_in_the_label_is_not_for_reading() -> None:
    named = json.loads(label())
    assert len(named["host"]) == 16
    machine_id = Path("/etc/machine-id")
    identity = machine_id.read_text().strip() if machine_id.exists() else ""
    assert not identity or identity[:16] not in owner_label()[OWNER_LABEL]
