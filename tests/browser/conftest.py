"""A real Chromium, and the report of the paper's 26 networks in it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from pibench.records.schema import LayerTime, Record
from pibench.report.content import build
from pibench.report.page import render
from pibench.report.sources import merge
from tests.browser.chromium import CHROMIUM
from tests.whole_records import of_the_zoo, paper_run, record

HOSTILE = "<b>bold</b><img src=x onerror=alert(1)></script>$x^2$"
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed before the next file's tests: its event loop runs until then, and allows no other."""
    assert CHROMIUM, "there is no chromium: make browser"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()


def write(path: Path, records: list[Record]) -> Path:
    path.write_text(render(build(merge(records)), sources=["records.jsonl"]), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 26 networks, each planned and predicted, and one with times of a run."""
    before = gc.get_threshold()
    gc.set_threshold(1_000_000)
    layers = tuple(LayerTime(name=n, type="Convolution", forward_ms=2.0) for n in ("a", "b"))
    twin = record(network="NIN", protocol="inference", layers=layers, latency_ms=4.0)
    made = [of_the_zoo(one) for one in [*paper_run(), twin]]
    gc.set_threshold(*before)
    return write(tmp_path_factory.mktemp("report") / "report.html", made)


@pytest.fixture(scope="session")
def small_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each part of the page needs to be there, for what looks at every element."""
    names = ("SqueezeNet V1.1", "ResNext50_32x4d", "ResNext101_32x4d", "Xception Net")
    made = [one for one in paper_run() if one.network in names]
    folder = tmp_path_factory.mktemp("small")
    return write(folder / "report.html", [of_the_zoo(made[0]), *made[1:]])


@pytest.fixture(scope="session")
def hostile_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layers = tuple(LayerTime(name=HOSTILE, type=HOSTILE, forward_ms=2.0) for _ in range(2))
    made = [record(network=HOSTILE, network_source=HOSTILE, layers=layers)]
    return write(tmp_path_factory.mktemp("hostile") / "report.html", made)


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens a page in a context of its own; at the end nothing may have been complained of."""
    contexts = []
    complaints: list[str] = []

    def open_(path: Path, *, hash_: str = "", **options: object) -> Page:
        context = browser.new_context(**options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        url = path.as_uri() + hash_

        def output(message: ConsoleMessage) -> None:
            complaints.append(f"{message.type}: {message.text}")

        page.on("console", output)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: (
                None if request.url == path.as_uri() else complaints.append(request.url[:200])
            ),
        )
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []
