"""Render the report as one self-contained HTML file that makes no network requests.

`page.py` combines the templates, style sheet and script in this folder;
`plotly-basic.min.js` is plotly.js's own bundle (MIT, see `plotly-basic.LICENSE`), updated by
`scripts/renew_plotly.sh`.
"""
