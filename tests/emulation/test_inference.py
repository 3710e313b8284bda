"""The inference protocol: weights loaded, forward only, the same outputs everywhere."""

from __future__ import annotations

import pytest

from tests.emulation.conftest import run

pytestmark = pytest.mark.emulation


def test_emulated_outputs_are_the_twin_s(virt, twin, small) -> None:
    (emulated,) = run(virt, [small], protocol="inference", compute="real", repeats=1)
    (native,) = run(twin, [small], protocol="inference", compute="real", repeats=3)
    assert emulated.verdict == native.verdict == "fit"
    assert [o.shape for o in emulated.outputs] == [o.shape for o in native.outputs]
    for first_side, second_side in zip(emulated.outputs, native.outputs, strict=True):
        assert first_side.non_finite_count == 0
        assert first_side.l2_norm == pytest.approx(second_side.l2_norm, rel=1e-3)
        assert first_side.maximum == pytest.approx(second_side.maximum, rel=1e-3)
    names = [layer.name for layer in native.layers]
    assert "conv1" in names
    assert names == [layer.name for layer in emulated.layers]
    assert emulated.provenance["latency_ms"].kind == "emulated"
    assert native.provenance["latency_ms"].kind == "twin"


def test_another_input_seed_gives_other_outputs(twin, small) -> None:
    hashes = [
        run(twin, [small], protocol="inference", compute="real", repeats=1, seed=seed)[0]
        .outputs[0]
        .sha256
        for seed in (0, 0, 1)
    ]
    assert hashes[0] == hashes[1] != hashes[2]
