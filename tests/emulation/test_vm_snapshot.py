"""A guest restored from a snapshot: the same record as of one that boots, or a boot instead."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pibench import networks
from pibench.images import store
from pibench.images.build import Builder
from pibench.records.schema import Record
from pibench.targets.vm import VmTarget, snapshot
from tests.emulation.conftest import DEVICE, run

pytestmark = pytest.mark.emulation

SMALL = "SqueezeNet V1.1"
MIB = 1 << 20


def run_small(target: VmTarget) -> Record:
    (record,) = run(target, [networks.load(SMALL)])
    assert record.verdict == "fit", record.evidence.summary
    return record


def snapshots() -> list[store.Image]:
    return [image for image in store.images() if image.kind == snapshot.KIND]


def test_a_restored_guest_measures_what_a_booted_one_does(builder: Builder) -> None:
    first = run_small(VmTarget(DEVICE, builder))
    # What the first guest measured of the programs is known to the second.
    restored = run_small(VmTarget(DEVICE, builder))
    started = time.monotonic()
    fresh = run_small(VmTarget(DEVICE, builder, fresh_boot=True))
    took_s = time.monotonic() - started
    assert restored.environment.host.qemu_boot == "restored"
    assert fresh.environment.host.qemu_boot == "fresh"
    assert restored.environment.guest == fresh.environment.guest
    assert "norandmaps" in (restored.environment.guest.kernel_arguments or "").split()
    assert restored.engine_version == fresh.engine_version is not None
    for one, other in (
        (restored.peak_rss_bytes, first.peak_rss_bytes),
        (restored.peak_rss_bytes, fresh.peak_rss_bytes),
        (restored.baseline_rss_bytes, fresh.baseline_rss_bytes),
    ):
        assert one is not None
        assert other is not None
        assert abs(one - other) < MIB / 2
    # The guest's clock continues where it was saved: it does not count the time in between.
    assert 0 < (restored.evidence.elapsed_seconds or 0) < 10 * took_s


def test_a_snapshot_that_changed_on_the_disk_is_made_again(builder: Builder) -> None:
    target = VmTarget(DEVICE, builder)
    target.prepare([])
    for image in snapshots():
        with (image.content / "snapshot").open("r+b") as file:
            file.seek(MIB)
            file.write(b"damage" * 1000)
    assert run_small(VmTarget(DEVICE, builder)).environment.host.qemu_boot == "restored"
    assert any(store.verify(image) for image in snapshots())


def test_where_qemu_cannot_restore_a_snapshot_the_guest_boots(
    builder: Builder, tmp_path: Path
) -> None:
    garbage = tmp_path / "snapshot"
    garbage.write_bytes(b"no state of a machine" * 1000)

    class Unlucky(VmTarget):
        def prepare(self, work) -> None:
            super().prepare(work)
            self._snapshot = garbage

    record = run_small(Unlucky(DEVICE, builder))
    assert record.environment.host.qemu_boot == "fresh"
