"""Whole records: one to be changed field by field, and a run of the paper's 26 networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests import whole_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.records.schema import Record


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """Builds a valid record; keyword arguments replace its fields."""
    return whole_records.record


@pytest.fixture
def probe_result() -> dict[str, Any]:
    """The `result` of a probe: `caffe time` that ended well."""
    return whole_records.probe_result()


@pytest.fixture(scope="session")
def paper_run() -> list[Record]:
    """All 26 networks as they came out of the VM, in the paper's order."""
    return whole_records.paper_run()
