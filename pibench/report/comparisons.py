"""Present comparisons of sides (reconcile) and of layers (bisect): on the terminal and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from pibench.crosscheck.blobs import OutputsComparison
from pibench.crosscheck.metrics import METRICS, Comparison, LatencyComparison
from pibench.crosscheck.reconcile import reasons
from pibench.report.tables import ASCII_MARKS, SHORT, Cell, Table, console, printable
from pibench.report.text import MIB, NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from pibench.bisection.search import Bisection, BlobDifference
    from pibench.crosscheck.blobs import LayerComparison
    from pibench.crosscheck.gate import GateResult
    from pibench.crosscheck.reconcile import NetworkComparison, PairComparison, Reconciliation
    from pibench.crosscheck.sides import Entry

RECONCILE_VERSION: Final = "2.0"
BISECT_VERSION: Final = "2.1"
AROUND: Final = 3
"""Layers shown before and after the first one that differs."""


def print_reconciliation(
    found: Reconciliation, result: GateResult, *, to: Console | None = None
) -> None:
    """Print for each pair: environment differences, a table, what was not compared and why."""
    to = to or console()
    for pair in found.pairs:
        to.print(printable(f"{pair.first} against {pair.second}"))
        differing = [f"{what}: {first} | {second}" for what, first, second in pair.surroundings]
        nothing = ["nothing that is known of their environments differs"]
        for line in [*differing, *pair.not_run] or nothing:
            to.print(printable(f"  {line}"))
        if pair.networks:
            to.print(pair_table(pair))
        for line in [*differences(pair), *_left_out(pair)]:
            to.print(printable(line))
        to.print()
    for line in closing(found, result):
        to.print(printable(line))


def pair_table(pair: PairComparison) -> Table:
    """Return one row per network that both sides have."""
    return Table.of(
        (
            {
                "Network": name,
                "Verdict": _verdict(one),
                "RAM MiB": _ram(one),
                "%": _compared(one.metrics["ram"], _percent(one.metrics["ram"].error)),
                "Latency": _latency(one),
                "Outputs": _outputs(one.metrics["outputs"]),
                "Top 5": _top5(one.metrics["outputs"]),
            }
            for name, one in zip(pair.names, pair.networks, strict=True)
        ),
        numeric=("RAM MiB", "%", "Latency", "Outputs"),
        fold=("Network", "Verdict", "RAM MiB", "Latency"),
    )


def print_bisection(found: Bisection, *, to: Console | None = None) -> None:
    """Print the environment differences, the layers around the first difference, the conclusion."""
    to = to or console()
    to.print(printable(f"{found.network}: {found.first} against {found.second}"))
    for what, first, second in found.surroundings:
        to.print(printable(f"  {what}: {first} | {second}"))
    to.print(layers_table(found))
    for line in conclusions(found):
        to.print(printable(line))


def layers_table(found: Bisection) -> Table:
    """Return one row per blob around the first one that differs: its distance, by signatures."""
    rows = (
        {
            "": ASCII_MARKS[one.agrees],
            "Layer": one.layer,
            "Type": one.type,
            "Blob": one.name,
            "Apart": _distance(one),
        }
        for one in _shown(found)
    )
    return Table.of(rows, numeric=("Apart",), fold=("Layer", "Type", "Blob"))


def _distance(layer: LayerComparison) -> str:
    """Return a layer's distance in a column's width, or what differs if it is not a distance."""
    if layer.identical:
        return "equal"
    return _fraction(layer.relative) or ("not finite" if "NaN" in layer.why else layer.why)


def reconciliation_json(found: Reconciliation, result: GateResult) -> dict[str, Any]:
    """Return everything: sizes in bytes, times in ms, errors and tolerances as fractions of 1."""
    return {
        "schema_version": RECONCILE_VERSION,
        "sides": [
            {"name": side.name, "origin": side.origin, "networks": len(side.entries)}
            for side in found.sides
        ],
        "tolerances": asdict(found.tolerances),
        "agrees": bool(found),
        "exit_code": int(result.code),
        "gate": list(result.asked),
        "failed": list(result.failed),
        "undecided": list(result.undecided),
        "incomparable": list(result.incomparable),
        "pairs": [
            {
                "first": pair.first,
                "second": pair.second,
                "environment": _environment(pair.surroundings),
                "networks": [_network(one) for one in pair.networks],
                "not_run": list(pair.not_run),
                "only_first": list(pair.only_first),
                "only_second": list(pair.only_second),
                "unlike": list(pair.unlike),
            }
            for pair in found.pairs
        ],
    }


def _network(one: NetworkComparison) -> dict[str, Any]:
    return {
        "network": one.network,
        "run": one.subject,
        "protocol": one.first.protocol,
        "batch": one.first.batch,
        "agrees": one.agrees,
        "first": _figures(one.first),
        "second": _figures(one.second),
        "metrics": {name: asdict(metric) for name, metric in one.metrics.items()},
    }


def _environment(differences: Iterable[tuple[str, str, str]]) -> list[dict[str, str]]:
    return [{"what": what, "first": one, "second": other} for what, one, other in differences]


def _figures(entry: Entry) -> dict[str, Any]:
    chosen = {"source", "kind", "verdict", "ram_bytes", "ram", "headroom_bytes"}
    chosen |= {"latency_ms", "latency", "clock"}
    if entry.latency_range_ms is not None:
        chosen.add("latency_range_ms")
    return entry.model_dump(mode="json", include=chosen)


def bisection_json(found: Bisection) -> dict[str, Any]:
    """Return everything; distances are Euclidean, `relative` is a fraction of the first norm."""
    data = asdict(found)
    layers, surroundings = data.pop("layers"), data.pop("surroundings")
    return {
        "schema_version": BISECT_VERSION,
        **data,
        "agrees": bool(found),
        "environment": _environment(surroundings),
        **{name: layers[name] for name in ("layers", "only_first", "only_second")},
    }


def differences(pair: PairComparison) -> list[str]:
    """Return a sentence for each metric that differs, with the smallest sufficient tolerance.

    Metrics that agree only with a remark, for example by the floor, get a sentence too.
    """
    lines = []
    for name, one in zip(pair.names, pair.networks, strict=True):
        for metric in METRICS:
            found = one.metrics[metric]
            if found.agrees is False:
                lines.append(f"! {name}: {metric}: {_difference(found)}")
            elif found.agrees and found.why:
                lines.append(f"= {name}: {metric}: {described(found)}")
    return lines


def described(found: Comparison) -> str:
    """Describe the result of one comparison in a few words; never empty."""
    if found.agrees is None:
        return f"not compared: {found.why}"
    if not found:
        return _difference(found)
    error = "agrees" if found.error is None else f"{100 * found.error:+.1f} %"
    return f"{error}: {found.why}" if found.why else error


def _difference(found: Comparison) -> str:
    if isinstance(found, OutputsComparison):
        parts = [found.why] if found.why else []
        for blob in found.blobs:
            if blob.values is not None and not blob.values and not blob.values.non_finite_differ:
                parts.append(
                    f"{blob.name} differs by up to {blob.values.largest:.3g}, "
                    + _needed(blob.values.required_rtol, "rtol alone")
                )
            elif blob.relative is not None and not blob:
                parts.append(f"{blob.name} is about {blob.relative:.2g} of its norm away")
        return "; ".join(parts)
    if found.error is None:
        return found.why
    return f"{100 * found.error:+.1f} %, {_needed(found.required, 'a tolerance')}"


def _needed(tolerance: float | None, what: str) -> str:
    return f"no {what} would do" if tolerance is None else f"{what} of {tolerance:.3g} would do"


def _left_out(pair: PairComparison) -> list[str]:
    lines = [f"? not compared: {why}" for why in reasons(pair.networks, METRICS)]
    lines += [f"? {sentence}" for sentence in pair.unlike]
    for side, names in ((pair.first, pair.only_first), (pair.second, pair.only_second)):
        if names:
            lines.append(f"  only in {side}: {'; '.join(names)}")
    return lines


def closing(found: Reconciliation, result: GateResult) -> list[str]:
    """Return the tolerances that were applied, and the gate's result."""
    applied = found.tolerances
    ram = f"RAM {100 * applied.ram:g} % or {applied.ram_floor_bytes / MIB:g} MiB"
    latency = f"latency {100 * applied.latency:g} % (times of one clock only)"
    lines = [
        f"Tolerances: {ram}, {latency}, outputs {applied.outputs}.",
        "Outputs: the rtol that alone would do. Ranks: Spearman's, of the layers' times.",
    ]
    if result.failed:
        lines.append(f"Differs: {'; '.join(result.failed)}.")
    if result.undecided:
        lines.append(f"Undecided: {'; '.join(result.undecided)}.")
    lines += [f"{sentence}." for sentence in result.incomparable]
    if result.asked:
        lines.append(f"The gate ({', '.join(result.asked)}) {_passes(result)}.")
    elif result:
        left_out = [reasons(found.networks, [metric]) for metric in METRICS]
        sentences = [why[0] + (" and others" if why[1:] else "") for why in left_out if why]
        rest = f" Not compared: {'; '.join(sentences)}." if sentences else ""
        lines.append(f"All that was compared agrees.{rest}")
    return lines


