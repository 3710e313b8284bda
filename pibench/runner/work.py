"""Convert networks and a protocol to the work that targets take."""

from __future__ import annotations

import atexit
import contextlib
import difflib
import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pibench import cache, settings, storage
from pibench.engines.registry import engine_of
from pibench.errors import InvalidInputError
from pibench.targets.base import Work
from pibench.targets.scratch import scratch

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.images.other_blas import Blas
    from pibench.networks.network import Network
    from pibench.records.schema import Compute, Protocol

FLOAT_BYTES = 4
TIMEOUT_S: dict[Compute, float] = {"memory-only": 900.0, "real": 3600.0}
"""How long one network may take; real compute took five minutes emulated at most."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """How to run networks: the same for all of one sweep.

    Under `inference`, 0 `repeats` time nothing and only compute the values; `inputs`,
    `keep` and `values_only` are as in `Work`.
    """

    device: Device
    protocol: Protocol = "caffe-time"
    compute: Compute = "memory-only"
    threads: int | None = None
    repeats: int = 5
    seed: int = 0
    timeout_s: float | None = None
    blas: Blas = "openblas"
    inputs: Path | None = None
    keep: tuple[str, ...] = ()
    values_only: bool = False
    engine: str = "caffe"


def work_of(index: int, network: Network, request: Request) -> Work:
    """Return one network as work; under `inference` it has weights, seeded ones if need be."""
    weights = network.weights
    if request.protocol == "inference" and weights is None:
        weights = seeded_weights(network, request.seed)
    return Work(
        id=str(index),
        name=network.name,
        prototxt=network.prototxt,
        weights=weights if request.protocol == "inference" else None,
        protocol=request.protocol,
        compute=request.compute,
        threads=request.threads or request.device.cores,
        timeout_s=request.timeout_s or TIMEOUT_S[request.compute],
        cost_bytes=cost_bytes(network),
        # Values are not computed: repeats would show nothing new.
        repeats=1 if request.compute == "memory-only" else request.repeats,
        warmup=0 if request.compute == "memory-only" or not request.repeats else 1,
        seed=request.seed,
        blas=request.blas,
        inputs=request.inputs,
        keep=request.keep,
        values_only=request.values_only,
        engine=request.engine,
    )


def check(network: Network, request: Request) -> None:
    """Check that the request is meaningful for this network. Raises InvalidInputError."""
    _check_engine(request)
    computes = request.protocol == "inference" and request.compute == "real"
    if request.keep and not computes:
        raise InvalidInputError(
            f"blobs cannot be kept of {request.protocol} with {request.compute} compute: "
            "it tells no values",
            hint="run with --protocol inference --compute real",
        )
    if request.blas != "openblas" and request.compute == "memory-only":
        raise InvalidInputError(
            f"--blas {request.blas} computes, and memory-only compute stands in for OpenBLAS",
            hint="add --compute real",
        )
    names = [layer.name for layer in network.shapes.layers]
    for layer in request.keep:
        if layer not in names:
            near = difflib.get_close_matches(layer, names, n=3)
            raise InvalidInputError(
                f"{network.name} has no layer {layer!r}",
                hint=f"did you mean {' or '.join(near)}?" if near else "pibench networks show",
            )


def _check_engine(request: Request) -> None:
    engine = engine_of(request.engine)
    for option, value, known in (
        ("protocol", request.protocol, engine.protocols),
        ("compute", request.compute, engine.computes),
    ):
        if value not in known:
            raise InvalidInputError(
                f"{engine.label} has no {option} {value}",
                hint=f"use --{option} {' or '.join(known)}",
            )


def cost_bytes(network: Network) -> int:
    """Return the size of data and diff of all blobs and parameters.

    It only orders the work; it is not an estimate of the memory needed.
    """
    elements = network.parameter_count + sum(
        math.prod(shape) for shape in network.shapes.blobs.values()
    )
    return 2 * FLOAT_BYTES * elements


def seeded_weights(network: Network, seed: int) -> Path:
    """Write a weights file of seeded random numbers for a network, once, into the cache.

    It is written to a temporary folder where the cache is not writable. Raises HostError
    where neither is possible.
    """
    from pibench.engines.caffe import caffemodel  # noqa: PLC0415  (start-up time)

    folder = settings.cache_dir() / "weights"
    path = folder / f"{network.slug}-{network.sha256[:16]}-seed{seed}.caffemodel"

    def write(partial: Path) -> None:
        caffemodel.write_seeded(network.net, partial, seed)

    if path.exists():
        return path
    try:
        cache.make_folder(folder)
        with cache.locked(path.with_suffix(".lock")):
            if not path.exists():
                cache.keep(path, write)
        return path
    except OSError:
        path = _folder_of_this_process() / path.name
    try:
        if not path.exists():
            write(path)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise storage.fault(error, path) from error
    return path


@functools.cache
def _folder_of_this_process() -> Path:
    """Return a temporary folder that is removed when this process ends."""
    used = contextlib.ExitStack()
    atexit.register(used.close)
    return used.enter_context(scratch("weights"))
