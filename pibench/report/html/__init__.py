"""The report as one HTML file that asks no network for anything.

`page.py` puts it together from the templates, style sheet and script beside it;
`plotly-basic.min.js` is plotly.js's own bundle (MIT, see `plotly-basic.LICENSE`), renewed by
`scripts/renew_plotly.sh`.
"""
