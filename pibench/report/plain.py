"""Text of unknown origin on one line of a terminal."""

from __future__ import annotations

LONGEST = 1200
"""Characters of a line: Caffe's longest complaints come to 1000."""


def one_line(text: str) -> str:
    """`text` on one line, with whatever would steer a terminal written out, and not endless.

    A network's name and a file's may hold line feeds and escape codes.
    """
    line = visible(" ".join(text.split()))
    if len(line) <= LONGEST:
        return line
    # The hint stands at the end.
    return f"{line[: LONGEST - 305]} ... {line[-300:]}"


def visible(text: str) -> str:
    """`text` with what cannot be printed written as Python's escapes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
