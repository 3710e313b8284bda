"""Print the answer of `pibench check`: whether the network fits, its time, and what would help."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from pibench.engines.registry import engine_of
from pibench.report.text import mib, milliseconds, preset, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pibench.checks import Check

_HOLDERS: Final = 4
_VERDICTS: Final = {
    "fit": ("fits", "bold green"),
    "no-fit": ("does not fit", "bold red"),
    "borderline": ("may or may not fit", "bold yellow"),
}
_STYLED: Final = frozenset({"FORCE_COLOR", "TTY_COMPATIBLE"})
"""Variables that can make Rich take any output for a terminal."""


def print_check(found: Check, answer: Mapping[str, Any]) -> None:
    """Print the answer of `pibench check`; `answer` is the same as `check --json` prints."""
    before, (words, style), after = _head(found, answer)
    if not (sys.stdout.isatty() or _STYLED & os.environ.keys()):
        # Files and pipes need no style, and to import Rich takes as long as a small network.
        print(before, words, after, sep="")
        print(*_lines(found, answer, None), sep="\n")
        return
    from rich.text import Text  # noqa: PLC0415  (see above)

    from pibench.report.tables import console  # noqa: PLC0415  (see above)

    to = console()
    width = to.width if to.is_terminal else None
    head = Text.assemble(before, (words, style), after)
    for line in (head, *map(Text, _lines(found, answer, width))):
        to.print(line, soft_wrap=width is None)


def _head(found: Check, answer: Mapping[str, Any]) -> tuple[str, tuple[str, str], str]:
    """Return the first line in three parts; the verdict is the second, with its style."""
    environment = found.planned.environment
    engine = "" if environment.is_caffe else f" with {engine_of(environment.engine).title}"
    return (
        f"{visible(answer['network'])}{engine} ",
        _VERDICTS[found.judged.verdict],
        f" {found.device.name} (planned, nothing was run)",
    )


def _lines(found: Check, answer: Mapping[str, Any], width: int | None) -> list[str]:
    """Return the lines after the first one, for a terminal of `width` columns.

    Without a width, for files and pipes, no line is broken.
    """
    room = answer["headroom_bytes"]
    rest = f"{mib(room)} MiB are left" if room >= 0 else f"{mib(-room)} MiB are missing"
    peak = f"{mib(answer['peak_rss_bytes'])} of {mib(answer['usable_bytes'])} MiB; {rest}"
    one_pass = "" if found.planned.environment.is_caffe else ", one pass"
    run = f"{answer['protocol']}{one_pass}, batch {answer['batch']}"
    if reserve_bytes := answer["reserve_bytes"]:
        run += f"; {mib(reserve_bytes, 1)} MiB{preset(reserve_bytes)} are for other programs"
    facts = [("memory", f"{peak}, band ±{mib(answer['band_bytes'])}; {run}")]
    one = found.prediction
    if one is None:
        facts.append(("time", f"unavailable: {visible(found.not_predicted)}"))
    else:
        figures = [milliseconds(value) for value in (one.latency_ms, one.low_ms, one.high_ms)]
        more = "" if one.fits else "; of a board with the memory"
        within = "90 %"
        if one.pressure_ms:
            more = f"; {milliseconds(one.pressure_ms)} of it at the edge of memory"
            within = "bounds"
        time = f"{figures[0]} ms forward, {figures[1]} to {figures[2]} ({within})"
        facts.append(("time", f"{time}; predicted for {one.stack}, {one.threads} threads{more}"))
    if found.judged_time is not None:
        facts.append(("limit", visible(str(found.judged_time))))
    at = answer["peak_at"]
    kinds: Counter[str] = Counter()
    for allocation in found.planned.allocations:
        kinds[allocation.kind] += allocation.size_bytes
    holds = ", ".join(f"{kind} {mib(size)}" for kind, size in kinds.most_common(_HOLDERS))
    largest = next((one for one in found.planned.allocations if one.layer), None)
    place = f"{at['phase']} {visible(at['layer'])}".rstrip()
    facts.append(("peak", f"at {place}, MiB: {holds}"))
    if largest is not None:
        what = f"{largest.kind} of {visible(largest.layer)}"
        facts.append(("", f"the largest of a layer is {mib(largest.size_bytes, 1)}: {what}"))
    lines = [line for label, text in facts for line in _broken(f"  {label:8}{text}", width, 10)]
    if found.judged.verdict != "fit":
        lines.append("  fits with" if answer["fits_with"] else "  nothing tried makes it fit")
    lines += _changes(answer["fits_with"], width)
    if answer["prove"] is not None:
        lines += _command_lines("  prove   ", answer["prove"], width)
    return lines


def _changes(changes: Sequence[Mapping[str, Any]], width: int | None) -> list[str]:
    """Return the changes with which a network fits; a command too long begins a line."""
    longest = max((len(change["change"]) for change in changes), default=0)
    lines = []
    for change in changes:
        sizes = f"{mib(change['peak_rss_bytes'])} of {mib(change['usable_bytes'])} MiB"
        what = f"    {change['change']:{longest}}  {sizes:18}"
        note = f" ({visible(change['note'])})" if change["note"] else ""
        whole = f"{what}  {change['command']}{note}"
        if width is None or len(whole) <= width:
            lines.append(whole)
        else:
            lines += _broken(f"{what.rstrip()}{note}", width, 6)
            lines += _command_lines("      ", change["command"], width)
    return lines


def _broken(line: str, width: int | None, indent: int) -> list[str]:
    """Return a line broken between words, its later lines indented."""
    if width is None or len(line) <= width:
        return [line]
    import textwrap  # noqa: PLC0415  (start-up time)

    return textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _command_lines(label: str, command: str, width: int | None) -> list[str]:
    """Return a command after a label, broken so that a shell still reads it as one."""
    if width is None or len(label) + len(command) <= width:
        return [f"{label}{command}"]
    if not command.startswith("pibench "):
        return _broken(f"{label}{command}", width, len(label))
    first, *words = map(shlex.quote, shlex.split(command))
    lines = [f"{label}{first}"]
    for word in words:
        if len(lines[-1]) + len(word) + len("  \\") <= width:
            lines[-1] += f" {word}"
        else:
            lines[-1] += " \\"
            lines.append(f"{' ' * len(label)}  {word}")
    return lines
