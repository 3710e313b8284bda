"""Where cells go when there are many machines."""

from __future__ import annotations

import socket

import pytest

from pibench.errors import HostError
from pibench.sweeps import matrix
from pibench.sweeps.execute import workers
from pibench.target_kinds import kind_of_spec


@pytest.mark.parametrize(
    ("target", "tag"),
    [
        ("container", "docker"),
        ("vm", "vm"),
        ("native", "rpi3b"),
        ("ssh://pi@board", "ssh"),
        ("twin", "twin"),
    ],
)
def test_the_tag_that_a_worker_needs(target: str, tag: str) -> None:
    ((cell, _, _),) = matrix.cells(matrix.of({"networks": "NIN", "target": target}, "here"))
    assert kind_of_spec(cell.options.target).tag(cell.options.device) == tag


def test_one_who_never_answers_is_not_waited_for() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(HostError, match="no Dask scheduler at tcp:"),
        workers(f"tcp://127.0.0.1:{silent.getsockname()[1]}", 1, lambda _: None, connect_s=0.5),
    ):
        pass


def test_nobody_at_the_address() -> None:
    with (
        pytest.raises(HostError, match="no Dask scheduler at tcp:"),
        workers("tcp://127.0.0.1:1", 1, lambda _: None, connect_s=0.5),
    ):
        pass
