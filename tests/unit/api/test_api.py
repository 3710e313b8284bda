"""The functions of `pibench.api`, where nothing has to be run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pytest

import pibench
from pibench import api
from pibench.errors import InvalidInputError
from pibench.runner.options import RunKeywords, RunOptions


def test_fits_is_true_for_what_fits() -> None:
    assert pibench.fits("NIN")
    assert not pibench.fits("VGG 16")
    assert pibench.fits("VGG 16", device="rpi4b_2gb")


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
    assert {"fits", "load", "network", "run"} < set(dir(pibench))
    assert pibench.network("NIN").parameter_count == 7595176


def test_any_iterable_of_networks_is_read_once() -> None:
    seen = []

    def specs() -> Iterator[str]:
        for name in ("NIN", "no such network"):
            seen.append(name)
            yield name

    with pytest.raises(InvalidInputError, match="no such network"):
        api.run(specs(), target="twin")
    assert seen == ["NIN", "no such network"]
