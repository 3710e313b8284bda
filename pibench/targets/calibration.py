"""What the emulator and the probe themselves hold: measured once, and kept with its error."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median_low
from typing import Any, Final

from pibench import settings
from pibench.errors import EnvironmentFault
from pibench.images.recipe import fingerprint

FORMAT: Final = 1
REPEATS: Final = 3
KIB: Final = 1024


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The programs without a network, on one target, for one kind of work.

    `baseline` is a result of the probe (see pibench/probe): the same program
    waiting for a network. `emulator_bytes` is what QEMU holds in a process
    whose guest fills the device, `emulator_error_bytes` the difference between
    two measures of what it holds in the bare program: QEMU's own mappings, and
    the emulated program's memory less the amd64 twin's; None without a twin.
    `probe_bytes` is the probe's own. `caffe` names Caffe's and the BLAS's
    versions. `measured` is a date.
    """

    baseline: dict[str, Any]
    emulator_bytes: int
    emulator_error_bytes: int | None
    probe_bytes: int
    caffe: dict[str, Any]
    measured: str


def stored(name: str, parts: Mapping[str, Any], measure: Callable[[], Calibration]) -> Calibration:
    """The calibration for what `parts` name, measured if it is not in the cache yet."""
    key = fingerprint({"format": FORMAT, **parts})
    path = settings.cache_dir() / "calibrations" / f"{name}-{key[:16]}.json"
    found = _read(path)
    if found is not None:
        return found
    calibration = measure()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(calibration), indent=1) + "\n")
        partial.rename(path)
    except OSError as error:
        raise EnvironmentFault(
            f"the calibration cannot be written to {path.parent}: {error.strerror}",
            hint="make room there, or set PIBENCH_CACHE_DIR",
        ) from error
    return calibration


def evaluate(
    seen: dict[str, Any], caffe: dict[str, Any], twin: dict[str, Any] | None
) -> Calibration:
    """From what probes saw, here and on the twin, to a calibration.

    Raises EnvironmentFault where the program did not come as far as to wait
    for a network.
    """
    baseline = _typical(seen)
    emulator = baseline["emulator_rss_bytes"] or 0
    filled = seen["filled"]
    error = None
    if twin is not None and emulator:
        by_twin = baseline["peak_rss_bytes"] - _typical(twin)["peak_rss_bytes"]
        error = abs(by_twin - emulator)
    return Calibration(
        baseline=baseline,
        emulator_bytes=max(emulator, (filled or {}).get("emulator_rss_bytes") or 0),
        emulator_error_bytes=error,
        probe_bytes=(seen["probe_rss_kib"] or 0) * KIB,
        caffe=caffe,
        measured=datetime.now(UTC).date().isoformat(),
    )


def _typical(seen: dict[str, Any]) -> dict[str, Any]:
    """Of several runs of the bare program that with the median peak."""
    (runs,) = seen["bare"]
    for run in runs:
        if run["exit_status"] != 0:
            said = run["fatal_message"] or " | ".join(run["log_tail"][-3:]) or "it said nothing"
            ending = f"signal {run['signal']}" if run["signal"] else f"status {run['exit_status']}"
            raise EnvironmentFault(
                f"Caffe does not come as far as to read a network here ({ending}): {said}",
                hint="check the image: pibench image verify",
            )
    middle = median_low([run["peak_rss_bytes"] for run in runs])
    chosen: dict[str, Any] = next(run for run in runs if run["peak_rss_bytes"] == middle)
    return chosen


def _read(path: Path) -> Calibration | None:
    try:
        return Calibration(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
