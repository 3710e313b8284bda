"""Watching a child: its emulator's share of the peak, and one that stops to be looked at."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest

from pibench.probe import child
from pibench.probe.log import Frames, LogReader

MIB_KIB = 1024


def test_a_child_that_stops_itself_is_looked_at_and_let_go() -> None:
    before = time.monotonic()
    command = ["sh", "-c", "kill -STOP $$; kill -STOP $$; exit 3"]
    ended = child.watch_child(
        lambda: child.Started(command, os.environ, lambda: None),
        timeout_s=20,
        log=LogReader(),
        frames=Frames(io.BytesIO()),
        item_id="1",
    )
    assert (ended["exit_status"], ended["signal"], ended["timed_out"]) == (3, None, False)
    assert ended["emulator_rss_bytes"] is None
    assert time.monotonic() - before < 10


@pytest.mark.parametrize(
    ("samples", "peak_mib", "expected_mib"),
    [
        pytest.param([(240, 80)], 240, 80, id="looked at where the peak is"),
        # 160 of the program's were seen: what came after is translated code.
        pytest.param([(240, 80), (246, 86)], 246, 86, id="grown with the emulator"),
        pytest.param([(240, 80), (240, 86)], 240, 80, id="grown below an earlier peak"),
        # Grown and ended between two looks: the program's, as far as is known.
        pytest.param([(240, 80)], 300, 80, id="grown after the last look"),
        pytest.param([(240, 80), (241, 79)], 241, 80, id="pages of the emulator taken back"),
        pytest.param([], 240, None, id="not emulated"),
    ],
)
def test_the_emulators_share_of_the_peak(
    tmp_path: Path,
    samples: list[tuple[int, int]],
    peak_mib: int,
    expected_mib: int | None,
) -> None:
    process = tmp_path / "7"
    process.mkdir()
    (process / "exe").symlink_to("/usr/bin/qemu-aarch64-static")
    (process / "status").write_text("VmRSS: 1 kB\n")
    share = child.Resident(7, str(tmp_path))
    for high_water_mib, emulator_mib in samples:
        mapping = f"7f0000000000-7f0080000000 rw-p 0 00:00 0\nRss: {emulator_mib * MIB_KIB} kB\n"
        (process / "smaps").write_text(mapping)
        share.sample(high_water_mib * MIB_KIB, at_once=True)
    found = share.of_peak_bytes(peak_mib * MIB_KIB)
    assert found == (None if expected_mib is None else expected_mib << 20)


def test_page_tables_show_what_is_resident() -> None:
    before = child.exact_rss_kib(os.getpid())
    kept_values = bytearray(64 << 20)
    grown = child.exact_rss_kib(os.getpid()) - before
    assert abs(grown - (len(kept_values) >> 10)) < 1024
    assert child.exact_rss_kib(-1) == 0