def _passes(result: GateResult) -> str:
    if result.failed:
        return "fails"
    if result.incomparable:
        return "cannot be decided"
    return "is undecided" if result.undecided else "passes"


def _percent(error: float | None) -> str:
    return NOTHING if error is None else f"{100 * error:+.1f}"


def _compared(found: Comparison, text: str) -> Cell:
    return Cell(text=text, compared=found.agrees is not None, agrees=found.agrees)


def _verdict(one: NetworkComparison) -> Cell:
    verdicts = [entry.verdict or NOTHING for entry in (one.first, one.second)]
    words = [SHORT.get(verdict, verdict) for verdict in verdicts]
    text = words[0] if words[0] == words[1] else "/".join(words)
    return _compared(one.metrics["verdict"], text)


def _ram(one: NetworkComparison) -> str:
    sizes = [entry.ram_bytes for entry in (one.first, one.second)]
    return "/".join(NOTHING if size is None else f"{size / MIB:.0f}" for size in sizes)


def _latency(one: NetworkComparison) -> Cell:
    found = one.metrics["latency"]
    if found.error is not None:
        return _compared(found, f"{_percent(found.error)} %")
    if isinstance(found, LatencyComparison) and found.shares is not None:
        return Cell(text=f"ranks {found.shares.rank_correlation:.2f}")
    return _compared(found, "range" if found.agrees is not None and found.why else NOTHING)


