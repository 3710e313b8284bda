"""The HTML report in a real Chromium: loading, plots, filters, names, light, dark, print, phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import HOSTILE

pytestmark = pytest.mark.browser

Open = Callable[..., Page]
DRAWN = ".plot svg.main-svg"


def rows(page: Page) -> list[str]:
    """Names in the ledger's rows that are shown."""
    return [
        (row.locator("th bdi").text_content() or "")
        for row in page.locator("#ledger-table tbody tr:visible").all()
    ]


def test_it_loads_without_an_error_or_a_request(opened: Open, report: Path) -> None:
    assert report.stat().st_size < 6_000_000
    page = opened(report)
    expect(page.locator("h1")).to_have_text("26 of 26 verdicts agree with the paper")
    page.locator("#memory").scroll_into_view_if_needed()
    expect(page.locator(f"#memory {DRAWN}").first).to_be_visible()
    duration_ms = page.evaluate("performance.getEntriesByType('navigation')[0].duration")
    # benchmarks/report_speed.py prints it; this is only against a page that hangs.
    assert duration_ms < 20_000


def test_the_ledger_filters_by_name_and_by_chip(opened: Open, report: Path) -> None:
    page = opened(report)
    assert len(rows(page)) == 26
    page.get_by_role("button", name="no-fit", exact=True).click()
    assert len(rows(page)) == 11
    page.get_by_role("searchbox", name="Filter networks").fill("inception")
    assert rows(page) == ["Inception-ResNet-V2", "Inception-V4"]
    expect(page.locator("#ledger-count")).to_have_text("2 of 26 networks")
    page.get_by_role("button", name="fit", exact=True).click()
    assert rows(page) == ["Inception-V3"]
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="differs").click()
    assert rows(page) == ["GoogleNet", "ResNext50_32x4d"]
    expect(page.get_by_role("button", name="differs")).to_have_attribute("aria-pressed", "true")


def test_the_ledger_sorts(opened: Open, report: Path) -> None:
    page = opened(report)
    headroom = page.locator("#ledger-table").get_by_role(
        "columnheader", name=re.compile("Headroom")
    )
    headroom.get_by_role("button").click()
    assert rows(page)[0] == "ResNetV2-269"
    expect(headroom).to_have_attribute("aria-sort", "ascending")
    headroom.get_by_role("button").click()
    assert rows(page)[0] == "SqueezeNet V1.1"


def hover_over_a_point(page: Page, place: str, mark: str) -> str:
    plot = page.locator(place)
    plot.scroll_into_view_if_needed()
    point = plot.locator(mark).first
    expect(point).to_be_attached()
    box = point.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    label = plot.locator(".hoverlayer .hovertext")
    expect(label.first).to_be_visible()
    return label.first.text_content() or ""


def test_a_point_states_what_it_is(opened: Open, report: Path) -> None:
    page = opened(report)
    tooltip = hover_over_a_point(page, "[data-figure=ram_mb]", ".points path.point")
    assert re.search(r"AlexNet.*printed 497 MiB, emulated 497 MiB.*error", tooltip), tooltip
    tooltip = hover_over_a_point(page, "[data-figure=latency_ms]", ".points path.point")
    assert re.search(r"predicted [\d,]+ ms.*90 % interval", tooltip), tooltip
    tooltip = hover_over_a_point(page, "[data-figure=peaks-rpi3b]", ".points path.point")
    assert re.search(r"peak .* MiB, emulated.*headroom", tooltip), tooltip


def test_a_networks_section_opens_by_its_link(opened: Open, report: Path) -> None:
    page = opened(report)
    page.locator("#ledger-table").get_by_role("link", name="NIN", exact=True).click()
    section = page.locator("details.network[open]")
    expect(section).to_have_count(1)
    expect(section.locator("h3")).to_have_text("NIN")
    expect(section.locator("[data-figure$=-memory] svg.main-svg").first).to_be_visible()
    expect(section.locator("[data-figure$=-time1] svg.main-svg").first).to_be_visible()
    expect(section.get_by_text("Largest allocations at the peak")).to_be_visible()
    expect(section.locator("code").first).to_have_text(
        re.compile("^pibench run NIN --target vm --protocol caffe-time")
    )
    section.get_by_text("All layers as a table").click()
    expect(section.locator(".all-layers tbody tr")).to_have_count(31)
    # Those that nobody opened are not drawn.
    assert page.locator("details.network:not([open]) svg.main-svg").count() == 0


def test_a_link_into_the_page_opens_the_section(opened: Open, report: Path) -> None:
    page = opened(report, hash_="#n4-squeezenet-v1-1")
    expect(page.locator("#n4-squeezenet-v1-1")).to_have_attribute("open", "")


def test_names_with_markup_are_text(opened: Open, hostile_report: Path) -> None:
    page = opened(hostile_report)
    expect(page.locator("summary h3")).to_have_text(HOSTILE)
    page.locator("details.network summary").first.click()
    output = hover_over_a_point(page, "[data-figure$=-time0]", ".point path")
    assert output.startswith(HOSTILE[:40]), output
    page.locator("#memory").scroll_into_view_if_needed()
    expect(
        page.locator("#memory .yaxislayer-above text, #memory .ytick text").first
    ).to_contain_text("<b>bold</b>")
    assert page.locator("img").count() == 0


