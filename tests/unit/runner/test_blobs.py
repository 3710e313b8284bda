"""Kept blobs as npz files."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pibench.cli.run import report_blobs
from pibench.errors import HostError
from pibench.images.recipe import file_sha256
from pibench.records.schema import KeptBlobs, Record
from pibench.runner import runner
from pibench.runner.options import RunOptions
from pibench.runner.runner import dump_blobs
from pibench.targets.base import KeptBlob


def blob(layer: str, name: str, data: np.ndarray, index: int = 0) -> KeptBlob:
    content = data.astype("<f4").tobytes()
    return KeptBlob(index=index, layer=layer, name=name, shape=data.shape, content=content)


def outcome(*kept: KeptBlob, asked: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(kept=kept, job=SimpleNamespace(keep=asked))


def test_numpy_reads_what_was_kept(tmp_path: Path) -> None:
    # Names that are numpy's own, a folder's, or several blobs' of one layer.
    kept = [
        blob("file", "file", np.arange(6).reshape(2, 3)),
        blob("fire2/concat", "fire2/concat", np.ones(3)),
        blob("slice", "first", np.zeros(2), 2),
        blob("slice", "second", np.full(2, 7.0), 2),
    ]
    found = dump_blobs(outcome(*kept, asked=("file", "lost")), "net", tmp_path / "new")
    assert found is not None
    path = tmp_path / "new" / found.file
    assert (found.sha256, found.missing) == (file_sha256(path), ("lost",))
    with np.load(path, allow_pickle=False) as arrays:
        assert tuple(arrays.files) == found.blobs
        assert found.blobs == ("file", "fire2/concat", "slice:first", "slice:second")
        assert np.array_equal(arrays["file"], np.arange(6).reshape(2, 3))
        assert arrays["slice:second"].dtype == np.float32
    assert [one.name for one in (tmp_path / "new").iterdir()] == [found.file]


def test_the_same_blobs_make_the_same_file(tmp_path: Path) -> None:
    kept = outcome(blob("a", "a", np.arange(4.0)))
    names = {dump_blobs(kept, "net", tmp_path).file for _ in range(2)}  # type: ignore[union-attr]
    assert len(names) == len(list(tmp_path.iterdir())) == 1


def test_nothing_kept_is_not_a_file(tmp_path: Path) -> None:
    assert dump_blobs(outcome(), "net", tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(HostError, match="taken"):
        dump_blobs(outcome(blob("a", "a", np.ones(1))), "net", tmp_path / "taken")


def test_a_full_disk_leaves_no_part_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: object) -> None:
        path.write_bytes(b"PK")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runner, "write_npz", full)
    with pytest.raises(HostError, match="No space left"):
        dump_blobs(outcome(blob("a", "a", np.ones(1))), "net", tmp_path)
    assert not list(tmp_path.iterdir())


def test_where_kept_blobs_are_is_reported(
    make_record: Callable[..., Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = KeptBlobs(file="nin-0123.npz", sha256="0" * 64, blobs=("conv1",), missing=("prob",))
    records = [make_record(network="NIN", kept_blobs=kept), make_record(network="AlexNet")]
    report_blobs(records, RunOptions(keep=("conv1", "prob"), blobs=tmp_path))
    stderr = capsys.readouterr().err
    assert f"written: {tmp_path}/nin-0123.npz: blobs conv1; not of prob" in stderr
    assert "AlexNet: no blobs were written" in stderr
    report_blobs(records, RunOptions(blobs=tmp_path))
    assert capsys.readouterr().err == ""
