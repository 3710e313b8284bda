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


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


def test_prototxts(batch: Batch) -> None:
    random = Random(20)  # noqa: S311
    for _ in range(250):
        batch.feed(mutations.mutated_text(random.choice(SHORT), random)[:2048])
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
    batch = Batch(tmp_path, take=fault, cpu_limit_s=0.2)
    batch.feed(b"layer { }")
    batch.feed(b"layer { x }")
    assert batch.tally.findings == {message: 2}
    (kept,) = (batch.folder / "findings").iterdir()
    assert (kept / "input.prototxt").read_bytes() == b"layer { }"
