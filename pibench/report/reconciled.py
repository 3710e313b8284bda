"""Present the comparison of two or more sides, as tables for the terminal and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pibench.crosscheck.aspects import ASPECTS, LatencyComparison
from pibench.crosscheck.outputs import OutputsComparison
from pibench.crosscheck.reconcile import reasons
from pibench.report.terminal import MARKS, MIB, NOTHING, SHORT, STYLES, console, printable

if TYPE_CHECKING:
    from rich.console import Console

    from pibench.crosscheck.aspects import Comparison
    from pibench.crosscheck.gate import Passage
    from pibench.crosscheck.reconcile import NetworkComparison, PairComparison, Reconciliation
    from pibench.crosscheck.sides import Entry

VERSION: Final = "1.1"


def print_reconciliation(
    found: Reconciliation, passage: Passage, *, to: Console | None = None
) -> None:
    """Print for each pair: environment differences, a table, what was not compared and why."""
    to = to or console()
    for pair in found.pairs:
        to.print(printable(f"{pair.first} against {pair.second}"))
        for line in _surroundings(pair):
            to.print(printable(f"  {line}"))
        if pair.networks:
            to.print(pair_table(pair))
        for line in [*_differences(pair), *_left_out(pair)]:
            to.print(printable(line))
        to.print()
    for line in closing(found, passage):
        to.print(printable(line))


def pair_table(pair: PairComparison) -> Table:
    """Format one line per network that both sides have."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("Network", overflow="fold", min_width=14)
    table.add_column("Verdict", overflow="fold")
    table.add_column("RAM MiB", justify="right", overflow="fold")
    table.add_column("%", justify="right", no_wrap=True)
    table.add_column("Latency", justify="right", overflow="fold")
    table.add_column("Outputs", justify="right", no_wrap=True)
    table.add_column("Top 5", no_wrap=True)
    for name, one in zip(pair.names, pair.networks, strict=True):
        ram, outputs = one.aspects["ram"], one.aspects["outputs"]
        table.add_row(
            printable(name),
            _verdict(one),
            _ram(one),
            _marked(ram, NOTHING if ram.error is None else f"{100 * ram.error:+.1f}"),
            _latency(one),
            _outputs(outputs),
            _top5(outputs),
        )
    return table


def as_json(found: Reconciliation, passage: Passage) -> dict[str, Any]:
    """Return everything: sizes in bytes, times in ms, errors and tolerances as fractions of 1."""
    return {
        "schema_version": VERSION,
        "sides": [
            {"name": side.name, "origin": side.origin, "networks": len(side.entries)}
            for side in found.sides
        ],
        "tolerances": asdict(found.tolerances),
        "agrees": bool(found),
        "exit_code": int(passage.code),
        "gate": list(passage.asked),
        "failed": list(passage.failed),
        "undecided": list(passage.undecided),
        "incomparable": list(passage.incomparable),
        "pairs": [_pair(pair) for pair in found.pairs],
    }


def _pair(pair: PairComparison) -> dict[str, Any]:
    return {
        "first": pair.first,
        "second": pair.second,
        "environment": [
            {"what": what, "first": ours, "second": theirs}
            for what, ours, theirs in pair.surroundings
        ],
        "networks": [
            {
                "network": one.network,
                "run": one.subject,
                "protocol": one.first.protocol,
                "batch": one.first.batch,
                "agrees": one.agrees,
                "first": _figures(one.first),
                "second": _figures(one.second),
                "aspects": {name: asdict(aspect) for name, aspect in one.aspects.items()},
            }
            for one in pair.networks
        ],
        "not_run": list(pair.not_run),
        "only_first": list(pair.only_first),
        "only_second": list(pair.only_second),
        "unlike": list(pair.unlike),
    }


def _figures(entry: Entry) -> dict[str, Any]:
    chosen = {"source", "kind", "verdict", "ram_bytes", "ram", "headroom_bytes"}
    return entry.model_dump(mode="json", include=chosen | {"latency_ms", "latency", "clock"})


