"""Show what needs no run: plans, predicted latencies and their errors, counted instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pibench.engines.registry import engine_of
from pibench.report.tables import Column, Table, numeric
from pibench.report.text import (
    MIB,
    NOTHING,
    mib,
    number,
    signed,
    signed_mib,
    small_or_large,
    visible,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from pibench.counting import Counts
    from pibench.crosscheck.cycles import Times
    from pibench.crosscheck.planned import Comparison
    from pibench.latency.model import Prediction
    from pibench.latency.rates import LatencyRates
    from pibench.latency.validation import Row, Validation
    from pibench.plan.process import Step

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
_PICTURE_ROWS: Final = 8
_COUNTED: Final = {
    "Instr.": "instructions", "MACs": "macs", "SIMD/FP": "simd_instructions",
    "Load": "load_instructions", "Store": "store_instructions", "Branch": "branch_instructions",
    "L1\nmiss": "l1_misses", "L2\nmiss": "l2_misses",
}  # fmt: skip


def plan_table(answers: Sequence[dict[str, Any]]) -> Table:
    """Return one row per network, in MiB."""
    # Caffe prints this figure; a plan of another engine shows that engine instead.
    last, of_answer = "Caffe's data\nbytes", _data_bytes
    if any(answer["memory_required_for_data_bytes"] is None for answer in answers):
        last, of_answer = "Engine", _engine
    return Table.of(
        (
            {
                "Network": name,
                "Verdict": answer["verdict"],
                "Peak\nMiB": mib(answer["peak_rss_bytes"]),
                "Band\n+-MiB": mib(answer["band_bytes"]),
                "Head\nMiB": signed_mib(answer["headroom_bytes"]),
                last: of_answer(answer),
                "Peak reached at": f"{answer['peak_at']['phase']} {answer['peak_at']['layer']}",
            }
            for name, answer in zip(names_of(answers), answers, strict=True)
        ),
        numeric=("Peak\nMiB", "Band\n+-MiB", "Head\nMiB", *([last] if last != "Engine" else [])),
        fold=("Network", "Peak reached at"),
    )


def _data_bytes(answer: dict[str, Any]) -> str:
    return number(answer["memory_required_for_data_bytes"])


def _engine(answer: dict[str, Any]) -> str:
    return engine_of(answer["environment"]["engine"]).title


def names_of(answers: Sequence[dict[str, Any]]) -> list[str]:
    """Return the shortest names that distinguish the planned networks."""
    from pibench.records.identity import Run, labels  # noqa: PLC0415  (start-up time)

    keys = ("network", "network_sha256", "network_source", "batch")
    runs = [Run(**{key: answer[key] for key in keys}) for answer in answers]
    # One call has one batch for all networks, but a file may define its own.
    one_batch = len({run.batch for run in runs}) == 1
    return labels(runs, beside=("batch",) if one_batch else (), by_file=True)


def print_details(name: str, answer: dict[str, Any], steps: Sequence[Step], to: Console) -> None:
    """Print the plot, the largest allocations, and the options that would change the peak."""
    width = max(20, to.width - 2)
    peak_mib = answer["peak_rss_bytes"] / MIB
    legend = ", ".join(f"{one[0]} {one}" for one in dict.fromkeys(step.phase for step in steps))
    to.print(f"\n{visible(name)}: memory over layers, up to {peak_mib:.0f} MiB")
    for line in columns(steps, width=width, rows=_PICTURE_ROWS):
        to.print(line)
    to.print(phase_line(steps, width=width))
    to.print(f"{legend}\n\nLargest allocations at the peak\n")
    largest = (
        {"Layer": one["layer"] or NOTHING, "Kind": one["kind"], "MiB": mib(one["bytes"], 1)}
        for one in answer["allocations"]
    )
    to.print(Table.of(largest, numeric=("MiB",)))
    data_bytes = answer["memory_required_for_data_bytes"]
    if data_bytes is not None:
        to.print(f"Memory required for data: {data_bytes:,} bytes, as Caffe prints it\n")
    for change in answer.get("changes", ()):
        saved = change["saved_bytes"] / MIB
        effect = f"saves {saved:.0f}" if saved >= 0 else f"takes {-saved:.0f} more"
        to.print(f"{change['change']}: {change['peak_rss_bytes'] / MIB:.0f} MiB, {effect}")
    if "fits_with_engines" in answer:
        engines = ", ".join(
            f"{one['engine']} ({mib(one['peak_rss_bytes'])} MiB)"
            for one in answer["fits_with_engines"]
        )
        to.print(f"fits with, forward only: {engines or 'no other engine that can be planned'}")
    if "max_batch" in answer:
        batch = answer["max_batch"]
        found = "not known" if batch is None else str(batch or "none")
        to.print(f"largest batch that fits: {found}{_noted(answer['max_batch_note'])}")
    if "max_input" in answer:
        height, width = answer["max_input"]
        found = f"{height}x{width}" if height else "none"
        to.print(f"largest image that fits: {found}{_noted(answer['max_input_note'])}")


def _noted(note: str | None) -> str:
    return f" ({visible(note)})" if note else ""


def comparison_table(rows: Sequence[Comparison], names: Sequence[str]) -> Table:
    """Compare planned with measured peaks in MiB, one row per network, with these names."""
    return Table.of(
        (
            {
                "Network": name,
                "Planned\nMiB": mib(row.planned_bytes, 1),
                "Measured\nMiB": mib(row.measured_bytes or None, 1),
                "Error\n%": signed(None if row.error is None else 100 * row.error, 2),
                "Note": row.note,
            }
            for name, row in zip(names, rows, strict=True)
        ),
        numeric=("Planned\nMiB", "Measured\nMiB", "Error\n%"),
        fold=("Network", "Note"),
    )


def columns(steps: Sequence[Step], *, width: int, rows: int) -> list[str]:
    """Draw memory over steps with block characters: the lines, from the top.

    A column shows the highest RSS in its interval of the steps; there is at most one per step.
    """
    width = max(1, min(width, len(steps)))
    peaks = [0] * width
    for index, step in enumerate(steps):
        at = index * width // len(steps)
        peaks[at] = max(peaks[at], step.peak_bytes)
    tallest = max(peaks)
    eighths = [round(8 * rows * peak / tallest) for peak in peaks]
    return [
        "".join(_EIGHTHS[min(8, max(0, tall - 8 * row))] for tall in eighths)
        for row in reversed(range(rows))
    ]


def phase_line(steps: Sequence[Step], *, width: int) -> str:
    """Return the first letter of each interval's phase, for the line below `columns`."""
    width = max(1, min(width, len(steps)))
    return "".join(steps[index * len(steps) // width].phase[0] for index in range(width))


def prediction_table(predictions: Sequence[Prediction], names: Sequence[str]) -> Table:
    """Return one row per network, in ms; multiply-accumulates in millions."""
    return Table.of(
        (
            {
                "Network": name,
                "Latency\nms": small_or_large(one.latency_ms),
                "Low\nms": small_or_large(one.low_ms),
                "High\nms": small_or_large(one.high_ms),
                "MMAC": small_or_large(sum(layer.work.macs for layer in one.layers) / 1e6),
                "Layers": str(len(one.layers)),
                "Note": _warning(one),
            }
            for name, one in zip(names, predictions, strict=True)
        ),
        numeric=("Latency\nms", "Low\nms", "High\nms", "MMAC", "Layers"),
        fold=("Network", "Note"),
    )


def _warning(prediction: Prediction) -> str:
    if not prediction.fits:
        return "does not fit"
    edge_ms = prediction.pressure_ms
    return f"{edge_ms:.0f} ms for the edge of memory" if edge_ms else ""


def how_known(*, counted: bool) -> str:
    """Return what was run for a prediction: nothing, or Caffe if its instructions are counted."""
    return (
        "Caffe's instructions were counted in QEMU, no time was" if counted else "nothing was run"
    )


def _powers(predictions: Sequence[Prediction]) -> list[str]:
    """Return what a power of LRN takes, where a network has one."""
    from pibench.latency import analytic, stacks  # noqa: PLC0415  (start-up time)

    found = []
    for one in predictions:
        if one.stack and one.data and any(layer.work.pows for layer in one.layers):
            stack = stacks.load(one.stack)
            library = stack.c_library
            power = analytic.powers(stack.cpu, library, one.data)
            found.append(
                f"LRN: a power takes {power.cycles:g} cycles ({power.low:g} to {power.high:g}) on "
                f"{one.data} with {library.replace('_', '.')}; it cannot come from Caffe's code"
            )
    return [*dict.fromkeys(found)]


def footnotes(
    predictions: Sequence[Prediction], calibration: LatencyRates, *, counted: bool = False
) -> list[str]:
    """Explain the times, and the meaning of "does not fit" if it occurs."""
    from pibench.latency.model import basis  # noqa: PLC0415  (start-up time)

    protocols = (
        " or ".join(dict.fromkeys(one.protocol for one in predictions)) or calibration.protocol
    )
    how = f"predicted, {how_known(counted=counted)}: one forward pass, {protocols}"
    rests_on = [basis(one, calibration) for one in predictions] or [
        f"rates fitted on {calibration.source}"
    ]
    lines = [f"{how}; {one}; low to high is a 90 % interval" for one in dict.fromkeys(rests_on)]
    lines += _powers(predictions)
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
    return Table.of(
        (
            {
                "Layer": one.work.name,
                "Type": one.work.type,
                "ms": number(one.latency_ms, 2),
                "Share\n%": number(100 * one.latency_ms / prediction.latency_ms, 1),
                "MMAC": number(one.work.macs / 1e6, 1) if one.work.macs else NOTHING,
            }
            for one in prediction.layers
            if one.latency_ms
        ),
        numeric=("ms", "Share\n%", "MMAC"),
    )


def validation_table(validation: Validation) -> Table:
    """Return one row per network: its time on the board, and its leave-one-out prediction."""
    return Table.of(
        (
            {
                "Network": row.network,
                "Board\nms": number(row.measured_ms),
                "Predicted\nms": number(row.predicted_ms),
                "Error\n%": signed(row.error_pct),
                "": "" if row.counted else "edge",
            }
            for row in validation.rows
        ),
        numeric=("Board\nms", "Predicted\nms", "Error\n%"),
    )


def counts_table(rows: Sequence[tuple[str, Counts]]) -> Table:
    """Return one row per network or layer, in millions; multiply-accumulates are per lane."""
    return Table(
        columns=(Column(heading="", fold=True), *numeric(*_COUNTED)),
        rows=[
            (name, *(_millions(getattr(one, figure)) for figure in _COUNTED.values()))
            for name, one in rows
        ],
    )


def cycles_table(times: Sequence[Times]) -> Table:
    """Return one row per network, type or layer: its time from blocks, and the analytic one."""
    return Table.of(
        (
            {
                "": one.name,
                "Blocks\nms": number(one.from_blocks_ms, 2),
                "Analytic\nms": number(one.analytic_ms, 2),
                "Apart\n%": NOTHING if one.apart is None else signed(100 * one.apart),
                "Apart\nms": f"{one.issue_ms - one.analytic_issue_ms:+.2f}",
                "Memory\nms": number(one.memory_ms, 2),
            }
            for one in times
        ),
        numeric=("Blocks\nms", "Analytic\nms", "Apart\n%", "Apart\nms", "Memory\nms"),
        fold=("",),
    )


def _millions(figure: float | None) -> str:
    return number(None if figure is None else figure / 1e6, 2)


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
