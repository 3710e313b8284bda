"""Print predicted latencies on the terminal: networks, layers, and the table of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from pibench.report.plain import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.crosscheck.claims import Claim
    from pibench.latency.calibration import Calibration
    from pibench.latency.model import Prediction
    from pibench.latency.validation import Row, Validation

NOTHING: Final = "-"


def prediction_table(predictions: Sequence[Prediction], names: Sequence[str]) -> Table:
    """Format one line per network, in ms; multiply-accumulates in millions."""
    table = _table("Network")
    for heading in ("Latency\nms", "Low\nms", "High\nms", "MMAC", "Layers"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Note", overflow="fold")
    for name, one in zip(names, predictions, strict=True):
        table.add_row(
            visible(name),
            f"{one.latency_ms:.0f}",
            f"{one.low_ms:.0f}",
            f"{one.high_ms:.0f}",
            f"{sum(layer.work.macs for layer in one.layers) / 1e6:.0f}",
            str(len(one.layers)),
            note(one),
        )
    return table


def note(prediction: Prediction) -> str:
    """Return a warning about the time; empty if there is none."""
    if not prediction.fits:
        return "does not fit"
    if prediction.pressure_ms:
        return f"{prediction.pressure_ms:.0f} ms for the edge of memory"
    return ""


def how_known(*, counted: bool) -> str:
    """Return what was run for a prediction: nothing, or Caffe if its instructions are counted."""
    return (
        "Caffe's instructions were counted in QEMU, no time was" if counted else "nothing was run"
    )


def footnotes(
    predictions: Sequence[Prediction], calibration: Calibration, *, counted: bool = False
) -> list[str]:
    """Explain the times, and the meaning of "does not fit" if it occurs."""
    how = how_known(counted=counted)
    lines = [
        (
            f"predicted, {how}: one forward pass, {calibration.protocol}; rates fitted "
            f"on {calibration.source}; low to high is a 90 % interval"
        )
    ]
    if any(one.pressure_ms for one in predictions):
        lines.append(
            f"edge of memory: below a headroom of {calibration.pressure.onset_mib:.0f} MiB; what "
            "it costs is known from few times: low and high are bounds there (docs/latency.md)"
        )
    if not all(one.fits for one in predictions):
        lines.append("does not fit: the time is for a board of the same speed with more memory")
    return lines


def latency_table(claims: Sequence[Claim]) -> Table:
    """Show the paper's and pibench's latency in ms; fitted figures have no error."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("#", justify="right")
    table.add_column("Network", overflow="fold", min_width=14)
    for heading in ("Latency ms\npaper", "\nours", "\nlow", "\nhigh", "Err\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Ours is", no_wrap=True)
    for claim in claims:
        if claim.column == "latency_ms" and isinstance(claim.ours, float):
            table.add_row(
                str(claim.row),
                visible(claim.paper_network),
                f"{claim.paper:g}",
                f"{claim.ours:.0f}",
                NOTHING if claim.low is None else f"{claim.low:.0f}",
                NOTHING if claim.high is None else f"{claim.high:.0f}",
                NOTHING if claim.error_pct is None else f"{claim.error_pct:+.1f}",
                claim.provenance.kind,
            )
    return table


def layer_table(prediction: Prediction) -> Table:
    """Format one line per layer that takes time."""
    table = _table("Layer")
    table.add_column("Type", no_wrap=True)
    for heading in ("ms", "Share\n%", "MMAC"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in prediction.layers:
        if layer.latency_ms:
            table.add_row(
                visible(layer.work.name),
                visible(layer.work.type),
                f"{layer.latency_ms:.2f}",
                f"{100 * layer.latency_ms / prediction.latency_ms:.1f}",
                f"{layer.work.macs / 1e6:.1f}" if layer.work.macs else NOTHING,
            )
    return table


def validation_table(validation: Validation) -> Table:
    """Format one line per network: its time on the board, and its leave-one-out prediction."""
    table = _table("Network")
    for heading in ("Board\nms", "Predicted\nms", "Error\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in validation.rows:
        table.add_row(
            visible(row.network),
            f"{row.measured_ms:.0f}",
            f"{row.predicted_ms:.0f}",
            f"{row.error_pct:+.1f}",
            "" if row.counted else "edge",
        )
    return table


def validation_lines(validation: Validation, calibration: Calibration) -> list[str]:
    """Return the totals, the naive model's, and the basis of the rate at the edge of memory."""
    counted = sum(row.counted for row in validation.rows)
    lines = [
        (
            f"Left out one at a time, {counted} networks: mean absolute error "
            f"{validation.mape_pct:.1f} %, worst {validation.worst_pct:.1f} %, rank correlation "
            f"{validation.rank_correlation:.3f}, {validation.within_10_pct:.0f} % within 10 %."
        ),
        (
            f"Multiply-accumulates alone, left out alike: {validation.macs_alone_mape_pct:.1f} %, "
            f"worst {validation.macs_alone_worst_pct:.1f} %."
        ),
    ]
    lines += [_edge(row) for row in validation.rows if not row.counted]
    return [*lines, f"Fitted on: {calibration.source} ({calibration.provenance})."]


def _edge(row: Row) -> str:
    bare_pct = 100 * (row.work_ms / row.measured_ms - 1)
    return (
        f"edge: {row.network} is at the edge of the board's memory. Its work alone gives "
        f"{row.work_ms:.0f} ms ({bare_pct:+.1f} %); what the edge costs was fixed by it, so that "
        "its error says nothing."
    )


def _table(first: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold", min_width=14)
    return table
