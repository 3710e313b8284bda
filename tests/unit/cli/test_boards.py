"""What `pibench board check` reports about a board."""

from __future__ import annotations

from typing import Any

import pytest

from pibench.cli.doctor import print_findings
from pibench.probe import check
from pibench.targets.ssh.board import Findings


@pytest.mark.parametrize(("architecture", "promised"), [("aarch64", True), ("x86_64", False)])
def test_pibench_s_caffe_is_offered_where_it_runs(
    architecture: str, promised: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    needs: dict[str, Any] = {
        "trials": [], "folder": "/", "job_bytes": 0, "root_bytes": 1, "root_key": None,
    }  # fmt: skip
    facts = check.facts(needs) | {
        "architecture": architecture, "caffe_complaint": "no caffe", "folder_complaint": None,
    }  # fmt: skip
    problems = check.problems(facts, needs)
    print_findings(Findings(facts=facts, problems=problems))
    output = " ".join(capsys.readouterr().out.split())
    assert ("pibench's would be copied" in output) is promised
    assert ("install Caffe there, or use a 64-bit Pi" in output) is not promised
