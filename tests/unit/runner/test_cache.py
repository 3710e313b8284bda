"""What the cache keeps of files that can be made again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pibench import cache, networks
from pibench.runner.model_files import seeded_weights
from tests.wild.networks import WILD

DAY_S = 86_400.0


def put(folder: Path, name: str, *, unused_days: float) -> Path:
    path = folder / name
    path.write_bytes(bytes(100))
    at = time.time() - unused_days * DAY_S
    os.utime(path, (at, at))
    return path


def test_the_longest_unused_goes_first(tmp_path: Path) -> None:
    oldest = put(tmp_path, "a", unused_days=3)
    older = put(tmp_path, "b", unused_days=2)
    new = put(tmp_path, "c", unused_days=0)
    cache.drop_unused(tmp_path, most_bytes=200, unused_s=DAY_S)
    assert (oldest.exists(), older.exists(), new.exists()) == (False, True, True)


def test_what_was_used_lately_stays_whatever_the_size(tmp_path: Path) -> None:
    paths = [put(tmp_path, name, unused_days=3) for name in "abc"]
    cache.mark_used(paths[:1])
    cache.drop_unused(tmp_path, most_bytes=0, unused_s=DAY_S)
    assert [path.exists() for path in paths] == [True, False, False]


def test_within_its_size_nothing_goes(tmp_path: Path) -> None:
    path = put(tmp_path, "a", unused_days=300)
    cache.drop_unused(tmp_path, most_bytes=100, unused_s=DAY_S)
    assert path.exists()


def test_marking_a_file_that_is_gone_is_no_error(tmp_path: Path) -> None:
    cache.mark_used([tmp_path / "gone"])


def test_what_a_killed_process_had_begun_goes_later(tmp_path: Path) -> None:
    left, begun = tmp_path / ".left", tmp_path / ".begun"
    for folder, days in ((left, 3), (begun, 0)):
        folder.mkdir()
        put(folder, "part", unused_days=days)
        at = time.time() - days * DAY_S
        os.utime(folder, (at, at))
    cache.drop_unused(tmp_path, most_bytes=1000, unused_s=DAY_S)
    assert (left.exists(), begun.exists()) == (False, True)


def test_damaged_seeded_weights_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path))
    path = tmp_path / "net.prototxt"
    path.write_text(WILD["tiny"]())
    network = networks.load(str(path))
    weights = seeded_weights(network, 0)
    whole = weights.read_bytes()
    for damaged in (whole[:-7], b""):
        weights.write_bytes(damaged)
        assert seeded_weights(network, 0) == weights
        assert weights.read_bytes() == whole
