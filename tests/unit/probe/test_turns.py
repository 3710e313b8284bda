"""Probes take turns: files leave the page cache while no program of another one is measured."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Thread

import pytest

from pibench.probe.programs import turn


@pytest.fixture
def place(tmp_path: Path) -> str:
    path = tmp_path / "python"
    path.write_text("")
    return str(path)


def test_measured_programs_share_and_wait_for_who_empties_the_cache(place: str) -> None:
    seen: list[str] = []

    def measured() -> None:
        with turn(place, False) as has_turn:
            seen.append(f"measured {has_turn}")

    with turn(place, True) as is_alone:
        waiting = Thread(target=measured)
        waiting.start()
        time.sleep(0.1)
        seen.append(f"alone {is_alone}")
    waiting.join()
    assert seen == ["alone True", "measured True"]
    with turn(place, False) as first, turn(place, False) as second:
        assert first
        assert second


def test_who_does_not_get_a_turn_goes_on_without(place: str, tmp_path: Path) -> None:
    with turn(place, False):
        started = time.monotonic()
        with turn(place, True, deadline_s=0.1) as is_alone:
            assert not is_alone
        assert 0.1 <= time.monotonic() - started < 5
    with turn(str(tmp_path / "absent"), True) as is_alone:
        assert not is_alone
