"""Read the state of a study from its folder, during a sweep or after it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pibench.errors import InvalidInputError
from pibench.sweep.journal import Journal


@dataclass(frozen=True, kw_only=True)
class Status:
    """The number of cells, their verdicts, those left out with the reason, and those to run."""

    folder: str
    at_work: bool
    cells: int
    verdicts: dict[str, int]
    left_out: dict[str, str]
    missing: tuple[str, ...]
    damaged_lines: int


def status(folder: Path) -> Status:
    """Read the status. Raises InvalidInputError for a folder without a study."""
    journal = Journal(folder)
    if not journal.cells_file.exists():
        raise InvalidInputError.at(
            folder, None, "holds no study", hint="name the folder that sweep --out wrote"
        )
    kept = journal.read()
    verdicts: Counter[str] = Counter()
    left_out: dict[str, str] = {}
    missing: list[str] = []
    cells = 0
    for cell in journal.cells():
        cells += 1
        if "left_out" in cell:
            left_out[cell["label"]] = cell["left_out"]
        elif cell["key"] in kept.verdicts:
            verdicts[kept.verdicts[cell["key"]]] += 1
        else:
            missing.append(cell["label"])
    return Status(
        folder=str(folder),
        at_work=journal.at_work,
        cells=cells,
        verdicts=dict(verdicts),
        left_out=left_out,
        missing=tuple(missing),
        damaged_lines=len(kept.damaged),
    )
