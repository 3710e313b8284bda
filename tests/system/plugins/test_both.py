"""A target and an engine, both from outside pibench, run a network together."""

from __future__ import annotations

import json

import pytest

from tests.system.plugins.conftest import ENGINE, TARGET, Site

pytestmark = pytest.mark.system


def test_an_installed_engine_runs_a_network_on_an_installed_target(site: Site) -> None:
    site.install(TARGET, ENGINE)
    done = site.pibench(
        "run", "SqueezeNet V1.1", "--target", "toy", "--engine", "toy", "--repeats", "1", "--json",
        "-o", "r.jsonl", "-o", "badge.svg",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)
    assert (record["target"], record["engine"]) == ("toy", "toy")
    assert record["engine_version"].startswith("toy 1.0 on Python 3")
    assert record["environment"]["host"]["qemu_version"] == "toy 1.0"
    assert record["verdict"] == "fit"
    assert record["provenance"]["peak_rss_bytes"]["kind"] == "emulated"
    assert record["network_rss_bytes"] == pytest.approx(64 << 20, rel=0.05)
    assert [layer["name"] for layer in record["layers"]] == ["all"]
    assert json.loads((site.work / "r.jsonl").read_text()) == record
    assert ", emulated</title>" in (site.work / "badge.svg").read_text()