def _surroundings(pair: PairComparison) -> list[str]:
    """Return the differences in environment, which are printed before any number."""
    said = [f"{what}: {ours} | {theirs}" for what, ours, theirs in pair.surroundings]
    said += pair.not_run
    return said or ["nothing that is known of their environments differs"]


def _differences(pair: PairComparison) -> list[str]:
    """Return a sentence for each aspect that differs, with the smallest sufficient tolerance.

    Aspects that agree only with a remark, for example by the floor, get a sentence too.
    """
    lines = []
    for name, one in zip(pair.names, pair.networks, strict=True):
        for aspect in ASPECTS:
            found = one.aspects[aspect]
            if found.agrees is False:
                lines.append(f"! {name}: {aspect}: {_difference(found)}")
            elif found.agrees and found.why:
                lines.append(f"= {name}: {aspect}: {told(found)}")
    return lines


def told(found: Comparison) -> str:
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
    lines = [f"? not compared: {why}" for why in reasons(pair.networks, ASPECTS)]
    lines += [f"? {sentence}" for sentence in pair.unlike]
    for side, names in ((pair.first, pair.only_first), (pair.second, pair.only_second)):
        if names:
            lines.append(f"  only in {side}: {'; '.join(names)}")
    return lines


def closing(found: Reconciliation, passage: Passage) -> list[str]:
    """Return the tolerances that were applied, and the gate's result."""
    held = found.tolerances
    latency = f"latency {100 * held.latency:g} % (times of one clock only)"
    lines = [
        (
            f"Held to: RAM {100 * held.ram:g} % or {held.ram_floor_bytes / MIB:g} MiB, {latency}, "
            f"outputs {held.outputs}."
        ),
        "Outputs: the rtol that alone would do. Ranks: Spearman's, of the layers' times.",
    ]
    if passage.failed:
        lines.append(f"Differs: {'; '.join(passage.failed)}.")
    if passage.undecided:
        lines.append(f"Undecided: {'; '.join(passage.undecided)}.")
    lines += [f"{sentence}." for sentence in passage.incomparable]
    if passage.asked:
        lines.append(f"The gate ({', '.join(passage.asked)}) {_passes(passage)}.")
    elif passage:
        left_out = [reasons(found.networks, [aspect]) for aspect in ASPECTS]
        said = [why[0] + (" and others" if why[1:] else "") for why in left_out if why]
        rest = f" Not compared: {'; '.join(said)}." if said else ""
        lines.append(f"All that was compared agrees.{rest}")
    return lines


def _passes(passage: Passage) -> str:
    if passage.failed:
        return "fails"
    if passage.incomparable:
        return "cannot be decided"
    return "is undecided" if passage.undecided else "passes"


def _marked(found: Comparison, text: str) -> Text:
    """Return the text with a mark, if it was compared."""
    if found.agrees is None:
        return Text(text)
    return Text(f"{MARKS[found.agrees]} {text}", style=STYLES[found.agrees])


def _verdict(one: NetworkComparison) -> Text:
    words = [SHORT.get(entry.verdict or "", entry.verdict or NOTHING) for entry in _both(one)]
    text = words[0] if words[0] == words[1] else "/".join(words)
    return _marked(one.aspects["verdict"], text)


def _ram(one: NetworkComparison) -> str:
    sizes = [entry.ram_bytes for entry in _both(one)]
    return "/".join(NOTHING if size is None else f"{size / MIB:.0f}" for size in sizes)


def _latency(one: NetworkComparison) -> Text:
    found = one.aspects["latency"]
    if found.error is not None:
        return _marked(found, f"{100 * found.error:+.1f} %")
    if isinstance(found, LatencyComparison) and found.shares is not None:
        return Text(f"ranks {found.shares.rank_correlation:.2f}")
    return Text(NOTHING)


def _outputs(found: Comparison) -> Text:
    if found.agrees is None:
        return Text(NOTHING)
    return _marked(found, NOTHING if found.required is None else f"{found.required:.1e}")


def _top5(found: Comparison) -> str:
    words = {True: "same", False: "differ", None: NOTHING}
    return words[found.top5] if isinstance(found, OutputsComparison) else NOTHING


def _both(one: NetworkComparison) -> tuple[Entry, Entry]:
    return one.first, one.second
