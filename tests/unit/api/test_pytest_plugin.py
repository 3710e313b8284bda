"""The pytest plugin, in suites of their own. Found by its entry point, as users get it.

A process of its own is for what is about the process: what is imported, and that a plugin which
nothing has imported before works.
"""

from __future__ import annotations

import pytest

from pibench import api
from pibench.cli import app  # noqa: F401  (what a suite in this process imports first is forgotten)

pytest_plugins = ["pytester"]


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    model = api.network("VGG 16").prototxt
    pytester.makefile(".prototxt", model=model)
    return pytester


def test_what_fits_passes_and_what_does_not_names_the_layer(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        def test_small(pibench):
            assert pibench.fits("NIN")

        def test_large(pibench):
            assert pibench.fits("model.prototxt", device="rpi3b")
        """
    )
    result = suite.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*VGG 16 does not fit rpi3b: peak 1485 MiB (planned) of 918 MiB usable*",
        ]
    )
    result.stdout.fnmatch_lines(["*where fc6 has 392 MiB (parameter)*"])


def test_the_marker_and_the_ini_file_give_defaults(suite: pytest.Pytester) -> None:
    suite.makeini("[pytest]\naddopts = --strict-markers\npibench_device = rpi4b_4gb\n")
    suite.makepyfile(
        """
        import pytest

        def test_by_ini(pibench):
            assert pibench.fits("model.prototxt").device.id == "rpi4b_4gb"

        @pytest.mark.pibench(device="rpi4b_2gb", protocol="inference")
        class TestMarked:
            def test_by_class(self, pibench):
                fit = pibench.fits("model.prototxt")
                assert (fit.device.id, fit.planned.protocol) == ("rpi4b_2gb", "inference")

            @pytest.mark.pibench(device="rpi_zero2w")
            def test_by_function(self, pibench):
                fit = pibench.fits("model.prototxt")
                assert (fit.device.id, fit.planned.protocol) == ("rpi_zero2w", "inference")

            def test_by_argument(self, pibench):
                assert pibench.fits("model.prototxt", device="rpi3b").device.id == "rpi3b"
        """
    )
    suite.runpytest_inprocess().assert_outcomes(passed=4)


def test_a_time_limit_by_ini_file_marker_and_argument(suite: pytest.Pytester) -> None:
    suite.makeini("[pytest]\npibench_max_ms = 100\n")
    suite.makepyfile(
        """
        import pytest

        def test_by_ini(pibench):
            assert pibench.fits("SqueezeNet V1.1")

        @pytest.mark.pibench(max_ms=300)
        def test_by_marker(pibench):
            assert pibench.fits("SqueezeNet V1.1")

        def test_by_argument(pibench):
            assert pibench.fits("SqueezeNet V1.1", max_ms=None)
        """
    )
    result = suite.runpytest_inprocess()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*over 100 ms: 130 to 234 ms, predicted for stack openblas-a53*"])
    for wrong in ("soon", "0"):
        suite.makeini(f"[pytest]\npibench_max_ms = {wrong}\n")
        result = suite.runpytest_inprocess()
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: pibench_max_ms = {wrong}: give milliseconds*"])


def test_a_model_that_cannot_be_used_is_named(suite: pytest.Pytester) -> None:
    suite.makepyfile('def test_it(pibench):\n    assert pibench.fits("none.prototxt")\n')
    result = suite.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*none.prototxt*"])


def test_an_error_comes_with_its_hint_and_without_our_frames(suite: pytest.Pytester) -> None:
    suite.makepyfile('def test_it(pibench):\n    assert pibench.fits("NIN", device="rpi9")\n')
    result = suite.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*unknown device 'rpi9'; known devices: *rpi3b*"])
    result.stdout.no_fnmatch_line("*api.py*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_an_unknown_target_is_one_usage_error(suite: pytest.Pytester) -> None:
    suite.makepyfile('def test_it(pibench):\n    assert pibench.fits("NIN")\n')
    result = suite.runpytest_inprocess("--pibench-target", "moon")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *'moon' is not one of auto, vm, *"])


def test_suites_without_networks_pay_nothing(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import sys

        def test_it():
            assert "pibench.api" not in sys.modules
            assert "numpy" not in sys.modules
        """
    )
    suite.runpytest_subprocess().assert_outcomes(passed=1)
