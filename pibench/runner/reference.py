"""The peak of a network on the amd64 twin, for a process whose own peak was cut short.

A process that the kernel killed did not reach its peak. The twin runs the same packages without a
limit. Its peak is kept: on one machine the same network has the same peak in the next run.
"""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pibench import cache, process, settings, timings
from pibench.engines.registry import engine_of
from pibench.errors import PibenchError
from pibench.images.recipe import file_sha256, fingerprint
from pibench.records.environment import cpu_model
from pibench.targets.base import Job
from pibench.targets.job import engine_key, probe_digest
from pibench.targets.local import TwinTarget

if TYPE_CHECKING:
    from pibench.engines.base import Compute
    from pibench.images.build import Builder
    from pibench.targets.base import Outcome

REFERENCE_TIMEOUT_S = 300.0
# The twin's blobs are in this machine's memory; the rest of it belongs to other programs.
HOST_FRACTION = 0.5
_FORMAT: Final = 1
"""Version of the kept peaks."""
_NOT_OF_THE_PEAK: Final = ("id", "name", "cost_bytes", "timeout_s", "values_only")


@dataclass(frozen=True, kw_only=True)
class TwinPeak:
    """The peak RSS of a process on the twin; `kept_since` is the date of an earlier measurement."""

    rss_bytes: int
    kept_since: str | None = None


class Reference:
    """Runs single networks on the twin, memory-only if that is possible, and each of them once."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._target = TwinTarget(builder)
        self._known: dict[Job, TwinPeak | None] = {}
        self._ran = False

    def peak(self, job: Job) -> TwinPeak | None:
        """Return the twin's peak, or None where this host cannot measure it."""
        # Every remaining field of the job affects the peak: the protocol and the threads too.
        computes = engine_of(job.engine).computes
        compute: Compute = "memory-only" if "memory-only" in computes else computes[0]
        reference = replace(
            job, id="0", name="reference", compute=compute, timeout_s=REFERENCE_TIMEOUT_S,
            warmup=0, repeats=1,
        )  # fmt: skip
        if reference not in self._known:
            with timings.phase("peak on the twin"):
                self._known[reference] = self._kept_or_measured(reference)
        return self._known[reference]

    def _kept_or_measured(self, reference: Job) -> TwinPeak | None:
        try:
            self._target.prepare([reference])
            path = self._path(reference)
        except (PibenchError, OSError):
            # This host cannot run the twin, or a file is gone: the record then states that.
            return None
        if (kept := cache.kept_values(path)) is not None:
            return TwinPeak(**kept)
        rss_bytes = self._measure(reference)
        if rss_bytes is None:
            return None
        measured = TwinPeak(rss_bytes=rss_bytes, kept_since=f"{datetime.now(UTC):%Y-%m-%d}")
        cache.keep_values(path, asdict(measured), "is measured for each run")
        return TwinPeak(rss_bytes=rss_bytes)

    def _measure(self, reference: Job) -> int | None:
        if reference.cost_bytes > HOST_FRACTION * process.available_memory_bytes():
            return None
        outcomes: list[Outcome] = []
        # The first run also loads the program's files into the page cache, by the program with no
        # network. Later runs need neither that nor the engine's version.
        job = replace(reference, values_only=self._ran)
        try:
            self._target.run([job], outcomes.append, lambda _: None)
        except PibenchError:
            return None
        result = outcomes[0].result if outcomes else None
        self._ran = self._ran or result is not None
        return result["peak_rss_bytes"] if result and result["exit_status"] == 0 else None

    def _path(self, reference: Job) -> Path:
        """Return where this peak is kept: by network, programs and machine."""
        libraries = {"memory-only": ["blas-amd64"], "real": []}[reference.compute]
        if reference.blas != "openblas":
            libraries.append(f"{reference.blas}-blas-amd64")
        if reference.fork_layers:
            libraries.append("layers-amd64")
        parts = {
            "format": _FORMAT,
            "probe": probe_digest(),
            "images": [self._builder.key(kind) for kind in ("twin", *libraries)],
            "tier": settings.wants_real_loops(),
            "engine": engine_key(reference.engine),
            # A BLAS chooses its buffers by the CPU.
            "machine": [cpu_model(), platform.release()],
            "job": {
                one.name: _content(getattr(reference, one.name))
                for one in fields(Job)
                if one.name not in _NOT_OF_THE_PEAK
            },
        }
        return settings.cache_dir() / "calibrations" / f"peak-{fingerprint(parts)[:16]}.json"


def _content(value: object) -> object:
    """Return a field of a job with files as the SHA-256 of their content."""
    if isinstance(value, Path):
        return file_sha256(value)
    if isinstance(value, tuple):
        return [_content(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return [_content(getattr(value, one.name)) for one in fields(value)]
    return value
