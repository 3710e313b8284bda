"""The twin's peak of a network, which is kept for later runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pibench import networks, settings
from pibench.cache import kept_values
from pibench.images.build import Builder
from pibench.runner.jobs import job_of
from pibench.runner.options import RunOptions
from pibench.runner.reference import Reference, TwinPeak
from pibench.targets.base import Job

pytestmark = pytest.mark.emulation


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with the images of this machine, and nothing else."""
    images = settings.cache_dir() / "images"
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path))
    (tmp_path / "images").symlink_to(images)
    return tmp_path


def squeezenet(**options: object) -> Job:
    wanted = RunOptions(**{"target": "twin", "compute": "memory-only", **options})  # type: ignore[arg-type]
    return job_of(0, networks.load("SqueezeNet V1.1"), wanted)


def test_a_peak_is_measured_once(cache: Path, builder: Builder) -> None:
    job = squeezenet()
    measured = Reference(builder).peak(job)
    assert measured is not None
    assert measured.kept_since is None
    (file,) = cache.glob("calibrations/peak-*.json")
    known = kept_values(file)
    assert known is not None
    assert known["rss_bytes"] == measured.rss_bytes
    later = Reference(builder).peak(replace(job, id="3", name="another", timeout_s=1.0))
    assert later == TwinPeak(**known)
    # What a damaged file said is measured again.
    file.write_text(file.read_text().replace(str(known["rss_bytes"]), "1"))
    again = Reference(builder).peak(job)
    assert again is not None
    assert again.kept_since is None


def test_another_run_has_another_peak(cache: Path, builder: Builder) -> None:
    reference = Reference(builder)
    for job in (squeezenet(), squeezenet(threads=1), squeezenet(protocol="inference")):
        assert reference.peak(job) is not None
    assert len(list(cache.glob("calibrations/peak-*.json"))) == 3
