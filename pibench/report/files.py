"""A report's forms, each by the ending of a file's name: HTML, Markdown, CSV, JUnit, a picture."""

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
    """The form that a file of this name has. Raises InvalidInputError."""
    form = _BY_ENDING.get(path.suffix.lower())
    if form is None:
        raise InvalidInputError.at(
            path, None, "no form of a report goes by this ending",
            hint=f"end it in {', '.join(_BY_ENDING)}, or say it: --format {'|'.join(FORMS)}",
        )  # fmt: skip
    return form


def named(text: str) -> Form:
    """The form of this name. Raises InvalidInputError."""
    if text in FORMS:
        return text
    raise InvalidInputError(
        f"--format {text!r} is no form of a report", hint=f"give one of {', '.join(FORMS)}"
    )


def rendered(report: Report, form: Form, *, sources: Sequence[str] = ()) -> str | bytes:
    """The report in that form: text, or the bytes of a picture.

    `sources` are the names of the record files. Raises InvalidInputError for a picture of
    records without a peak.
    """
    # Each form brings libraries of its own: only one is asked for as a rule.
    if form == "html":
        from pibench.report.html.page import render  # noqa: PLC0415

        return render(report, sources=sources)
    if form == "markdown":
        from pibench.report.markdown import markdown  # noqa: PLC0415

        return markdown(report)
    if form == "csv":
        from pibench.report.table import csv_text  # noqa: PLC0415

        return csv_text(report.records)
    if form == "junit":
        from pibench.report.junit import junit  # noqa: PLC0415

        return junit(report)
    # What it says of its own folders, where there is no home, concerns no picture.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from pibench.report.overview_plot import overview  # noqa: PLC0415

    return overview(report, form)
