"""Select a report's format by file name: HTML, Markdown, CSV, JUnit, an image."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Literal, get_args

from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pibench.report.content import Report

Form = Literal["html", "markdown", "csv", "junit", "png", "svg"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
_BY_ENDING: Final[dict[str, Form]] = {
    ".html": "html", ".htm": "html", ".md": "markdown", ".csv": "csv", ".xml": "junit",
    ".png": "png", ".svg": "svg",
}  # fmt: skip


def form_of(path: Path) -> Form:
    """Return the format for a file name. Raises InvalidInputError."""
    form = _BY_ENDING.get(path.suffix.lower())
    if form is None:
        raise InvalidInputError.at(
            path, None, "no format of a report has this ending",
            hint=f"end it in {', '.join(_BY_ENDING)}, or give it: --format {'|'.join(FORMS)}",
        )  # fmt: skip
    return form


def named(text: str) -> Form:
    """Return the format with this name. Raises InvalidInputError."""
    if text in FORMS:
        return text
    raise InvalidInputError(
        f"--format {text!r} is not a format of a report", hint=f"give one of {', '.join(FORMS)}"
    )


def rendered(report: Report, form: Form, *, sources: Sequence[str] = ()) -> str | bytes:
    """Render the report in that format.

    Args:
        report: the report.
        form: the format.
        sources: the names of the record files.

    Returns:
        Text, or the bytes of an image.

    Raises:
        InvalidInputError: for an image of records without a peak.
    """
    # Import late: each format has its own libraries, and usually only one is used.
    if form == "html":
        from pibench.report.html.page import render  # noqa: PLC0415

        return render(report, sources=sources)
    if form == "markdown":
        from pibench.report.markdown import markdown  # noqa: PLC0415

        return markdown(report)
    if form == "csv":
        from pibench.report.frames import csv_text  # noqa: PLC0415

        return csv_text(report.records)
    if form == "junit":
        from pibench.report.cases import junit  # noqa: PLC0415

        return junit(report)
    # Without a home directory it warns about its own folders, which does not affect the image.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from pibench.report.plots import overview  # noqa: PLC0415

    return overview(report, form)
