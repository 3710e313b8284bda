"""Build the section of one network: its figures, and the rows of its tables."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from markupsafe import Markup, escape

from pibench.report.html import figures
from pibench.report.numbers import NOTHING, mib, milliseconds, percent
from pibench.report.plain import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pibench.plan.planner import Plan
    from pibench.report.content import LayerTime, LayerTimes, NetworkReport

LARGEST: Final = 10
"""The number of largest allocations and layers listed."""


@dataclass(frozen=True, kw_only=True)
class PhaseRow:
    """The maximum of one phase of the program, in bytes, and its position."""

    phase: str
    layer: str
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Section:
    """The section of one network."""

    anchor: str
    network: NetworkReport
    figures: Mapping[str, figures.Figure]
    phases: Sequence[PhaseRow]
    layer_count: int
    layer_rows: Markup
    phase_names: Sequence[str]

    def time_figure(self, index: int) -> str:
        """Return the name of the figure of the network's times at `index`."""
        return f"{self.anchor}-time{index}"

    @property
    def memory_figure(self) -> str:
        """The name of the figure of memory over layers."""
        return f"{self.anchor}-memory"

    @staticmethod
    def largest(times: LayerTimes) -> list[LayerTime]:
        """Return the layers that take the most time."""
        return sorted(times.layers, key=lambda layer: -layer.forward_ms)[:LARGEST]

    @staticmethod
    def by_group(times: LayerTimes) -> list[tuple[str, float]]:
        """Return the kinds of work and their fractions of the time, the largest first."""
        total: dict[str, float] = defaultdict(float)
        for layer in times.layers:
            total[figures.group_of(layer.type)] += times.share(layer)
        return sorted(total.items(), key=lambda item: -item[1])


def section(network: NetworkReport, *, anchor: str) -> Section:
    """Return the section of a network; `anchor` is its id in the page."""
    drawn: dict[str, figures.Figure] = {}
    memory = figures.memory_over_layers(network)
    if memory is not None:
        drawn[f"{anchor}-memory"] = memory
    for index, times in enumerate(network.times):
        drawn[f"{anchor}-time{index}"] = figures.time_per_layer(times)
    planned = network.planned
    phases = dict.fromkeys(step.phase for step in planned.steps if step.layer) if planned else {}
    rows = _layer_rows(planned, network.times, list(phases))
    return Section(
        anchor=anchor,
        network=network,
        figures=drawn,
        phases=_phases(planned) if planned else [],
        layer_count=len(rows),
        layer_rows=Markup("\n").join(rows),
        phase_names=list(phases),
    )


def _phases(planned: Plan) -> list[PhaseRow]:
    highest: dict[str, PhaseRow] = {}
    for step in planned.steps:
        before = highest.get(step.phase)
        if before is None or step.peak_bytes > before.peak_bytes:
            highest[step.phase] = PhaseRow(
                phase=step.phase, layer=step.layer, peak_bytes=step.peak_bytes
            )
    return list(highest.values())


def _layer_rows(
    planned: Plan | None, times: Sequence[LayerTimes], phases: Sequence[str]
) -> list[Markup]:
    """Return a table row per layer: its maximum resident memory by phase, and its time.

    The order is the plan's, or that of the first times without a plan. Rows are not rendered by
    a template: there can be ten thousand, and HTML closes rows and cells implicitly.
    """
    timed = {layer.name: layer for layer in times[0].layers} if times else {}
    peaks: dict[str, dict[str, int]] = {}
    for step in planned.steps if planned else ():
        if step.layer:
            of_layer = peaks.setdefault(step.layer, {})
            of_layer[step.phase] = max(of_layer.get(step.phase, 0), step.peak_bytes)
    rows = []
    for name in dict.fromkeys([*peaks, *timed]):
        layer = timed.get(name)
        cells = [layer.type if layer else NOTHING]
        cells += [mib(peaks.get(name, {}).get(phase), 1) for phase in phases]
        if times:
            cells.append(milliseconds(layer.forward_ms if layer else None))
            cells.append(percent(times[0].share(layer) if layer else None))
        row = "".join(f"<td>{escape(visible(cell))}" for cell in cells)
        rows.append(Markup(f'<tr><th scope="row"><bdi>{escape(visible(name))}</bdi>{row}'))  # noqa: S704
    return rows
