"""A record that is whole, to be changed field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pibench.records.schema import (
    RESULT_FIELDS,
    Environment,
    Evidence,
    HostEnvironment,
    LayerTime,
    Provenance,
    Record,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 2**20


def _record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "network": "AlexNet",
        "network_sha256": "a" * 64,
        "network_source": "zoo",
        "parameter_count": 60_965_224,
        "weights_file_bytes": 243_860_896,
        "device": "rpi3b",
        "target": "vm",
        "machine": "virt",
        "protocol": "caffe-time",
        "compute": "real",
        "verdict": "fit",
        "evidence": Evidence(summary="ended with 0", exit_status=0),
        "peak_rss_bytes": 554 * MIB,
        "baseline_rss_bytes": 57 * MIB,
        "network_rss_bytes": 497 * MIB,
        "headroom_bytes": 364 * MIB,
        "latency_ms": 3200.0,
        "layers": (LayerTime(name="conv1", type="Convolution", forward_ms=12.5),),
        "environment": Environment(
            host=HostEnvironment(
                pibench_version="0.1.0",
                python_version="3.11.7",
                kernel="Linux 6.1.0",
                architecture="x86_64",
            )
        ),
        "provenance": {name: Provenance(kind="emulated") for name in RESULT_FIELDS}
        | {"outputs": Provenance(kind="unavailable", reason="caffe time keeps no outputs")},
    }
    return Record(**fields | changes)


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """Builds a valid record; keyword arguments replace its fields."""
    return _record
