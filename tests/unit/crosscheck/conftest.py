"""Runs of one small network to compare with each other: signatures and outputs as a probe's."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pibench.probe.values import Projector
from pibench.records.schema import (
    RESULT_FIELDS,
    Environment,
    GuestEnvironment,
    HostEnvironment,
    LayerSignature,
    LayerTime,
    OutputBlob,
    Provenance,
)

if TYPE_CHECKING:
    from pibench.records.schema import Record

PROJECTOR = Projector()
NONE = Provenance(kind="unavailable", reason="no emulator was seen in the process")


def signature(index: int, layer: str, data: np.ndarray, **changes: Any) -> LayerSignature:
    """Return what the probe reports about a blob that a layer wrote."""
    message = PROJECTOR.describe(data.astype(np.float32))
    fields = {"index": index, "layer": layer, "type": "Convolution", "name": layer, **message}
    return LayerSignature(**fields | changes)


def output(name: str, data: np.ndarray, *, values: bool = True) -> OutputBlob:
    """Return what the probe reports about an output."""
    data = data.astype(np.float32)
    content = base64.b64encode(data.astype("<f4").tobytes()).decode() if values else None
    return OutputBlob(name=name, values=content, **PROJECTOR.describe(data))


@pytest.fixture(scope="session")
def make_run(make_record: Callable[..., Record]) -> Callable[..., Record]:
    """A record of `inference` on the twin; of another target with `target`."""

    def make(
        *,
        target: str = "twin",
        scores: np.ndarray | None = None,
        layers: Sequence[LayerSignature] = (),
        times_ms: Sequence[float] = (4.0, 2.0, 1.0),
        blas: str = "OpenBLAS 0.3.13 Prescott",
        values: bool = True,
        **changes: Any,
    ) -> Record:
        kind = {"twin": "twin", "native": "measured", "ssh": "measured"}.get(target, "emulated")
        scores = np.linspace(0.1, 0.9, 8).reshape(1, 8) if scores is None else scores
        arm = target in ("native", "ssh")
        host = HostEnvironment(
            pibench_version="0.1.0",
            python_version="3.11.7",
            kernel="Linux 6.1.0",
            architecture="aarch64" if arm else "x86_64",
            cpu_model="Cortex-A53" if arm else "Xeon",
            qemu_version="qemu 7.2" if kind == "emulated" else None,
        )
        fields: dict[str, Any] = {
            "network": "small",
            "target": target,
            "machine": "virt" if target == "vm" else None,
            "protocol": "inference",
            "latency_ms": sum(times_ms),
            "layers": tuple(
                LayerTime(name=f"layer{index}", type="Convolution", forward_ms=time_ms)
                for index, time_ms in enumerate(times_ms)
            ),
            "seed": 0,
            "input_sha256": "1" * 64,
            "weights_sha256": "2" * 64,
            "outputs": (output("prob", scores, values=values),),
            "signatures": tuple(layers),
            "environment": Environment(host=host, guest=GuestEnvironment(blas_name=blas)),
            "provenance": {name: Provenance(kind=kind) for name in RESULT_FIELDS}
            | {"emulator_rss_bytes": NONE},
        }
        return make_record(**fields | changes)

    return make
