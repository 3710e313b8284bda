"""Format numbers for reports (MiB, ms, percent), and sanitize untrusted text for one line."""

from __future__ import annotations

from pibench import devices

MIB = 2**20
MB = 10**6
NOTHING = "\N{EN DASH}"
LONGEST = 1200
"""The maximum length of a line: Caffe's longest messages have about 1000 characters."""
_TOO_LONG = 1e9
_MINUS = "\N{MINUS SIGN}"


def mib(size_bytes: int | None, decimals: int = 0) -> str:
    """Format bytes as MiB, without the unit."""
    return number(None if size_bytes is None else size_bytes / MIB, decimals)


def signed_mib(size_bytes: int | None) -> str:
    """Format bytes as MiB with their sign, for a headroom."""
    return signed(None if size_bytes is None else size_bytes / MIB, 0)


def number(value: float | None, decimals: int = 0) -> str:
    """Format with thousands separators; numbers too long for a table use powers of ten."""
    if value is None:
        return NOTHING
    text = f"{value:.3g}" if abs(value) >= _TOO_LONG else f"{value:,.{decimals}f}"
    return text.replace("-", _MINUS)


def small_or_large(value: float) -> str:
    """Format a number from 10 on without decimals, and a smaller one with two."""
    return number(value, 0 if abs(value) >= 10 else 2)


def signed(value: float | None, decimals: int = 1) -> str:
    """Format a difference, always with its sign."""
    if value is None:
        return NOTHING
    text = f"{value:+.3g}" if abs(value) >= _TOO_LONG else f"{value:+,.{decimals}f}"
    # A value that rounds to zero has no sign.
    return text.replace("-", _MINUS) if text.strip("+-0.") else text[1:]


def usable_memory(usable_bytes: int, reserve_bytes: int) -> str:
    """Return the memory that a network can use on a device, and what other programs have of it."""
    usable = f"{mib(usable_bytes, 1)} MiB"
    if not reserve_bytes:
        return usable
    reserve = f"{mib(reserve_bytes, 1)} MiB{preset(reserve_bytes)}"
    whole = mib(usable_bytes + reserve_bytes, 1)
    return f"{usable} of {whole}: a reserve of {reserve} is for other programs"


def preset(reserve_bytes: int) -> str:
    """Return the name of the preset that a reserve is, in brackets; empty if it is none."""
    name = devices.reserve_name(reserve_bytes / MIB)
    return f" ({name})" if name in devices.reserves() else ""


def milliseconds(value: float | None) -> str:
    """Format a time: whole milliseconds from 100 on, two decimals below."""
    return number(value, 0 if value is not None and value >= 100 else 2)


def percent(share: float | None) -> str:
    """Format a fraction in percent, without the sign."""
    return number(None if share is None else 100 * share, 1)


def sentence(text: str) -> str:
    """Return `text` with a capital first letter."""
    return text[:1].upper() + text[1:]


def one_line(text: str) -> str:
    """Return `text` on one line, with control characters escaped and the length limited.

    The names of a network and its file may contain line feeds and escape codes.
    """
    line = visible(" ".join(text.split()))
    if len(line) <= LONGEST:
        return line
    # Keep the end: it has the hint.
    return f"{line[: LONGEST - 305]} ... {line[-300:]}"


def visible(text: str) -> str:
    """Return `text` with unprintable characters written as Python escapes."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