def _outputs(found: Comparison) -> Cell:
    if found.agrees is None:
        return Cell(text=NOTHING)
    # Without a required tolerance the values are equal, or no tolerance would accept them.
    nothing = "equal" if found.agrees else NOTHING
    return _compared(found, nothing if found.required is None else f"{found.required:.1e}")


def _top5(found: Comparison) -> str:
    words = {True: "same", False: "differ", None: NOTHING}
    return words[found.top5] if isinstance(found, OutputsComparison) else NOTHING


def _shown(found: Bisection) -> list[LayerComparison]:
    """Return the layers around the first difference, or around the largest one."""
    layers = list(found.layers.layers)
    centre = found.first_divergence if found.first_divergence is not None else found.layers.worst
    if centre is None:
        return layers[: 2 * AROUND + 1]
    at = layers.index(centre)
    return layers[max(0, at - AROUND) : at + AROUND + 1]


def conclusions(found: Bisection) -> list[str]:
    """Return what was found, a sentence a line: the last ones are the conclusion."""
    compared = found.layers
    equal = sum(layer.identical for layer in compared.layers)
    beyond = sum(not layer for layer in compared.layers)
    blobs = f"{len(compared.layers)} blobs by signatures ({found.tolerance}, Euclidean)"
    lines = [f"{blobs}: {equal} equal, {beyond} beyond."]
    if (worst := compared.worst) is not None:
        lines.append(f"Furthest apart: {worst.layer}, {_fraction(worst.relative)} of its norm.")
    sides = ((found.first, compared.only_first), (found.second, compared.only_second))
    lines += [f"Only in {side}: {', '.join(names)}." for side, names in sides if names]
    if found.left_out:
        lines.append(f"Not a layer of its own on both sides: {', '.join(found.left_out)}.")
    if found.blob is not None:
        lines.append(f"Whole blob of {found.blob.layer}: {_apart(found.blob)}.")
    lines += [f"  it reads {one.name} of {one.layer}: {_apart(one)}." for one in found.inputs]
    if found.isolated is not None:
        lines.append(f"{found.isolated.layer} alone, on identical input: {_apart(found.isolated)}.")
    lines += [f"  {line}" for line in found.definition]
    return [*lines, *(f"Unknown: {why}." for why in found.caveats), f"{found.cause}."]


def _apart(blob: BlobDifference) -> str:
    if blob.why and not blob and blob.largest is None:
        return blob.why
    noted = f" ({blob.why})" if blob.why else ""
    if blob.identical:
        return f"equal{noted}"
    largest = "not a number" if blob.largest is None else f"{blob.largest:.3g}"
    place = ", ".join(map(str, blob.place))
    return (
        f"{_fraction(blob.relative) or 'infinitely'} apart, at most {largest} at [{place}] "
        f"({_value(blob.first)} and {_value(blob.second)}){noted}"
    )


def _fraction(relative: float | None) -> str:
    return "" if relative is None else f"{relative:.1e}"


def _value(number: float | None) -> str:
    return NOTHING if number is None else f"{number:.9g}"
