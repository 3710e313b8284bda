"""The machine's state from real files with any contents."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from pathlib import Path

import pytest

from pibench.probe.machine_state import KERNEL_LAG_S, MachineState, Vcgencmd
from tests.limits import limited

THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
ZONE = "sys/class/thermal/thermal_zone{}/temp"
CLOCK = "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq"
GOVERNOR = "sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
ALARM = "sys/class/hwmon/hwmon1/in0_lcrit_alarm"


class Board:
    """A /sys, /proc and /usr of its own, as a Raspberry Pi 3 has them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.write(THROTTLED, "0\n")
        self.write(ZONE.format(0), "48312\n")
        self.write(CLOCK, "1200000\n")
        self.write(GOVERNOR, "ondemand\n")
        self.write("proc/vmstat", "nr_free_pages 5\npswpin 0\npswpout 0\nallocstall 1\n")
        for core in range(4):
            folder = base / f"sys/devices/system/cpu/cpu{core}"
            folder.mkdir(parents=True)
            (folder / "cpufreq").symlink_to("../cpufreq/policy0")

    def write(self, path: str, text: str | bytes) -> Path:
        place = self.base / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        return place

    def remove(self, path: str) -> None:
        (self.base / path).unlink()

    def tool(self, script: str, path: str = "usr/bin/vcgencmd") -> None:
        self.write(path, f"#!/bin/sh\n{script}\n").chmod(0o755)

    def state(self, **options: float) -> MachineState:
        return MachineState(str(self.base), **options)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_a_board_reports_everything(board: Board) -> None:
    board.write(THROTTLED, "50005\n")
    board.write(ZONE.format(1), "61234\n")
    board.write("proc/vmstat", "pswpin 3\npswpout 4\n")
    state = board.state()
    read = state.read()
    assert read.pop("time_s") == pytest.approx(time.monotonic(), abs=5)
    assert read == {
        "throttled_bits": 0x50005,
        "clock_hz": 1_200_000_000,
        "temperature_c": 61.234,
        "swapped_bytes": 7 * os.sysconf("SC_PAGE_SIZE"),
    }
    assert state.describe() == {
        "governor": "ondemand",
        "throttle": {
            "source": str(board.base / THROTTLED),
            "lag_s": KERNEL_LAG_S,
            "occurred_since": "last look",
        },
        "unavailable": {},
    }


def test_a_machine_without_readings_is_reported(tmp_path: Path) -> None:
    state = MachineState(str(tmp_path))
    read = state.read()
    del read["time_s"]
    assert set(read.values()) == {None}
    reported = state.describe()
    assert (reported["governor"], reported["throttle"]) == (None, None)
    assert set(reported["unavailable"]) == {*read, "governor"}
    assert "no vcgencmd" in reported["unavailable"]["throttled_bits"]
    assert "no cpufreq" in reported["unavailable"]["clock_hz"]
    assert "No such file" in reported["unavailable"]["swapped_bytes"]
    # Nothing to wait for.
    began = time.monotonic()
    state.settled()
    assert time.monotonic() - began < 1


ODD = ["", "garbage", "\x00\x00", "9" * 4000, "-1", "1.5e3", "12 13", b"\xff\xfe\xfd", "١٢٠٠"]


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize(
    ("path", "figure"),
    [
        (THROTTLED, "throttled_bits"),
        (CLOCK, "clock_hz"),
        (ZONE.format(0), "temperature_c"),
        ("proc/vmstat", "swapped_bytes"),
    ],
)
def test_odd_contents_give_no_figure(
    path: str, figure: str, text: str | bytes, board: Board
) -> None:
    board.write(path, text)
    state = board.state()
    read = state.read()
    if figure == "temperature_c" and text == "-1":
        # A thousandth of a degree below zero is odd, and a temperature.
        assert read[figure] == -0.001
        return
    assert read[figure] is None
    assert path.rpartition("/")[2] in state.describe()["unavailable"][figure]
    assert len(state.describe()["unavailable"][figure]) < 300
    others = {"throttled_bits", "clock_hz", "temperature_c", "swapped_bytes"} - {figure}
    assert None not in {read[other] for other in others}


@pytest.mark.parametrize("text", ["pswpin 1\n", "pswpin x\npswpout 1\n", "pswpin\npswpout\n"])
def test_half_a_vmstat_is_none(text: str, board: Board) -> None:
    board.write("proc/vmstat", text)
    assert board.state().read()["swapped_bytes"] is None


def test_a_file_that_may_not_be_read_names_the_right() -> None:
    # Root may read anything, and pytest's folders are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        board = Board(Path(folder))
        board.write(THROTTLED, "0").chmod(0)
        user = os.geteuid()
        os.seteuid(65534 if user == 0 else user)
        try:
            state = board.state()
            assert state.read()["throttled_bits"] is None
        finally:
            os.seteuid(user)
    assert "Permission denied" in state.describe()["unavailable"]["throttled_bits"]


