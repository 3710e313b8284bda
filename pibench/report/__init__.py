"""Present records and claims to people: on the terminal, as Markdown, a page, CSV, JUnit, images.

`html/` has the page's templates, style sheet and script. Its `plotly-basic.min.js` is plotly.js's
own bundle (MIT, see `plotly-basic.LICENSE`), updated by `scripts/renew_plotly.sh`.
"""
