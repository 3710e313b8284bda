"""The functions of `pibench.api`, where nothing has to be run."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import pibench
from pibench import api
from pibench.errors import InvalidInputError
from pibench.runner.options import RunKeywords, RunOptions
from pibench.sweeps.matrix import Study
from pibench.sweeps.study import StudyKeywords
from tests import whole_records


def test_fits_is_true_for_what_fits() -> None:
    assert pibench.fits("NIN")
    assert not pibench.fits("VGG 16")
    assert pibench.fits("VGG 16", device="rpi4b_2gb")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_mss": 1}, "no option 'max_mss'; did you mean max_ms"),
        ({"reserv": 1, "target": "twin"}, "no option 'reserv'; did you mean reserve"),
        ({"batch": 64}, "batch is for a run, .*give a target, or what pibench.network"),
        ({"reserve": 900}, "reserve is for a run, and there is no target; give a target$"),
    ],
)
def test_no_option_of_fits_is_passed_over(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        pibench.fits("NIN", **options)
    assert pibench.fits("NIN", repeats=1, batch=None)


def test_what_does_not_fit_names_the_layer_at_the_peak() -> None:
    text = repr(pibench.fits("VGG 16"))
    assert "VGG 16 does not fit rpi3b: peak 1485 MiB (planned) of 918 MiB usable" in text
    assert "the planned peak is at backward conv1_1, where fc6 has 392 MiB" in text


def test_a_plan_is_for_the_network_as_given(tmp_path: Path) -> None:
    path = tmp_path / "nin.prototxt"
    path.write_text(api.network("NIN").prototxt)
    one, four = api.plan(path), api.plan(api.network(path, batch=4))
    assert one.peak_rss_bytes == api.plan("NIN").peak_rss_bytes < four.peak_rss_bytes
    assert api.plan("NIN", protocol="inference").protocol == "inference"


def test_a_prediction_is_of_the_software_that_is_asked_for() -> None:
    one = pibench.predict("SqueezeNet V1.1", threads=1)
    four = pibench.predict("SqueezeNet V1.1")
    assert four.latency_ms < one.latency_ms < one.high_ms
    assert pibench.predict("SqueezeNet V1.1", stack="unknown").high_ms > one.high_ms
    assert repr(four).startswith("<SqueezeNet V1.1: predicted 18")
    assert repr(api.plan("NIN")).startswith("<NIN: planned peak 131 MiB")
    with pytest.raises(InvalidInputError, match="unknown stack 'fast'"):
        pibench.predict("NIN", stack="fast")


def test_errors_are_those_of_the_package(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.prototxt"):
        api.network(tmp_path / "none.prototxt")
    with pytest.raises(InvalidInputError, match=r"unknown device 'rpi9'; known devices: .*rpi3b"):
        api.fits("NIN", device="rpi9")
    with pytest.raises(InvalidInputError, match="there is no target toaster"):
        api.run(["NIN"], target="toaster")


def test_one_network_needs_no_list(tmp_path: Path) -> None:
    path = tmp_path / "nin.prototxt"
    path.write_text(api.network("NIN").prototxt)
    for one in ("NIN", str(path), path, api.network("NIN")):
        # All networks are read before the target is looked for.
        with pytest.raises(InvalidInputError, match="there is no target toaster"):
            api.run(one, target="toaster")
    with pytest.raises(InvalidInputError, match="is a directory"):
        api.bundle("NIN", tmp_path)


def test_options_take_the_defaults_of_target_and_protocol() -> None:
    assert RunOptions().effective_compute == "memory-only"
    assert RunOptions(target="native").effective_compute == "real"
    assert RunOptions(protocol="inference").effective_compute == "real"
    assert RunOptions(compute="real").effective_compute == "real"


def test_the_keywords_of_run_are_the_fields_of_its_options() -> None:
    assert get_type_hints(RunKeywords) == get_type_hints(RunOptions)


def test_a_target_that_is_named_is_taken() -> None:
    messages: list[str] = []
    options = RunOptions(target="twin")
    assert api.choose(options, messages.append) is options
    assert messages == []


def test_importing_costs_nothing() -> None:
    heavy = "numpy, docker, pydantic, google.protobuf, rich, scipy"
    program = (
        "import sys, pibench, pibench.api; "
        f"print([name for name in '{heavy}'.split(', ') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_there_is_no_other_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = pibench.nothing


def test_check_has_the_answer_and_the_package_shows_its_functions() -> None:
    import pibench

    found = api.check("VGG 16")
    assert (found.judged.verdict, found.planned.protocol) == ("no-fit", "caffe-time")
    assert {one.change.split()[0] for one in found.remedies} == {"--engine", "--input", "--device"}
    assert {"bisect", "check", "fits", "load", "network", "predict", "run", "sweep"} < set(
        dir(pibench)
    )
    assert pibench.network("NIN").parameter_count == 7595176


def test_a_time_limit_is_part_of_the_answer() -> None:
    one = pibench.predict("SqueezeNet V1.1")
    assert one.low_ms < 200 < one.high_ms
    assert pibench.fits("SqueezeNet V1.1", max_ms=300)
    over = pibench.fits("SqueezeNet V1.1", max_ms=100)
    assert (over.verdict, bool(over)) == ("fit", False)
    assert "over 100 ms: 130 to 234 ms, predicted for stack openblas-a53, 4 threads" in repr(over)
    assert "borderline at 200 ms" in repr(pibench.fits("SqueezeNet V1.1", max_ms=200))
    assert not pibench.fits("VGG 16", max_ms=10_000)
    unknown = pibench.fits("SqueezeNet V1.1", engine="ncnn", max_ms=300)
    assert not unknown
    assert "no time to compare with 300 ms: times are predicted for Caffe" in repr(unknown)
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InvalidInputError, match="give milliseconds above 0"):
            pibench.fits("NIN", max_ms=wrong)
    checked = pibench.check("SqueezeNet V1.1", max_ms=100)
    assert (checked.judged.verdict, checked.exit_code) == ("fit", 1)
    assert not checked
    assert pibench.check("SqueezeNet V1.1", max_ms=200).exit_code == 4
    within = pibench.check("SqueezeNet V1.1", max_ms=300)
    assert (within.exit_code, bool(within)) == (0, True)
    for limit in ("12", True, 10**400, float("nan"), -1):
        with pytest.raises(InvalidInputError, match="a time limit of"):
            pibench.check("NIN", max_ms=limit)


def test_results_have_a_line_and_a_form_for_notebooks() -> None:
    record = whole_records.record()
    results = (
        (api.plan("NIN"), "<NIN: planned peak 131 MiB at backward conv1, caffe-time>"),
        (pibench.check("NIN"), "<NIN fits rpi3b: planned peak 131 of 918 MiB; predicted 231 ms>"),
        (pibench.predict("NIN"), "<NIN: predicted 231 ms (166 to 296) on rpi3b, caffe-time>"),
        (pibench.fits("NIN"), "<NIN fits rpi3b: peak 131 MiB (planned)"),
        (record, f"<{record.network}, {record.target}, {record.protocol}: "),
    )
    for result, line in results:
        assert repr(result).startswith(line)
        assert len(repr(result)) < 200
        assert "<table>" in (html := result._repr_html_() or "")
        assert len(html) < 10_000
    # In the colours of the page, which may be dark.
    picture = results[0][0]._repr_html_() or ""
    assert 'aria-label="Planned memory over the layers of NIN' in picture
    assert "currentColor" in picture
    assert "#fff" not in picture
    assert "918" in picture
    hostile = dataclasses.replace(pibench.predict("NIN"), network="<script>x</script>")
    assert "<script" not in (hostile._repr_html_() or "")


def test_a_study_is_swept_and_continued_from_python(tmp_path: Path) -> None:
    out = tmp_path / "study"
    axes = {"networks": ["NIN", "SqueezeNet V1.1"], "batch": [1, 2], "target": "twin"}
    listed = pibench.sweep(**axes, out=out, dry=True, fresh=True)
    assert repr(listed) == f"<{out}: 4 cells: 4 left>"
    assert listed.records == []
    more = pibench.sweep(out=str(out), resume=True, batch=4, device="rpi4b_2gb", dry=True)
    assert more.summary.cells == 2
    for wrong, message in (
        ({"networks": "NIN", "out": out}, "has a study already"),
        ({"out": tmp_path / "new"}, "no study is given"),
        ({"networks": Path("none.prototxt"), "out": tmp_path / "new"}, "none.prototxt"),
        ({"networks": "NIN", "target": "moon", "out": tmp_path / "new"}, "no target 'moon'"),
        ({"networks": "NIN", "prune": -1, "out": tmp_path / "new"}, "prune"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            pibench.sweep(**wrong, dry=True)
    assert get_type_hints(StudyKeywords).keys() == Study.model_fields.keys()


def test_an_axis_that_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="a study has no 'networkz'; did you mean networks"):
        pibench.sweep(networkz=["NIN"], out=tmp_path / "study")  # type: ignore[call-arg]


@pytest.mark.parametrize("jobs", [0, -3])
def test_a_sweep_without_a_job_leaves_no_study(jobs: int, tmp_path: Path) -> None:
    out = tmp_path / "study"
    with pytest.raises(InvalidInputError, match=f"jobs is {jobs}; give 1 or more"):
        pibench.sweep(networks=["NIN"], out=out, jobs=jobs)
    assert not out.exists()


def test_sides_of_a_bisection_are_checked_before_one_runs(tmp_path: Path) -> None:
    for side, message in (
        ("moon", "'moon' is not one of auto, vm"),
        ("twin:blas=fast", "there is no BLAS fast"),
        (str(tmp_path / "none.jsonl"), "an existing file of records"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            pibench.bisect("NIN", "twin", side)


def test_any_iterable_of_networks_is_read_once() -> None:
    seen = []

    def specs() -> Iterator[str]:
        for name in ("NIN", "no such network"):
            seen.append(name)
            yield name

    with pytest.raises(InvalidInputError, match="no such network"):
        api.run(specs(), target="twin")
    assert seen == ["NIN", "no such network"]
