"""A study is run, cut off, resumed: every cell once, and nothing lost."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from pibench import networks
from pibench.engines.caffe import caffemodel
from pibench.errors import ExitCode, HostError
from pibench.images.recipe import fingerprint
from pibench.sweeps import matrix
from pibench.sweeps.execute import CellResult
from pibench.sweeps.journal import CellCache, Journal, status
from pibench.sweeps.scheduler import SweepScheduler
from tests import whole_records
from tests.unit.sweep.conftest import Cells, answered
from tests.wild.networks import WILD

MakeConduct = Callable[..., SweepScheduler]


def verdict(name: str) -> CellResult:
    return answered(whole_records.record(record_id=uuid4().hex, verdict=name))


def test_every_cell_runs_once(conduct: MakeConduct) -> None:
    cells = Cells()
    tally = conduct(cells).run()
    assert (tally.ran, tally.left, int(tally.exit_code)) == (6, 0, 0)
    assert len(set(cells.asked)) == 6
    again = Cells()
    assert conduct(again).run().left == 0
    assert again.asked == []


@pytest.mark.parametrize("after", range(6))
def test_what_was_cut_off_is_gone_on_with(conduct: MakeConduct, after: int) -> None:
    numbers = itertools.count()

    def answer(_: object) -> CellResult:
        if next(numbers) == after:
            raise KeyboardInterrupt
        return verdict("fit")

    first, rest = Cells(answer), Cells()
    with pytest.raises(KeyboardInterrupt):
        conduct(first, room=None).run()
    tally = conduct(rest).run()
    assert tally.left == 0
    assert len(rest.asked) == 6 - len(conduct(rest).journal.read().verdicts) + tally.ran
    assert set(first.asked) | set(rest.asked) == set(first.asked + rest.asked)
    assert len(conduct(rest).journal.read().verdicts) == 6


def test_an_inconclusive_cell_runs_again(conduct: MakeConduct) -> None:
    doubtful = Cells(lambda cell: verdict("inconclusive" if "batch 2" in cell.label else "fit"))
    tally = conduct(doubtful).run()
    assert (tally.verdicts["inconclusive"], int(tally.exit_code)) == (2, 4)
    again = Cells()
    tally = conduct(again).run()
    assert len(again.asked) == 2
    assert (tally.verdicts["inconclusive"], tally.verdicts["fit"], tally.left) == (0, 6, 0)


def test_a_changed_axis_runs_only_what_is_new(conduct: MakeConduct) -> None:
    conduct(Cells()).run()
    more = Cells()
    axes = {"networks": ["NIN", "AlexNet"], "batch": [1, 2, 4, 8], "target": "twin"}
    assert conduct(more, axes).run().left == 0
    assert [label.split()[:3] for label in more.asked] == [
        ["NIN", "batch", "8"], ["AlexNet", "batch", "8"],
    ]  # fmt: skip


def test_cells_of_other_studies_are_taken_over(conduct: MakeConduct, tmp_path: Path) -> None:
    cache = CellCache(tmp_path / "cells")
    conduct(Cells(), cache=cache).run()
    kept = sorted(cache.folder.rglob("*.jsonl"))
    assert len(kept) == 6
    # One is damaged, by a bit in a figure: it is run again, the others are not.
    kept[0].write_bytes(kept[0].read_bytes().replace(b'"batch":1', b'"batch":3', 1))
    (tmp_path / "study" / "journal.jsonl").unlink()
    cells = Cells()
    tally = conduct(cells, cache=cache).run()
    assert (tally.cache_hits, tally.ran, tally.left) == (5, 1, 0)


def test_a_pipe_among_shared_cells_is_not_waited_for(tmp_path: Path) -> None:
    cache = CellCache(tmp_path)
    path = tmp_path / "ab" / f"{'ab' * 32}.jsonl"
    path.parent.mkdir()
    os.mkfifo(path)
    assert cache.get("ab" * 32) is None


def test_what_is_planned_far_beyond_the_device_is_left_out_and_reported(
    conduct: MakeConduct, tmp_path: Path
) -> None:
    cells = Cells()
    axes = {"networks": ["NIN", "VGG 16"], "target": "container", "prune": 10}
    tally = conduct(cells, axes).run()
    assert (tally.left_out, tally.ran, tally.left) == (1, 1, 0)
    ((label, reason),) = status(tmp_path / "study").left_out.items()
    assert label.startswith("VGG 16")
    assert reason.startswith("planned: peak ")


def test_a_machine_that_fails_cell_after_cell_ends_it(conduct: MakeConduct) -> None:
    cells = Cells(lambda _: answered(code=3, message="the Engine is away"))
    with pytest.raises(HostError, match="3 cells failed one after another: the Engine"):
        conduct(cells, room=None).run()


@pytest.mark.parametrize("what", ["image", "probe", "pibench"])
def test_what_a_worker_ran_with_other_programs_is_not_kept(conduct: MakeConduct, what: str) -> None:
    def answer(cell: matrix.Cell) -> CellResult:
        ran = answered(whole_records.record(record_id=uuid4().hex))
        is_other = cell.label.startswith("NIN batch 2")
        return replace(ran, made_with={what: "another"}) if is_other else ran

    conducting = conduct(Cells(answer))
    tally = conducting.run()
    assert tally.exit_code == ExitCode.ENVIRONMENT
    assert len(conducting.journal.read().verdicts) == 5
    ((label, (_, output)),) = tally.failed.items()
    assert label.startswith("NIN batch 2")
    assert f"another {what} than this machine" in output


def test_weights_that_changed_meanwhile_are_not_kept(conduct: MakeConduct, tmp_path: Path) -> None:
    text, weights = tmp_path / "my.prototxt", tmp_path / "my.caffemodel"
    text.write_text(WILD["tiny"]())
    weights.write_bytes(
        caffemodel.seeded_weights(networks.load(str(text)).net, 0).SerializeToString()
    )
    axes = {
        "networks": [str(text)],
        "target": "twin",
        "protocol": "inference",
        "weights": {str(text): str(weights)},
    }

    def answer(_: matrix.Cell) -> CellResult:
        return answered(whole_records.record(weights_sha256="0" * 64))

    conducting = conduct(Cells(answer), axes)
    tally = conducting.run()
    assert "another" in str(tally.failed)
    assert "my.caffemodel" in str(tally.failed)
    assert not conducting.journal.read().verdicts


def test_an_invalid_cell_costs_only_itself(conduct: MakeConduct) -> None:
    cells = Cells(
        lambda cell: answered(code=2, message="no") if "batch 2" in cell.label else verdict("fit")
    )
    tally = conduct(cells).run()
    assert (tally.ran, len(tally.failed), tally.left, int(tally.exit_code)) == (4, 2, 2, 2)


def test_damaged_lines_run_again(conduct: MakeConduct) -> None:
    reported: list[str] = []
    first = conduct(Cells())
    first.run()
    path = first.journal.store.path
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2].replace(b"fit", b"fIt", 1), *lines[3:]]))
    again = Cells()
    tally = conduct(again, log=reported.append).run()
    assert (len(again.asked), tally.left) == (1, 0)
    assert "1 damaged lines were moved" in reported[0]


def test_a_clock_that_is_set_back_changes_nothing(
    conduct: MakeConduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    conduct(Cells()).run()
    monkeypatch.setattr("time.time", lambda: 0.0)
    again = Cells()
    assert conduct(again).run().left == 0
    assert again.asked == []


def test_a_full_disk_ends_it_and_what_was_there_stays(conduct: MakeConduct) -> None:
    made = conduct(Cells())
    numbers = itertools.count()
    append = made.journal.store.append

    def full(record: object) -> None:
        if next(numbers) == 3:
            raise HostError("no space left on device")
        append(record)  # type: ignore[arg-type]

    made.journal.store.append = full  # type: ignore[method-assign]
    with pytest.raises(HostError, match="no space"):
        made.run()
    kept = made.journal.read()
    assert (len(kept.verdicts), kept.damaged) == (3, ())


def test_two_ways_of_saying_the_same_are_one_cell(conduct: MakeConduct) -> None:
    axes = {"networks": "NIN", "target": "twin", "compute": [None, "memory-only"], "threads": 4}
    for answer in ("fit", "inconclusive"):
        cells = Cells(lambda _, name=answer: verdict(name))
        made = conduct(cells, axes | {"batch": 2 if answer == "fit" else 3})
        assert made.run().cells == 1
        assert len(cells.asked) == 1


def test_a_dry_call_lists_the_cells_and_runs_none(conduct: MakeConduct, tmp_path: Path) -> None:
    cells = Cells()
    conduct(cells, dry=True).run()
    assert not cells.asked
    assert len(status(tmp_path / "study").missing) == 6


def test_progress_names_the_cell(conduct: MakeConduct) -> None:
    events: list[str] = []
    axes = {"networks": "NIN", "batch": [1, 2], "target": "twin"}
    conduct(Cells(), axes, on_change=lambda _, label, __: events.append(label)).run()
    assert events == ["", "NIN batch 1 rpi3b twin caffe-time", "NIN batch 2 rpi3b twin caffe-time"]


def test_what_an_earlier_version_kept_is_taken_over_whole(
    conduct: MakeConduct, tmp_path: Path
) -> None:
    cache = CellCache(tmp_path / "cells")
    conduct(Cells(), cache=cache).run()
    for path in cache.folder.rglob("*.jsonl"):
        data = json.loads(path.read_text()) | {"schema_version": "1.3"}
        del data["input_size"]
        data["cell"]["seal"] = "0" * 64
        data["cell"]["seal"] = fingerprint(data)
        path.write_text(json.dumps(data) + "\n")
    (tmp_path / "study" / "journal.jsonl").unlink()
    tally = conduct(Cells(), cache=cache).run()
    assert (tally.cache_hits, tally.ran) == (6, 0)
    kept = Journal(tmp_path / "study").read()
    assert (len(kept.verdicts), kept.damaged) == (6, ())
