"""The HTML page without a browser: its policy, its data blocks, its tables, its colours."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pibench.records.schema import LayerTime, ProvenanceKind, Verdict
from pibench.report.content import build
from pibench.report.page import render
from pibench.report.page_figures import GROUPED_ABOVE, blocks_of
from pibench.report.sources import merge
from tests.whole_records import of_the_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pibench.records.schema import Record

FILES: Final = resources.files("pibench.report") / "html"
STYLE: Final = (FILES / "style.css").read_text(encoding="utf-8")
PLOTLY_SHA256: Final = "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"
VOID: Final = ("meta", "link", "input", "col", "br")
LEFT_OPEN: Final = ("tr", "th", "td", "tbody")
HOSTILE: Final = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "\u202egnp.exe\x1b[31m",
    "{{ 7*7 }}",
    "\u2028__proto__'\"",
)


class Reader(HTMLParser):
    """The elements of a page with their texts; complains about ends that match no start."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.scripts: list[tuple[str | None, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open[-1] != tag and self.open[-1] in LEFT_OPEN:
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)
        if self.open and self.open[-1] == "script":
            kind, before = self.scripts[-1]
            self.scripts[-1] = (kind, before + data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def page_of(records: Sequence[Record]) -> str:
    return render(build(merge(records)), sources=["records.jsonl"])


@pytest.fixture(scope="module")
def page(paper_run: list[Record]) -> str:
    by_name = {record.network: record for record in paper_run}
    planned = [of_the_zoo(by_name[name]) for name in ("SqueezeNet V1.1", "VGG 16")]
    return page_of([*(r for r in paper_run if r.network not in ("SqueezeNet V1.1", "VGG 16")),
                    *planned])  # fmt: skip


def test_nothing_but_the_pages_own_scripts_may_run(page: str) -> None:
    reader = read(page)
    (policy,) = [
        attrs["content"] or ""
        for tag, attrs in reader.elements
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    (script,) = [text for kind, text in reader.scripts if kind is None]
    (packed,) = [text for kind, text in reader.scripts if kind == "application/gzip"]
    plotly = gzip.decompress(base64.b64decode(packed, validate=True)).decode()
    assert plotly == (FILES / "plotly-basic.min.js").read_text(encoding="utf-8")
    for text in (script, plotly):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    for tag, attrs in read(page).elements:
        for name in ("src", "href", "action", "data", "srcset"):
            value = attrs.get(name) or ""
            assert value.startswith("#") or value in ("", "data:,"), (tag, name, value)
        assert not any(name.startswith("on") for name in attrs), (tag, attrs)
    assert "@import" not in STYLE
    assert "url(" not in STYLE


def test_ids_are_there_once_and_every_link_leads_to_one(page: str) -> None:
    elements = read(page).elements
    ids = [attrs["id"] for _, attrs in elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {(attrs.get("href") or "")[1:] for tag, attrs in elements if tag == "a"}
    assert links <= set(ids)


def test_every_plot_has_its_figure_and_words_for_it(page: str) -> None:
    reader = read(page)
    plots = {attrs["data-figure"]: attrs for _, attrs in reader.elements if "data-figure" in attrs}
    figures = {
        name: figure
        for kind, text in reader.scripts
        if kind == "application/json"
        for name, figure in json.loads(text).items()
    }
    assert plots.keys() == figures.keys()
    assert {"peaks-rpi3b", "ram_mb", "latency_ms"} <= figures.keys()
    assert all(attrs["role"] == "group" and attrs["aria-label"] for attrs in plots.values())


def test_the_peaks_lie_on_their_sides_of_the_devices_line(page: str) -> None:
    (text,) = [t for kind, t in read(page).scripts if kind and "peaks-rpi3b" in t]
    figure = json.loads(text)["peaks-rpi3b"]
    (shape,) = figure["layout"]["shapes"]
    by_name = {trace.get("name"): trace for trace in figure["data"]}
    assert len(by_name["fit, emulated"]["x"]) == 15
    assert max(by_name["fit, emulated"]["x"]) < shape["x0"] < min(by_name["no-fit, twin"]["x"])
    assert len(by_name["no-fit, twin"]["x"]) == 11


def test_tables_have_headers_with_scopes(page: str) -> None:
    elements = read(page).elements
    heads = [attrs for tag, attrs in elements if tag == "th"]
    assert len(heads) > 100
    assert all(attrs.get("scope") in ("col", "row", "colgroup") for attrs in heads)


def test_every_figure_of_the_ledger_is_in_its_table(page: str) -> None:
    table = page[page.index('<table class="ledger"') :]
    table = table[: table.index("</table>")]
    cells = re.sub(r"<[^>]*>", " ", table)
    for figure in ("497", "16,145", "191", "100.4", "\N{MINUS SIGN}47.4", "OOM kill", "+364"):
        assert figure in cells
    assert table.count("<tr data-verdict=") == 26


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text(name: str, make_record: Callable[..., Record]) -> None:
    layers = (LayerTime(name=name, type=name, forward_ms=1.0),)
    plain = make_record()
    record = make_record(
        network=name, network_source=name, layers=layers,
        evidence=plain.evidence.model_copy(update={"summary": name, "notes": (name,)}),
    )  # fmt: skip
    reader = read(page_of([record]))
    assert sum(kind is None for kind, _ in reader.scripts) == 1
    assert not any(tag == "img" for tag, _ in reader.elements)
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in name)
    assert shown in "".join(reader.texts["bdi"])
    assert not any(char in "".join(reader.texts["bdi"]) for char in "\x1b\u202e\u2028")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ("Caffe", "OpenBLAS 0.3.13")),
        ({"setup": "paper-inferred"}, ("Caffe", "OpenBLAS 0.3.13, paper-inferred")),
        (
            {"engine": "ncnn", "engine_version": "1.0.20261020"},
            ("ncnn 1.0.20261020", "own kernels"),
        ),
        ({"engine": "elsewhere"}, ("elsewhere", "not recorded")),
    ],
)
def test_each_run_names_its_engine_and_its_stack(
    changes: dict[str, Any], words: tuple[str, str], make_record: Callable[..., Record]
) -> None:
    made = make_record(**changes)
    blas = None if "engine" in changes else "OpenBLAS 0.3.13 NO_LAPACKE cortexa53 MAX_THREADS=64"
    guest = made.environment.guest.model_copy(update={"blas_name": blas})
    environment = made.environment.model_copy(update={"guest": guest})
    output = page_of([made.model_copy(update={"environment": environment}), make_record()])
    runs = output[output.index('<section id="runs">') :]
    for word in words:
        assert f"<td><bdi>{word}</bdi></td>" in runs


