"""Calibrations from a board's records: what counts, what is left out, what is never mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pibench import networks
from pibench.errors import InvalidInputError
from pibench.latency.factors import StackFactors
from pibench.latency.fit import calibrate_from
from pibench.records.schema import Environment, GuestEnvironment, Provenance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pibench.records.schema import Record

NAMES = ("AlexNet", "NIN", "MobileNet", "SqueezeNet V1.1", "GoogleNet")


@pytest.fixture
def board_record(make_record: Callable[..., Record]) -> Callable[..., Record]:
    def make(name: str, latency_ms: float = 1000.0, **changes: Any) -> Record:
        emulated = make_record()
        host = emulated.environment.host.model_copy(
            update={"architecture": "aarch64", "qemu_version": None}
        )
        measured = Provenance(kind="measured")
        provenance = {
            key: measured if one.kind == "emulated" else one
            for key, one in emulated.provenance.items()
        }
        fields = {
            "network": name,
            "network_sha256": networks.load(name).sha256,
            "target": "native",
            "machine": None,
            "latency_ms": latency_ms,
            "environment": Environment(host=host, guest=emulated.environment.guest),
            "provenance": provenance,
        }
        return make_record(**(fields | changes))

    return make


def test_a_boards_records_make_a_calibration(
    board_record: Callable[..., Record], tmp_path: Path
) -> None:
    made = [board_record(name, 1000.0 + index) for index, name in enumerate(NAMES)]
    found, output = calibrate_from(made, tmp_path / "records.jsonl")
    assert output == []
    assert (found.device, found.provenance, found.protocol) == ("rpi3b", "measured", "caffe-time")
    assert [one.network for one in found.observations] == list(NAMES)


def test_the_median_of_several_runs_counts(
    board_record: Callable[..., Record], tmp_path: Path
) -> None:
    made = [board_record(name) for name in NAMES]
    made += [board_record("AlexNet", 5000.0), board_record("AlexNet", 2000.0)]
    found, _ = calibrate_from(made, tmp_path / "records.jsonl")
    assert found.observations[0].latency_ms == 2000.0


def test_emulated_times_are_left_out_and_named(
    board_record: Callable[..., Record], make_record: Callable[..., Record], tmp_path: Path
) -> None:
    made = [board_record(name) for name in NAMES]
    found, output = calibrate_from([*made, make_record()], tmp_path / "records.jsonl")
    assert len(found.observations) == len(NAMES)
    assert len(output) == 1
    assert "AlexNet left out: its time is emulated" in output[0]


def test_a_network_that_has_changed_is_left_out(
    board_record: Callable[..., Record], tmp_path: Path
) -> None:
    made = [board_record(name) for name in NAMES]
    changed = board_record("NIN", network_sha256="0" * 64)
    _, output = calibrate_from([*made, changed], tmp_path / "records.jsonl")
    assert output == ["NIN left out: the zoo now has a different network with that name"]


def test_boards_and_protocols_are_never_mixed(
    board_record: Callable[..., Record], tmp_path: Path
) -> None:
    made = [board_record(name) for name in NAMES]
    other = board_record("NIN", device="rpi3b_plus")
    with pytest.raises(InvalidInputError, match="several devices: rpi3b, rpi3b_plus"):
        calibrate_from([*made, other], tmp_path / "records.jsonl")
    other = board_record("NIN", protocol="inference")
    with pytest.raises(InvalidInputError, match="several protocols: caffe-time, inference"):
        calibrate_from([*made, other], tmp_path / "records.jsonl")


def test_records_that_name_their_blas_narrow_its_stack(
    board_record: Callable[..., Record], tmp_path: Path
) -> None:
    def of(name: str, latency_ms: float, blas: str = "OpenBLAS 0.3.13") -> Record:
        made = board_record(name, latency_ms)
        guest = GuestEnvironment(
            architecture="aarch64", blas_name=blas, blas_core_type="CORTEXA53", blas_threads=1
        )
        environment = made.environment.model_copy(update={"guest": guest})
        return made.model_copy(update={"environment": environment})

    path = tmp_path / "pi.jsonl"
    made = [of("AlexNet", 800), of("NIN", 800), of("SqueezeNet V1.1", 300), of("ResNet-101", 20000)]
    found, output = calibrate_from(made, path)
    assert isinstance(found, StackFactors)
    assert (found.stack, found.threads, found.data) == ("openblas-a53", 1, "zeros")
    assert [one.network for one in found.observations] == ["AlexNet", "NIN", "SqueezeNet V1.1"]
    assert output == ["ResNet-101 left out: its time contains what the edge of memory costs"]
    (alone, _) = calibrate_from(made[:1], path)
    assert isinstance(alone, StackFactors)
    assert not alone.both
    overridden, _ = calibrate_from(made[:1], path, "atlas-arm64")
    assert isinstance(overridden, StackFactors)
    assert overridden.products < alone.products
    with pytest.raises(InvalidInputError, match="several stacks: openblas-16x4, openblas-a53"):
        calibrate_from([*made, of("MobileNet", 900, "OpenBLAS 0.3.9")], path)
    with pytest.raises(InvalidInputError, match="a fit needs 4"):
        calibrate_from(made[:1], path, "paper")


def test_records_without_a_boards_time_are_refused(
    make_record: Callable[..., Record], tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="no record has a time that a board measured"):
        calibrate_from([make_record()], tmp_path / "records.jsonl")


def test_a_time_that_no_network_takes_is_none(
    board_record: Callable[..., Record], tmp_path: Path
) -> None:
    made = [board_record(name) for name in NAMES]
    found, output = calibrate_from([*made, board_record("VGG 16", 0.0)], tmp_path / "r")
    assert len(found.observations) == len(NAMES)
    assert output == ["VGG 16 left out: it has no time"]
