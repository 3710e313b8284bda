"""Numbers as reports print them: MiB, MB, milliseconds, percent; a dash where there is none."""

from __future__ import annotations

from typing import Final

MIB: Final = 2**20
MB: Final = 10**6
NOTHING: Final = "\N{EN DASH}"
_TOO_LONG: Final = 1e9
_MINUS: Final = "\N{MINUS SIGN}"


def mib(size_bytes: int | None, decimals: int = 0) -> str:
    """Bytes as MiB, without the unit."""
    return number(None if size_bytes is None else size_bytes / MIB, decimals)


def signed_mib(size_bytes: int | None) -> str:
    """Bytes as MiB with their sign: a headroom."""
    return signed(None if size_bytes is None else size_bytes / MIB, 0)


def number(value: float | None, decimals: int = 0) -> str:
    """With commas between thousands; what no table has room for, in powers of ten."""
    if value is None:
        return NOTHING
    text = f"{value:.3g}" if abs(value) >= _TOO_LONG else f"{value:,.{decimals}f}"
    return text.replace("-", _MINUS)


def signed(value: float | None, decimals: int = 1) -> str:
    """A difference, its sign always there."""
    if value is None:
        return NOTHING
    text = f"{value:+.3g}" if abs(value) >= _TOO_LONG else f"{value:+,.{decimals}f}"
    # What rounds to nothing has no sign.
    return text.replace("-", _MINUS) if text.strip("+-0.") else text[1:]


def milliseconds(value: float | None) -> str:
    """A time: whole milliseconds from 100 on, two decimals below."""
    return number(value, 0 if value is not None and value >= 100 else 2)


def percent(share: float | None, decimals: int = 1) -> str:
    """A share of one, in percent, without the sign."""
    return number(None if share is None else 100 * share, decimals)