def test_a_report_of_one_network_is_below_1_mb(paper_run: list[Record]) -> None:
    (largest,) = [of_the_zoo(one) for one in paper_run if one.network == "ResNetV2-269"]
    assert len(page_of([largest]).encode()) < 1_000_000


@given(st.lists(st.sampled_from(["Convolution", "ReLU", "Concat", "InnerProduct"]), max_size=400))
def test_more_than_60_layers_are_in_blocks(types: list[str]) -> None:
    blocks, note = blocks_of(types)
    assert [index for block in blocks for index in block] == [*range(len(types))]
    assert len(blocks) <= GROUPED_ABOVE
    assert bool(note) == (len(types) > GROUPED_ABOVE)


def test_the_same_records_give_the_same_page(make_record: Callable[..., Record]) -> None:
    record = make_record()
    assert page_of([record]) == page_of([record])


def test_plotly_is_the_release_that_was_looked_at() -> None:
    text = (FILES / "plotly-basic.min.js").read_bytes()
    assert hashlib.sha256(text).hexdigest() == PLOTLY_SHA256
    # Neither may stand in a script that is part of a page.
    assert b"</script" not in text.lower()
    assert b"<!--" not in text
    assert (
        b"MIT" in (FILES / "plotly-basic.LICENSE").read_bytes()
        or b"Permission is hereby" in (FILES / "plotly-basic.LICENSE").read_bytes()
    )


def colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))


LIGHT: Final = colours(STYLE[: STYLE.index("@media")])
DARK: Final = LIGHT | colours(STYLE[STYLE.index("@media") : STYLE.index("* { box-sizing")])
TEXTS: Final = (
    "ink", "muted", "link", "differs", "missing",
    *get_args(Verdict), *(kind for kind in get_args(ProvenanceKind)),
)  # fmt: skip


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("text", TEXTS)
def test_texts_stand_out_from_every_ground(palette: dict[str, str], text: str) -> None:
    for ground in ("page", "surface", "raised"):
        light, dark = sorted((luminance(palette[text]), luminance(palette[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def test_light_and_dark_have_the_same_colours() -> None:
    dark_alone = colours(STYLE[STYLE.index("@media") : STYLE.index("* { box-sizing")])
    assert dark_alone.keys() == LIGHT.keys()
