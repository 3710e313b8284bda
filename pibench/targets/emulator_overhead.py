"""The memory of the emulator and of the probe: measured once, and stored with its error."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any, Final

from pibench import cache, settings
from pibench.errors import HostError
from pibench.images.recipe import fingerprint
from pibench.targets.job import Measure, probe_digest
from pibench.targets.local import TwinTarget
from pibench.targets.probe_session import ProbeSession

if TYPE_CHECKING:
    from pibench.images.build import Builder

FORMAT: Final = 1
REPEATS: Final = 3
KIB: Final = 1024


@dataclass(frozen=True, kw_only=True)
class EmulatorOverhead:
    """Measurements of the programs without a network, on one target, for one kind of work.

    `baseline` is a result of the probe (see pibench/probe): the same program
    waiting for a network. `emulator_bytes` is QEMU's memory in a process
    whose guest fills the device. `emulator_error_bytes` is the difference between
    two measures of QEMU's memory in the bare program: QEMU's own mappings, and
    the emulated program's memory less the amd64 twin's; None without a twin.
    `probe_bytes` is the probe's own memory. `caffe` has the versions of Caffe and
    of the BLAS. `measured` is a date.
    """

    baseline: dict[str, Any]
    emulator_bytes: int
    emulator_error_bytes: int | None
    probe_bytes: int
    caffe: dict[str, Any]
    measured: str

    def completed(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return a result of the probe, completed with what it left out as already known.

        For a process that ended before the emulator's memory could be sampled, the
        value of the bare program is used.
        """
        share = result["emulator_rss_bytes"]
        if share is None:
            share = self.baseline["emulator_rss_bytes"]
        return {**result, "baseline": self.baseline, "emulator_rss_bytes": share}


def stored(
    name: str, parts: Mapping[str, Any], measure: Callable[[], EmulatorOverhead]
) -> EmulatorOverhead:
    """Return the overhead for what `parts` name; measure it if the cache does not have it."""
    key = fingerprint({"format": FORMAT, "probe": probe_digest(), **parts})
    path = settings.cache_dir() / "calibrations" / f"{name}-{key[:16]}.json"
    found = _read(path)
    if found is not None:
        return found
    overhead = measure()
    text = json.dumps(asdict(overhead), indent=1) + "\n"
    cache.keep_if_possible(
        path, lambda partial: partial.write_text(text), "is measured for each run"
    )
    return overhead


def conclude(session: ProbeSession, wanted: Measure, builder: Builder) -> EmulatorOverhead:
    """Return the overhead from a probe's report here and the same programs on the twin.

    Raises HostError where the probe reported too little, or where the program did
    not get as far as waiting for a network.
    """
    if session.calibration is None:
        raise HostError(
            f"the probe could not measure Caffe: {session.frames.last_words() or 'no word'}",
            hint="check the image: pibench image verify sysroot",
        )
    machine = session.machine or {}
    caffe = {name: machine.get(name) for name in ("engine_version", "blas", "blas_core")}
    return evaluate(session.calibration, caffe, _on_twin(wanted, builder))


def _on_twin(wanted: Measure, builder: Builder) -> dict[str, Any] | None:
    """Measure the same programs without emulation, where this machine can run the twin.

    Returns None where it cannot, or where the programs are not emulated anyway.
    """
    if wanted.fill_bytes is None:
        return None
    try:
        return TwinTarget(builder).measure(replace(wanted, fill_bytes=None))
    except HostError:
        return None


def evaluate(
    seen: dict[str, Any], caffe: dict[str, Any], twin: dict[str, Any] | None
) -> EmulatorOverhead:
    """Return the overhead from the probes' reports; `twin` is None if it was not measured."""
    baseline = _typical(seen)
    emulator = baseline["emulator_rss_bytes"] or 0
    filled = seen["filled"]
    error = None
    if twin is not None and emulator:
        by_twin = baseline["peak_rss_bytes"] - _typical(twin)["peak_rss_bytes"]
        error = abs(by_twin - emulator)
    return EmulatorOverhead(
        baseline=baseline,
        emulator_bytes=max(emulator, (filled or {}).get("emulator_rss_bytes") or 0),
        emulator_error_bytes=error,
        probe_bytes=(seen["probe_rss_kib"] or 0) * KIB,
        caffe=caffe,
        measured=datetime.now(UTC).date().isoformat(),
    )


def _typical(seen: dict[str, Any]) -> dict[str, Any]:
    """Return the run with the median peak among several runs of the bare program."""
    (runs,) = seen["bare"]
    for run in runs:
        if run["exit_status"] != 0:
            said = run["fatal_message"] or " | ".join(run["log_tail"][-3:]) or "it said nothing"
            ending = f"signal {run['signal']}" if run["signal"] else f"status {run['exit_status']}"
            raise HostError(
                f"Caffe does not come as far as to read a network here ({ending}): {said}",
                hint="check the image: pibench image verify",
            )
    middle = median_low([run["peak_rss_bytes"] for run in runs])
    chosen: dict[str, Any] = next(run for run in runs if run["peak_rss_bytes"] == middle)
    return chosen


def _read(path: Path) -> EmulatorOverhead | None:
    try:
        return EmulatorOverhead(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
