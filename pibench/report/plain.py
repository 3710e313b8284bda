"""Sanitize untrusted text for one line of a terminal."""

from __future__ import annotations

LONGEST = 1200
"""The maximum length of a line: Caffe's longest messages have about 1000 characters."""


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
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
