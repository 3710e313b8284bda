"""Verdicts by the real guest's kernel: of networks made to fit, and made not to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pibench import networks
from pibench.targets.vm import VmTarget
from tests.emulation.conftest import DEVICE, run

pytestmark = pytest.mark.emulation
MIB = 2**20


def test_shrunk_until_it_fits_and_grown_until_it_does_not(virt, vgg_with, reference) -> None:
    # Only a number in the prototxt distinguishes the first two.
    large, small = vgg_with(4096), vgg_with(256)
    single = networks.load("SqueezeNet V1.1")
    many = networks.load("SqueezeNet V1.1", batch=64)
    records = run(virt, [large, small, single, many], reference=reference)
    assert [record.verdict for record in records] == ["no-fit", "fit", "fit", "no-fit"]
    for killed in (records[0], records[3]):
        assert killed.evidence.signal == 9
        assert any("Killed process" in line for line in killed.evidence.oom_kills)
        assert killed.headroom_bytes is not None
        assert killed.headroom_bytes < 0
        assert killed.provenance["headroom_bytes"].kind == "twin"
    for fitting in (records[1], records[2]):
        assert fitting.evidence.exit_status == 0
        assert fitting.headroom_bytes is not None
        assert fitting.headroom_bytes > 0
        assert fitting.provenance["peak_rss_bytes"].kind == "emulated"


def test_a_block_larger_than_the_machine_does_not_fit(virt, tmp_path: Path) -> None:
    path = tmp_path / "wide.prototxt"
    path.write_text(
        'name: "wide"\n'
        'layer { name: "data" type: "Input" top: "data"\n'
        "  input_param { shape { dim: 1 dim: 3 dim: 4000 dim: 4000 } } }\n"
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"\n'
        "  convolution_param { num_output: 4 kernel_size: 3 } }\n"
    )
    (record,) = run(virt, [networks.load(str(path))])
    assert record.verdict == "no-fit"
    assert record.evidence.fatal_message is not None
    assert "host allocation" in record.evidence.fatal_message


def test_a_reserve_is_taken_from_the_guest(builder, reference) -> None:
    # Planned and on the twin AlexNet takes 546 MiB, more than the 468 that are left.
    left = DEVICE.with_reserve(450)
    target = VmTarget(left, builder, machines_at_once=1)
    loaded = [networks.load(name) for name in ("SqueezeNet V1.1", "AlexNet")]
    records = run(target, loaded, reserve=450.0, reference=reference)
    assert [record.verdict for record in records] == ["fit", "no-fit"]
    for record in records:
        assert record.limits.reserve_bytes == 450 * MIB
        seen_bytes = record.limits.in_force.memory_bytes
        assert left.usable_bytes <= seen_bytes < left.usable_bytes + 70 * MIB
        assert "mem=" in record.environment.guest.kernel_arguments
    assert records[1].headroom_bytes == pytest.approx(left.usable_bytes - 546 * MIB, abs=8 * MIB)


def test_memory_only_compute_peaks_as_real_compute_does(virt, detector) -> None:
    (real,) = run(virt, [detector], compute="real")
    (memory_only,) = run(virt, [detector])
    assert real.network_rss_bytes is not None
    assert memory_only.network_rss_bytes == pytest.approx(real.network_rss_bytes, rel=0.03)
    assert real.latency_ms is not None
    assert real.layers
    assert memory_only.latency_ms is None
    assert "memory-only" in memory_only.provenance["latency_ms"].reason


def test_the_board_s_own_machine(raspi3b) -> None:
    loaded = [networks.load(name) for name in ("VGG 16", "SqueezeNet V1.1")]
    records = run(raspi3b, loaded)
    assert [record.verdict for record in records] == ["no-fit", "fit"]
    for record in records:
        assert record.environment.guest.device_tree_model == "Raspberry Pi 3 Model B"
        assert record.environment.guest.memory_total_bytes == 940_500 * 1024


def test_all_verdicts_of_the_paper_on_the_twin(twin) -> None:
    entries = [entry for entry in networks.catalog_entries() if entry.in_paper]
    records = run(twin, [networks.load(entry.name) for entry in entries])
    fitting = {record.network for record in records if record.verdict == "fit"}
    assert fitting == {entry.name for entry in entries if entry.paper_row is not None}
    assert {record.verdict for record in records} == {"fit", "no-fit"}
