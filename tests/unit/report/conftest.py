"""The report of the paper's 26 networks: each network is built for it, which takes a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pibench.report.content import Report, build
from pibench.report.sources import merge

if TYPE_CHECKING:
    from pibench.records.schema import Record


@pytest.fixture(scope="session")
def paper_report(paper_run: list[Record]) -> Report:
    return build(merge(paper_run))
