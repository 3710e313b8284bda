"""The tables at 80 columns, piped, without colours, and with names that try things."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from pibench.crosscheck.claims import check_claims
from pibench.devices import MIB
from pibench.records.schema import (
    Environment,
    Evidence,
    GuestEnvironment,
    Provenance,
    Sample,
    StartUp,
)
from pibench.records.statistics import interval_of, median_ms
from pibench.report.ledger import print_reproduction
from pibench.report.runs import evidence_in_a_word, how_it_ran, print_records
from pibench.report.tables import Table, console, printable, to_markdown

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.records.schema import Record


def reproduction(records: list[Record], **options: Any) -> str:
    file = io.StringIO()
    print_reproduction(check_claims(records), records, to=console(file, **options))
    return file.getvalue()


def shown(records: list[Record], **options: Any) -> str:
    file = io.StringIO()
    print_records(records, to=console(file, **options))
    return file.getvalue()


def row(text: str, start: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.strip().startswith(start)]
    return line.split()


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def test_the_whole_run_at_80_columns(paper_run: list[Record]) -> None:
    text = reproduction(paper_run)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert row(text, "1 AlexNet") == (
        ["1", "AlexNet", "fit", "=", "fit", "497/497", "0.0", "243.9/243.9", "+364", "exit", "0"]
    )
    assert row(text, "- VGG 16")[3:] == (
        ["no-fit", "=", "no-fit", "-", "-", "-", "-568", "OOM", "kill"]
    )
    assert "Verdicts: 26 of 26 agree with the paper." in text
    assert "RAM: mean absolute error 2.4 % over 15 of 15 rows" in text
    assert "emulated: QEMU virt, 4 x cortex-a53; real compute" in text
    assert "auxiliary heads" in text


def test_what_differs_or_is_missing_is_marked_and_explained(paper_run: list[Record]) -> None:
    flipped = paper_run[0].model_copy(update={"verdict": "no-fit"})
    open_ = paper_run[1].model_copy(update={"verdict": "inconclusive"})
    text = reproduction([flipped, open_, *paper_run[2:-1]])
    assert row(text, "1 AlexNet")[3:5] == ["!", "no-fit"]
    assert row(text, "2 GoogleNet")[3:5] == ["?", "inconcl."]
    assert row(text, "- Xception")[4:6] == ["?", "missing"]
    assert "Verdicts: 23 of 26 agree" in text
    assert "! AlexNet: no-fit, ended with 0, peak 554 MiB of 918 MiB usable" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_wide_terminal_shows_whole_sentences(paper_run: list[Record]) -> None:
    text = reproduction(paper_run, width=150)
    assert "killed by the kernel, out of memory under 981 MiB" in text


def test_colours_only_where_wanted(
    paper_run: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[32m" in reproduction(paper_run)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in reproduction(paper_run)


def test_nothing_at_all_is_shown_too() -> None:
    text = reproduction([])
    assert "Verdicts: 0 of 26 agree" in text
    assert "RAM: mean" not in text
    assert shown([])


def test_names_are_text(make_record: Callable[..., Record]) -> None:
    text = shown([make_record(network="[red]a[/red] :smile: \x1b[31mb\n")], width=120)
    assert "[red]a[/red] :smile: \\x1b[31mb\\n" in text
    assert "\x1b" not in text
    assert str(printable("é ü\r\x07")) == "é ü\\r\\x07"


def test_the_records_of_a_run_at_80_columns(paper_run: list[Record]) -> None:
    text = shown(paper_run)
    assert max(map(len, text.splitlines())) <= 80
    assert row(text, "AlexNet ") == (["AlexNet", "vm", "fit", "554", "497", "+364", "243.9", "-"])
    assert row(text, "VGG 16 ")[3:6] == ["no-fit", ">900", ">843"]
    assert "VGG 16: no-fit, killed by the kernel, out of memory under 981 MiB" in text
    assert "> lower bound" in text


def test_an_emulated_time_is_in_no_table(make_record: Callable[..., Record]) -> None:
    emulated = make_record()
    assert emulated.latency_ms == 3200
    assert "3200" not in shown([emulated])
    twin = dict.fromkeys(emulated.provenance, Provenance(kind="twin"))
    on_twin = make_record(
        target="twin",
        machine=None,
        provenance=emulated.provenance
        | twin
        | {
            "outputs": emulated.provenance["outputs"],
            "emulator_rss_bytes": emulated.provenance["emulator_rss_bytes"],
        },
    )
    assert "3200 twin" in shown([on_twin])


def test_what_came_before_the_passes_is_shown(make_record: Callable[..., Record]) -> None:
    sizes = {"loaded_peak_rss_bytes": 90 * MIB, "steady_rss_bytes": 95 * MIB}
    start_up = StartUp(load_ms=412.5, first_pass_ms=61.25, **sizes)
    samples = tuple(Sample(latency_ms=value) for value in (50.0, 51.0, 52.0))
    text = " ".join(shown([make_record(samples=samples, start_up=start_up)]).split())
    assert (
        "loaded in 412 ms emulated, first pass 61.25 ms, peak 90.0 MiB until loaded, "
        "95.0 MiB resident after the passes" in text
    )


def test_how_it_ran_is_reported_once_per_way(make_record: Callable[..., Record]) -> None:
    twin = make_record(
        target="twin",
        machine=None,
        compute="memory-only",
        latency_ms=None,
        layers=(),
        provenance=make_record().provenance
        | dict.fromkeys(
            ("latency_ms", "layers"), Provenance(kind="unavailable", reason="memory only")
        ),
    )
    assert how_it_ran([make_record(), twin, make_record()]) == [
        "emulated: QEMU virt, cortex-a53; real compute, caffe-time, batch 1",
        (
            "twin: the same Caffe packages for amd64, run natively; "
            "memory-only compute, caffe-time, batch 1"
        ),
    ]


@pytest.mark.parametrize(
    ("evidence", "word"),
    [
        ({"exit_status": 0}, "exit 0"),
        ({"exit_status": -9, "oom_kills": ("Out of memory",)}, "OOM kill"),
        ({"exit_status": -9, "oom_counter": 1}, "OOM kill"),
        ({"exit_status": -9, "timed_out": True}, "timeout"),
        ({"exit_status": -6, "fatal_message": "F"}, "abort"),
        ({"guest_died": True}, "died"),
        ({"signal": 9}, "signal 9"),
        ({}, "no end"),
    ],
)
def test_evidence_in_a_word(
    make_record: Callable[..., Record], evidence: dict[str, Any], word: str
) -> None:
    record = make_record(evidence=Evidence(summary="summary", **evidence))
    assert evidence_in_a_word(record) == word


# ---------------------------------------------------------------- how sure a latency is


@pytest.fixture
def timed(make_record: Callable[..., Record]) -> Callable[..., Record]:
    """A record of inference on a board."""

    def make(samples: list[Sample], **changes: Any) -> Record:
        emulated = make_record()
        measured = Provenance(kind="measured")
        provenance = {
            key: measured if one.kind == "emulated" else one
            for key, one in emulated.provenance.items()
        }
        latency = median_ms(samples)
        if latency is None:
            provenance["latency_ms"] = Provenance(kind="unavailable", reason="none counts")
        guest = GuestEnvironment(
            governor="ondemand", unavailable={"throttled_bits": "no get_throttled"}
        )
        fields = {
            "target": "native",
            "machine": None,
            "protocol": "inference",
            "samples": tuple(samples),
            "latency_ms": latency,
            "latency_interval": interval_of(samples),
            "provenance": provenance,
            "environment": Environment(host=emulated.environment.host, guest=guest),
        }
        return make_record(**(fields | changes))

    return make


def test_an_interval_and_what_was_set_aside_are_shown(timed: Callable[..., Record]) -> None:
    good = [
        Sample(latency_ms=ms, clock_hz=hz, temperature_c=61.2)
        for ms, hz in ((674.0, 1_200_000_000), (681.0, 1_200_000_000), (670.0, 600_000_000))
    ]
    aside = Sample(latency_ms=2000.0, set_aside="the firmware reports throttled (0x4)")
    text = shown([timed([*good, aside, Sample(latency_ms=900.0, outlier=True)])])
    assert "678 ms measured, median of 4 passes, 88 % interval 670 to 900 ms" in text
    assert "1 of 5 set aside: the firmware reports throttled; outlier, counted: 900 ms" in text
    assert "clock 600 to 1200 MHz (governor ondemand); up to 61.2 degrees C" in text
    assert "unavailable: throttled_bits: no get_throttled" in text
    assert max(map(len, text.splitlines())) <= 80


def test_no_interval_and_no_latency_state_why(timed: Callable[..., Record]) -> None:
    text = shown([timed([Sample(latency_ms=674.0), Sample(latency_ms=675.0)])])
    assert "median of 2 passes; an interval needs at least 3 passes" in text
    text = shown([timed([Sample(latency_ms=674.0, set_aside="the kernel swapped (1.0 MiB)")] * 2)])
    assert "2 of 2 set aside: the kernel swapped" in text
    assert "median of" not in text


def test_a_record_without_samples_reports_no_passes(paper_run: list[Record]) -> None:
    assert "passes" not in shown(paper_run)


def test_a_table_takes_its_headings_from_its_rows() -> None:
    rows = [{"Network": "a|b", "Peak\nMiB": "1,234"}, {"Network": "c", "Peak\nMiB": "5"}]
    table = Table.of(rows, numeric=("Peak\nMiB",), file_headings={"Network": "Name"})
    assert to_markdown(table) == [
        "| Name | Peak MiB |",
        "| --- | ---: |",
        r"| a\|b | 1,234 |",
        "| c | 5 |",
    ]
    to = io.StringIO()
    console(to, width=80).print(table)
    assert "Network" in to.getvalue()
    assert "1234" in to.getvalue()


def test_a_table_without_rows_is_empty() -> None:
    assert Table.of(()).columns == []
