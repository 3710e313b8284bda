"""A seeded part of scripts/reliability/fuzz.py: mutated files end in a network or one error."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from scripts.reliability.batch import Batch
from tests.wild import mutations
from tests.wild.networks import WILD

SHORT = [mutations.SMALL, mutations.LEGACY, WILD["tiny"](), WILD["cifar_within_channel"]()]
FORKS = """layer { name: "x" type: "Input" top: "x" top: "r" input_param {
  shape { dim: 1 dim: 8 dim: 6 dim: 6 } shape { dim: 3 dim: 5 } } }
layer { name: "a" type: "Permute" bottom: "x" top: "a" permute_param { order: 0 order: 2 } }
layer { name: "b" type: "PriorBox" bottom: "x" bottom: "x" top: "b"
  prior_box_param { min_size: 3 max_size: 6 aspect_ratio: 2 variance: 0.1 } }
layer { name: "c" type: "Interp" bottom: "x" top: "c" interp_param { zoom_factor: 2 pad_beg: 0 } }
layer { name: "d" type: "ROIPooling" bottom: "x" bottom: "r" top: "d"
  roi_pooling_param { pooled_h: 2 pooled_w: 2 } }
layer { name: "e" type: "BN" bottom: "x" top: "e" bn_param { scale_filler { type: "msra" } } }
layer { name: "f" type: "Upsample" bottom: "x" top: "f" upsample_param { scale: 2 } }
layer { name: "g" type: "ResizeBilinear" bottom: "x" top: "g"
  resize_bilinear_param { scale_height: 1.5 } }
"""
OLD = """input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
layers { layer { name: "p" type: "padding" pad: 1 } bottom: "data" top: "p" }
layers { layer { name: "c" type: "conv" num_output: 2 kernelsize: 3 } bottom: "p" top: "c" }
"""


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


def test_prototxts(batch: Batch) -> None:
    random = Random(20)  # noqa: S311
    for _ in range(250):
        batch.feed(mutations.mutated_text(random.choice(SHORT), random)[:2048])
    for _ in range(150):
        batch.feed(mutations.mutated_text(random.choice((FORKS, OLD)), random)[:2048])
    tally = batch.tally
    assert tally.findings == {}
    assert min(tally.accepted, tally.refused) > 15


def test_caffemodels(batch: Batch) -> None:
    random = Random(21)  # noqa: S311
    good = mutations.seeded(mutations.SMALL)
    for _ in range(100):
        batch.feed(mutations.SMALL.encode(), mutations.mutated_weights(good, random))
    tally = batch.tally
    assert tally.findings == {}
    assert min(tally.accepted, tally.refused) > 10


def _raises(*_: object) -> bool:
    return bool(1 // 0)


def _hangs(*_: object) -> bool:
    while True:
        try:
            time.process_time()
        except Exception:  # noqa: S112
            continue


def _grows(*_: object) -> bool:
    return len(b"x" * (100 << 20)) > 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_raises, "ZeroDivisionError in test_fuzzing.py:_raises"),
        (_hangs, "Hang in batch.py > test_fuzzing.py"),
        (_grows, "grew by 64 MiB or more"),
    ],
)
def test_faults_are_found_and_kept(
    tmp_path: Path, fault: Callable[..., bool], message: str
) -> None:
    # Writing 100 MiB can take as long as a short limit.
    batch = Batch(tmp_path, take=fault, cpu_limit_s=0.2 if fault is _hangs else 10.0)
    batch.feed(b"layer { }")
    batch.feed(b"layer { x }")
    assert batch.tally.findings == {message: 2}
    (kept,) = (batch.folder / "findings").iterdir()
    assert (kept / "input.prototxt").read_bytes() == b"layer { }"
