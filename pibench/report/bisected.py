"""Present the first difference between two sides, for the terminal and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from pibench.report.plain import visible
from pibench.report.terminal import MARKS, NOTHING, console, printable

if TYPE_CHECKING:
    from rich.console import Console

    from pibench.bisect.bisection import Bisection, BlobDifference
    from pibench.crosscheck.layers import LayerComparison

VERSION: Final = "2.0"
AROUND: Final = 3
"""Layers shown before and after the first one that differs."""


def print_bisection(found: Bisection, *, to: Console | None = None) -> None:
    """Print the environment differences, the layers around the first difference, the conclusion."""
    to = to or console()
    to.print(printable(f"{found.network}: {found.first} against {found.second}"))
    for what, ours, theirs in found.surroundings:
        to.print(printable(f"  {what}: {ours} | {theirs}"))
    to.print(layers_table(_shown(found)))
    for line in _lines(found):
        to.print(printable(line))


def layers_table(layers: list[LayerComparison]) -> Table:
    """Format one line per blob written by a layer: its distance, by signatures."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("Layer", overflow="fold")
    table.add_column("Type", overflow="fold")
    table.add_column("Blob", overflow="fold")
    table.add_column("Apart", justify="right", no_wrap=True)
    for layer in layers:
        table.add_row(
            MARKS[layer.agrees],
            printable(layer.layer),
            printable(layer.type),
            printable(layer.name),
            "equal" if layer.identical else _share(layer.relative) or _briefly(layer),
        )
    return table


def _briefly(layer: LayerComparison) -> str:
    """Describe, in a column's width, a difference that is not a distance."""
    return "not finite" if "NaN" in layer.why else visible(layer.why)


def as_json(found: Bisection) -> dict[str, Any]:
    """Return everything; distances are Euclidean, `relative` is a fraction of the first norm."""
    return {
        "schema_version": VERSION,
        "network": found.network,
        "first": found.first,
        "second": found.second,
        "tolerance": asdict(found.tolerance),
        "agrees": bool(found),
        "cause": found.cause,
        "caveats": list(found.caveats),
        "environment": [
            {"what": what, "first": ours, "second": theirs}
            for what, ours, theirs in found.surroundings
        ],
        "first_divergence": _optional(found.first_divergence),
        "blob": _optional(found.blob),
        "inputs": [asdict(one) for one in found.inputs],
        "isolated": _optional(found.isolated),
        "definition": list(found.definition),
        "layers": [asdict(layer) for layer in found.layers.layers],
        "only_first": list(found.layers.only_first),
        "only_second": list(found.layers.only_second),
    }


def _optional(found: LayerComparison | BlobDifference | None) -> dict[str, Any] | None:
    """Return a comparison as plain data; None only if there is none, not if it disagrees."""
    return None if found is None else asdict(found)


def _shown(found: Bisection) -> list[LayerComparison]:
    """Return the layers around the first difference, or around the largest one."""
    layers = list(found.layers.layers)
    centre = found.first_divergence if found.first_divergence is not None else found.layers.worst
    if centre is None:
        return layers[: 2 * AROUND + 1]
    at = layers.index(centre)
    return layers[max(0, at - AROUND) : at + AROUND + 1]


def _lines(found: Bisection) -> list[str]:
    layers = found.layers.layers
    equal = sum(layer.identical for layer in layers)
    parted = sum(not layer for layer in layers)
    counted = f"{equal} equal, {parted} beyond"
    lines = [f"{len(layers)} blobs by signatures ({found.tolerance}, Euclidean): {counted}."]
    worst = found.layers.worst
    if worst is not None:
        lines.append(f"Furthest apart: {worst.layer}, {_share(worst.relative)} of its norm.")
    for side, names in (
        (found.first, found.layers.only_first),
        (found.second, found.layers.only_second),
    ):
        if names:
            lines.append(f"Only in {side}: {', '.join(names)}.")
    if found.blob is not None:
        lines.append(f"Whole blob of {found.blob.layer}: {_apart(found.blob)}.")
    lines += [f"  it reads {one.name} of {one.layer}: {_apart(one)}." for one in found.inputs]
    if found.isolated is not None:
        lines.append(f"{found.isolated.layer} alone, on identical input: {_apart(found.isolated)}.")
    lines += [f"  {line}" for line in found.definition]
    return [*lines, *(f"Not known: {why}." for why in found.caveats), f"{found.cause}."]


def _apart(blob: BlobDifference) -> str:
    if blob.why and not blob and blob.largest is None:
        return blob.why
    noted = f" ({blob.why})" if blob.why else ""
    if blob.identical:
        return f"equal{noted}"
    largest = "not a number" if blob.largest is None else f"{blob.largest:.3g}"
    place = ", ".join(map(str, blob.place))
    return (
        f"{_share(blob.relative) or 'infinitely'} apart, at most {largest} at [{place}] "
        f"({_value(blob.first)} and {_value(blob.second)}){noted}"
    )


def _share(relative: float | None) -> str:
    return "" if relative is None else f"{relative:.1e}"


def _value(number: float | None) -> str:
    return NOTHING if number is None else f"{number:.9g}"
