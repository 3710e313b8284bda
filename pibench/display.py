"""Let results show themselves in a notebook, without importing the report that draws them.

A result lies in a low layer, the report above it. `pibench.api`, which is above both, connects
them: see `show_by`.
"""

from __future__ import annotations

from collections.abc import Callable

_html_of: Callable[[object], str | None] | None = None


def show_by(html_of: Callable[[object], str | None]) -> None:
    """Set the function that returns the HTML of a result, or None if it has none."""
    global _html_of  # noqa: PLW0603  (one for the process: see above)
    _html_of = html_of


class Displayed:
    """A result with a table or a picture in notebooks, which look for `_repr_html_`."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        return None if _html_of is None else _html_of(self)
