"""A seeded part of scripts/reliability/fuzz.py: broken files in real Caffe, on the twin."""

from __future__ import annotations

import pytest

from pibench.images.build import Builder
from scripts.reliability import in_caffe

pytestmark = pytest.mark.emulation


def test_broken_files_never_fit(builder: Builder) -> None:
    seen = in_caffe.run(20, seed=4, builder=builder)
    assert len(seen) == 20
    assert in_caffe.faults(seen) == []
    refused = [one for one in seen if one.refusal is not None]
    assert len(refused) == 10
    # What pibench refuses, Caffe aborts on, and the probe survives to report it; the rest runs.
    assert {one.verdict for one in refused} == {"inconclusive"}
    assert all(one.ending for one in refused)
    assert all(one.ending == 0 for one in seen if one.refusal is None)
