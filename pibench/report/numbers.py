"""Format numbers for reports: MiB, MB, milliseconds, percent; a dash for a missing value."""

from __future__ import annotations

from typing import Final

MIB: Final = 2**20
MB: Final = 10**6
NOTHING: Final = "\N{EN DASH}"
_TOO_LONG: Final = 1e9
_MINUS: Final = "\N{MINUS SIGN}"


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


def signed(value: float | None, decimals: int = 1) -> str:
    """Format a difference, always with its sign."""
    if value is None:
        return NOTHING
    text = f"{value:+.3g}" if abs(value) >= _TOO_LONG else f"{value:+,.{decimals}f}"
    # A value that rounds to zero has no sign.
    return text.replace("-", _MINUS) if text.strip("+-0.") else text[1:]


def milliseconds(value: float | None) -> str:
    """Format a time: whole milliseconds from 100 on, two decimals below."""
    return number(value, 0 if value is not None and value >= 100 else 2)


def percent(share: float | None, decimals: int = 1) -> str:
    """Format a fraction in percent, without the sign."""
    return number(None if share is None else 100 * share, decimals)
