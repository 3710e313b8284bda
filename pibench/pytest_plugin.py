"""A fixture for test suites of projects that ship Caffe networks: does the model fit the board?

    def test_fits(pibench):
        assert pibench.fits("model.prototxt")

    @pytest.mark.pibench(device="rpi_zero2w", protocol="inference")
    def test_fits_a_zero(pibench):
        assert pibench.fits("model.prototxt")

By plan, within a second and on any machine; with `--pibench-target vm` (or `container`,
`sysroot`, `twin`, `auto`) real Caffe is run instead. Found by pytest once pibench is
installed (entry point `pytest11`).
"""

# ruff: noqa: PLC0415  (every run of pytest loads this, also where nothing of ours is tested)

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pibench.api import Fit
    from pibench.networks.network import Network

MARKER = "pibench"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the plugin, on the command line and in the ini file."""
    group = parser.getgroup("pibench", "Caffe networks on a Raspberry Pi 3")
    text = "where pibench runs networks: vm, container, sysroot, twin, auto. Default: it plans"
    group.addoption("--pibench-target", metavar="TARGET", default=None, help=text)
    parser.addini("pibench_target", text, default=None)
    parser.addini("pibench_device", "the device that networks have to fit", default="rpi3b")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, for suites with --strict-markers.

    Raises pytest.UsageError for a target that there is not: once, and not with every test.
    """
    config.addinivalue_line(
        "markers",
        f"{MARKER}(device=..., protocol=..., target=...): what `pibench.fits` takes by default",
    )
    target = _target(config)
    if target:
        import typer

        from pibench.cli.options import target_spec

        try:
            target_spec(target)
        except typer.BadParameter as error:
            raise pytest.UsageError(f"pibench's target: {error}") from None


def _target(config: pytest.Config) -> str | None:
    given: str | None = config.getoption("--pibench-target") or config.getini("pibench_target")
    return given


@dataclass(frozen=True)
class Pibench:
    """What the fixture gives: `fits` with this suite's device, protocol and target.

    Relative paths are those of the test file's folder where such a file is there, and of
    the working directory elsewhere.
    """

    folder: Path
    defaults: dict[str, Any] = field(default_factory=dict)

    def fits(self, of: Network | str | Path, **options: Any) -> Fit:
        """`pibench.api.fits`; true if the network fits, else its text names the layer."""
        from pibench import api
        from pibench.errors import PibenchError

        # What a test did wrong stands in the test and in the error's line, not in our frames.
        __tracebackhide__ = True
        try:
            return api.fits(self._found(of), **{**self.defaults, **options})
        except PibenchError as error:
            raise error.with_traceback(None) from None

    def _found(self, of: Network | str | Path) -> Network | str | Path:
        if isinstance(of, (str, Path)) and (self.folder / of).is_file():
            return self.folder / of
        return of


@pytest.fixture
def pibench(request: pytest.FixtureRequest) -> Pibench:
    """Whether networks fit a board: `assert pibench.fits("model.prototxt")`."""
    config = request.config
    defaults: dict[str, Any] = {
        "device": config.getini("pibench_device"),
        "target": _target(config),
    }
    for marker in reversed(list(request.node.iter_markers(MARKER))):
        defaults.update(marker.kwargs)
    return Pibench(request.path.parent, defaults)
