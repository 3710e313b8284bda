"""Tables of predicted latencies, their errors, and counted instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pibench.report.numbers import NOTHING, number, signed
from pibench.report.tables import Column, Table, numeric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.counting import Counts
    from pibench.latency.model import Prediction
    from pibench.latency.rates import LatencyRates
    from pibench.latency.validation import Row, Validation

_COUNTED: Final = (
    "Instr.", "MACs", "SIMD/FP", "Load", "Store", "Branch", "L1\nmiss", "L2\nmiss",
)  # fmt: skip


def prediction_table(predictions: Sequence[Prediction], names: Sequence[str]) -> Table:
    """Return one row per network, in ms; multiply-accumulates in millions."""
    return Table(
        columns=(
            Column(heading="Network", fold=True),
            *numeric("Latency\nms", "Low\nms", "High\nms", "MMAC", "Layers"),
            Column(heading="Note", fold=True),
        ),
        rows=[
            (
                name,
                *map(number, (one.latency_ms, one.low_ms, one.high_ms)),
                number(sum(layer.work.macs for layer in one.layers) / 1e6),
                str(len(one.layers)),
                note(one),
            )
            for name, one in zip(names, predictions, strict=True)
        ],
    )


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
    predictions: Sequence[Prediction], calibration: LatencyRates, *, counted: bool = False
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


def layer_table(prediction: Prediction) -> Table:
    """Return one row per layer that takes time."""
    return Table(
        columns=(
            Column(heading="Layer", fold=True),
            Column(heading="Type"),
            *numeric("ms", "Share\n%", "MMAC"),
        ),
        rows=[
            (
                one.work.name,
                one.work.type,
                number(one.latency_ms, 2),
                number(100 * one.latency_ms / prediction.latency_ms, 1),
                number(one.work.macs / 1e6, 1) if one.work.macs else NOTHING,
            )
            for one in prediction.layers
            if one.latency_ms
        ],
    )


def validation_table(validation: Validation) -> Table:
    """Return one row per network: its time on the board, and its leave-one-out prediction."""
    return Table(
        columns=(
            Column(heading="Network", fold=True),
            *numeric("Board\nms", "Predicted\nms", "Error\n%"),
            Column(heading=""),
        ),
        rows=[
            (
                row.network,
                number(row.measured_ms),
                number(row.predicted_ms),
                signed(row.error_pct),
                "" if row.counted else "edge",
            )
            for row in validation.rows
        ],
    )


def counts_table(rows: Sequence[tuple[str, Counts]]) -> Table:
    """Return one row per network or layer, in millions; multiply-accumulates are per lane."""
    return Table(
        columns=(Column(heading="", fold=True), *numeric(*_COUNTED)),
        rows=[
            (
                name,
                *(
                    number(None if figure is None else figure / 1e6, 2)
                    for figure in (
                        one.instructions, one.macs, one.simd_instructions, one.load_instructions,
                        one.store_instructions, one.branch_instructions, one.l1_misses,
                        one.l2_misses,
                    )
                ),
            )
            for name, one in rows
        ],
    )  # fmt: skip


def validation_lines(validation: Validation, calibration: LatencyRates) -> list[str]:
    """Return the totals, the naive model's, and the basis of the rate at the edge of memory."""
    counted = sum(row.counted for row in validation.rows)
    lines = [
        (
            f"Leave-one-out over {counted} networks: mean absolute error "
            f"{validation.mape_pct:.1f} %, worst {validation.worst_pct:.1f} %, rank correlation "
            f"{validation.rank_correlation:.3f}, {validation.within_10_pct:.0f} % within 10 %."
        ),
        (
            "Multiply-accumulates alone, leave-one-out: "
            f"{validation.macs_alone_mape_pct:.1f} %, "
            f"worst {validation.macs_alone_worst_pct:.1f} %."
        ),
    ]
    lines += [_edge(row) for row in validation.rows if not row.counted]
    return [*lines, f"Fitted on: {calibration.source} ({calibration.provenance})."]


def _edge(row: Row) -> str:
    bare_pct = 100 * (row.work_ms / row.measured_ms - 1)
    return (
        f"edge: {row.network} is at the edge of the board's memory. Its work alone gives "
        f"{row.work_ms:.0f} ms ({bare_pct:+.1f} %); what the edge costs is fitted on it, its "
        "error is therefore not a test."
    )
