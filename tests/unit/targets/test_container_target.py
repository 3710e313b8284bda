"""A container's probe is believed only if the cap was attested before."""

from __future__ import annotations

import json
import threading
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from pibench import devices
from pibench.targets.container import target
from pibench.targets.container.cell import Ending
from pibench.targets.container.engine import EngineFacts
from pibench.targets.container.limits import CapNotInForceError
from pibench.targets.probe_session import ProbeSession

if TYPE_CHECKING:
    from pibench.images.build import Builder


def frame(event: dict[str, Any]) -> bytes:
    """An event as the probe writes it."""
    text = json.dumps(event).encode()
    return b"\nPIBENCH %08x %s\n" % (zlib.crc32(text), text)


def test_no_result_counts_without_the_cap(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, probe_result: dict[str, Any]
) -> None:
    def run_container(_client: Any, _order: Any, hear: Any, *_: Any) -> Ending:
        # The hello was lost on the way.
        hear(frame({"event": "result", "id": "0", "result": probe_result}))
        return Ending(died=None, exit_code=0, oom_killed=False)

    monkeypatch.setattr(target, "run_container", run_container)
    container = target.ContainerTarget(devices.load("rpi3b"), cast("Builder", None))
    container._client = cast("Any", object())
    container._facts = EngineFacts(
        name="Docker Engine", version="20.10", cgroup_version="1", architecture="x86_64", cores=2
    )
    session = ProbeSession()
    with pytest.raises(CapNotInForceError):
        container._run(tmp_path, container._limits(0), session, threading.Event())
