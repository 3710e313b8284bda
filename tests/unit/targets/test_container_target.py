"""A container's probe is believed only if the cap was attested before."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from pibench import devices
from pibench.targets.container import attesting
from pibench.targets.container.cell import CapNotInForceError, limits_for
from pibench.targets.probe_session import ProbeSession


def frame(event: dict[str, Any]) -> bytes:
    """An event as the probe writes it."""
    text = json.dumps(event).encode()
    return b"\nPIBENCH %08x %s\n" % (zlib.crc32(text), text)


def test_no_result_counts_without_the_cap(probe_result: dict[str, Any]) -> None:
    limits = limits_for(devices.load("rpi3b"), allowance_bytes=0, host_cores=2)
    hear = attesting(ProbeSession(), limits, emulated=True)
    # The hello was lost on the way.
    with pytest.raises(CapNotInForceError):
        hear(frame({"event": "result", "id": "0", "result": probe_result}))