def ground_of(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_plots_follow_dark_and_light(opened: Open, report: Path) -> None:
    page = opened(report, color_scheme="dark")
    page.locator("#ram_mb").scroll_into_view_if_needed()
    title = page.locator("[data-figure=ram_mb] .xtitle")
    expect(title).to_be_visible()
    dark = title.evaluate("text => getComputedStyle(text).fill")
    assert ground_of(page) == "rgb(17, 22, 29)"
    page.emulate_media(color_scheme="light")
    expect(title).not_to_have_css("fill", dark)
    assert ground_of(page) == "rgb(255, 255, 255)"


@pytest.mark.parametrize(
    ("scheme", "width", "rules"),
    [
        ("light", 1280, ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]),
        ("dark", 390, ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]),
        # Nothing but colours is another.
        ("dark", 1280, ["color-contrast"]),
    ],
)
def test_axe_finds_nothing(
    scheme: str, width: int, rules: list[str], opened: Open, small_report: Path
) -> None:
    page = opened(small_report, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.get_by_role("button", name="Open all").click()
    for place in page.locator(".plot:visible").all():
        place.scroll_into_view_if_needed()
        place.locator("svg.main-svg").first.wait_for()
    for summary in page.locator(".table-box > summary").all():
        summary.click()
    found = Axe().run(page, options={"runOnly": rules})
    assert found.violations_count == 0, found.generate_report()


def test_without_javascript_every_table_is_there(opened: Open, report: Path) -> None:
    page = opened(report, java_script_enabled=False)
    expect(page.locator("#ledger-table tbody tr")).to_have_count(26)
    expect(page.locator("#memory table tbody tr")).to_have_count(26)
    expect(page.locator("#memory table").first).to_be_visible()
    expect(page.locator("#ledger-filter")).to_be_hidden()
    assert page.locator(".plot:visible").count() == 0
    page.locator("#n1-alexnet > summary").click()
    page.locator("#n1-alexnet .layer-table > summary").click()
    expect(page.locator("#n1-alexnet .all-layers tbody tr").first).to_be_visible()
    assert page.locator("#n1-alexnet .all-layers tbody tr").count() >= 24


@pytest.mark.parametrize("width", [360, 390, 768])
def test_nothing_is_wider_than_a_phone(width: int, opened: Open, report: Path) -> None:
    page = opened(report, viewport={"width": width, "height": 800})
    for place in ("#ledger", "#memory", "#ram_mb", "#runs"):
        page.locator(place).scroll_into_view_if_needed()
    page.locator("#n1-alexnet > summary").click()
    page.locator("#n1-alexnet svg.main-svg").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == width


def is_cut(page: Page, place: str) -> bool:
    box = page.locator(place)
    return bool(box.evaluate("box => box.scrollWidth > box.clientWidth + 1"))


def test_the_ledger_on_a_phone_has_fewer_columns_or_a_cue(opened: Open, report: Path) -> None:
    page = opened(report, viewport={"width": 390, "height": 800})
    box = "#ledger .scroll"
    cue = page.locator("#ledger .cue")
    alex = page.locator("#ledger-table tbody tr").first
    assert not is_cut(page, box)
    expect(cue).to_be_hidden()
    expect(alex.locator(".ran")).to_have_text("Caffe, not recorded")
    assert "497" in alex.inner_text()
    assert "243.9" not in alex.inner_text()
    page.get_by_role("button", name="all columns").click()
    assert is_cut(page, box)
    expect(cue).to_be_visible()
    assert "243.9" in alex.inner_text()
    # On paper there is room for all columns.
    page.get_by_role("button", name="all columns").click()
    page.emulate_media(media="print")
    expect(page.locator("#ledger-table thead").get_by_text("Stack")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 1920])
def test_the_ledger_is_whole_on_a_desk(width: int, opened: Open, report: Path) -> None:
    page = opened(report, viewport={"width": width, "height": 900})
    for place in ("#ledger .scroll", "#runs .scroll"):
        assert not is_cut(page, place)
    for heading in ("Engine", "Stack"):
        head = page.locator("#ledger-table").get_by_role("columnheader", name=heading)
        expect(head).to_be_visible()


def test_the_time_of_many_layers_is_in_blocks(opened: Open, report: Path) -> None:
    page = opened(report, hash_="#n12-densenet-169")
    section = page.locator("#n12-densenet-169")
    plot = section.locator("[data-figure$=-time0]")
    plot.locator("svg.main-svg").first.wait_for()
    bars = plot.evaluate("plot => Math.max(...plot.data.flatMap((trace) => trace.x)) + 1")
    assert 10 < bars <= 60
    expect(section.get_by_text(f"layers in {bars} bars")).to_be_visible()
    tooltip = hover_over_a_point(page, "[data-figure=n12-densenet-169-time0]", ".point path")
    assert re.search(r"^\d+ layers from .*%, .* ms predicted", tooltip), tooltip


def printed_pages(page: Page, path: Path) -> int:
    page.pdf(path=path, format="A4")
    return len(re.findall(rb"/Type /Page\b", path.read_bytes()))


def test_it_prints_the_networks_that_are_open(opened: Open, report: Path, tmp_path: Path) -> None:
    page = opened(report)
    page.locator("#ram_mb svg.main-svg, #memory svg.main-svg").first.wait_for()
    page.evaluate(
        "addEventListener('beforeprint', () => { window.onPaper ="
        " document.querySelectorAll('.plot svg.main-svg').length })"
    )
    # The whole, the peaks, the ledger with its notes, the pairs, and all runs.
    alone = printed_pages(page, tmp_path / "report.pdf")
    assert 4 <= alone <= 12
    overview = page.evaluate("window.onPaper")
    # What was drawn for paper alone is gone again.
    assert page.locator("#latency_ms svg.main-svg").count() == 0
    page.locator("#n1-alexnet > summary").click()
    assert alone < printed_pages(page, tmp_path / "opened.pdf") <= alone + 3
    assert page.evaluate("window.onPaper") > overview
    expect(page.locator("details.network[open]")).to_have_count(1)