def test_a_file_that_cannot_be_read_to_its_end_is_none(board: Board) -> None:
    board.remove(THROTTLED)
    # Reading there fails with EIO, for root too.
    (board.base / THROTTLED).symlink_to("/proc/self/mem")
    state = board.state()
    assert state.read()["throttled_bits"] is None
    assert "Input/output error" in state.describe()["unavailable"]["throttled_bits"]


def test_a_folder_in_the_place_of_a_file_is_none(board: Board) -> None:
    board.remove(THROTTLED)
    (board.base / THROTTLED).mkdir()
    state = board.state()
    assert state.read()["throttled_bits"] is None
    assert "directory" in state.describe()["unavailable"]["throttled_bits"]


def test_a_file_that_vanishes_while_it_is_read_again(board: Board) -> None:
    state = board.state()
    assert state.read()["clock_hz"] == 1_200_000_000
    board.remove(CLOCK)
    assert state.read()["clock_hz"] is None
    assert "No such file" in state.describe()["unavailable"]["clock_hz"]


def test_of_several_zones_those_that_report_count(board: Board) -> None:
    board.write(ZONE.format(1), "-274000")
    board.write(ZONE.format(2), "nonsense")
    state = board.state()
    assert state.read()["temperature_c"] == 48.312
    assert state.describe()["unavailable"] == {}


def test_the_slowest_core_counts_and_the_firmware_before_what_was_asked_of_it(
    board: Board,
) -> None:
    slow = board.base / "sys/devices/system/cpu/cpu3/cpufreq"
    slow.unlink()
    board.write("sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq", "1200000")
    board.write("sys/devices/system/cpu/cpu3/cpufreq/cpuinfo_cur_freq", "600000")
    board.write("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "performance")
    state = board.state()
    assert state.read()["clock_hz"] == 600_000_000
    assert state.describe()["governor"] == "ondemand, performance"


@pytest.mark.parametrize("text", ["", "\x1b[2J", "x" * 500, "two words"])
def test_an_odd_governor_is_none(text: str, board: Board) -> None:
    board.write(GOVERNOR, text)
    reported = board.state().describe()
    assert reported["governor"] is None
    assert "scaling_governor contains" in reported["unavailable"]["governor"]


# ---------------------------------------------------------------- where throttling is reported


def test_a_mainline_kernel_only_reports_under_voltage(board: Board) -> None:
    board.remove(THROTTLED)
    board.write("sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    board.write("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    board.write(ALARM, "0\n")
    state = board.state()
    assert state.read()["throttled_bits"] == 0
    board.write(ALARM, "1\n")
    assert state.read()["throttled_bits"] == 1 << 16
    reported = state.describe()
    assert "under-voltage only" in reported["unavailable"]["throttled_bits"]
    assert reported["throttle"]["occurred_since"] == "last look"


def test_an_old_kernel_s_board_is_asked_by_vcgencmd(board: Board) -> None:
    board.remove(THROTTLED)
    count = board.base / "count"
    board.tool(f"echo x >> {count}; echo throttled=0x$(wc -l < {count})0000", "opt/vc/bin/vcgencmd")
    state = board.state()
    assert [state.read()["throttled_bits"] for _ in range(3)] == [0x10000, 0x20000, 0x30000]
    assert state.describe()["throttle"]["occurred_since"] == "boot"
    state.close()
    # After closing it is no longer reported, and nothing breaks.
    assert state.read()["throttled_bits"] is None


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'VCHI initialization failed'; exit 255", "VCHI initialization failed"),
        ("exit 1", "contains ''"),
        ("printf 'throttled=0x0\\nand more\\n'", "throttled=0x0 and more"),
        ("kill -9 $PPID", "does not answer"),
        ("sleep 60", "does not answer"),
    ],
)
def test_a_tool_that_fails_is_no_figure_and_keeps_nobody_waiting(
    script: str, message: str, board: Board
) -> None:
    board.remove(THROTTLED)
    board.tool(script)
    state = board.state(answer_timeout_s=0.3)
    began = time.monotonic()
    assert state.read()["throttled_bits"] is None
    assert state.read()["throttled_bits"] is None
    assert time.monotonic() - began < 3
    assert message in state.describe()["unavailable"]["throttled_bits"]
    state.close()


def test_a_tool_that_cannot_be_started_is_no_figure(board: Board) -> None:
    board.remove(THROTTLED)
    board.tool("echo throttled=0x0")
    # No pipe to it can be opened.
    with limited(resource.RLIMIT_NOFILE, 3):
        state = board.state()
    assert isinstance(state.throttle, Vcgencmd)
    assert state.read()["throttled_bits"] is None


def test_the_last_reading_waits_for_the_kernels_look(board: Board) -> None:
    state = board.state()
    assert state.throttle.lag_s == KERNEL_LAG_S
    state.throttle.lag_s = 0.3
    first_s = state.read()["time_s"]
    assert 0.29 < state.settled()["time_s"] - first_s < 2


def test_reading_is_cheap(board: Board) -> None:
    state = board.state()
    state.read()
    began = time.process_time()
    for _ in range(100):
        state.read()
    assert (time.process_time() - began) / 100 < 0.005
