"""Studies whose cells are answered at once: what is tested is all around them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pibench.records.schema import Record
from pibench.sweeps import matrix
from pibench.sweeps.execute import CellResult, Room
from pibench.sweeps.journal import Journal
from pibench.sweeps.matrix import made_with
from pibench.sweeps.scheduler import SweepScheduler
from tests import whole_records

ROOM = Room(memory_bytes=64 << 30, cores=4)


def answered(record: Record | None = None, *, code: int = 0, message: str = "") -> CellResult:
    return CellResult(
        record=record, exit_code=code, message=message, attempt=1, elapsed_s=0.1, made_with={}
    )


class Cells:
    """Stands for a target: notes what it was asked, and answers by `answer`."""

    def __init__(self, answer: Callable[[Any], CellResult] | None = None) -> None:
        self.asked: list[str] = []
        self.answer = answer or (lambda _: answered(whole_records.record(record_id=uuid4().hex)))

    def submit(self, cell: Any) -> Future[CellResult]:
        self.asked.append(cell.label)
        future: Future[CellResult] = Future()
        ran = self.answer(cell)
        # Where the answer leaves it open, what is here.
        made = made_with(cell.options.target) | ran.made_with
        future.set_result(replace(ran, made_with=made))
        return future


@pytest.fixture
def conduct(tmp_path: Path) -> Callable[..., SweepScheduler]:
    """Makes one call of a sweep in a folder that stays the same."""

    def make(cells: Cells, axes: dict[str, Any] | None = None, **more: Any) -> SweepScheduler:
        axes = axes or {"networks": ["NIN", "AlexNet"], "batch": [1, 2, 4], "target": "twin"}
        settings = {"cache": None, "room": ROOM, **more}
        return SweepScheduler(
            study=matrix.of(axes, "here"),
            journal=Journal(tmp_path / "study"),
            submit=cells.submit,
            **settings,
        )

    return make
