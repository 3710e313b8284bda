"""Provide a pytest fixture that tests whether a project's Caffe models fit the board.

    def test_fits(pibench):
        assert pibench.fits("model.prototxt")

    @pytest.mark.pibench(device="rpi_zero2w", protocol="inference")
    def test_fits_a_zero(pibench):
        assert pibench.fits("model.prototxt")

The fixture plans the model, within a second and on any machine. With `--pibench-target vm` (or
`container`, `sysroot`, `twin`, `auto`) it runs real Caffe instead. `max_ms` is a limit of the time
of a forward pass: of the predicted one, or of what a board measured. pytest finds the plugin once
pibench is installed (entry point `pytest11`).
"""

# ruff: noqa: PLC0415  (every run of pytest loads this, also where pibench is not used)

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pibench.api import Fit
    from pibench.networks.network import Network

MARKER = "pibench"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plugin to the command line and the ini file."""
    group = parser.getgroup("pibench", "Caffe networks on a Raspberry Pi 3")
    text = "where pibench runs networks: vm, container, sysroot, twin, auto. Default: plan only"
    group.addoption("--pibench-target", metavar="TARGET", default=None, help=text)
    parser.addini("pibench_target", text, default=None)
    parser.addini("pibench_device", "the device that networks have to fit", default="rpi3b")
    limit = "the limit of a forward pass on the device, in ms"
    parser.addini("pibench_max_ms", limit, default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, for suites with --strict-markers, and check the target.

    Raises:
        pytest.UsageError: The target does not exist, or the time limit is not one; reported once
            and not with every test.
    """
    config.addinivalue_line(
        "markers",
        f"{MARKER}(device=..., protocol=..., target=..., max_ms=...): what `pibench.fits` takes by "
        "default",
    )
    _max_ms(config)
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


def _max_ms(config: pytest.Config) -> float | None:
    """Return the time limit of the ini file. Raises pytest.UsageError if it is not a number."""
    given = config.getini("pibench_max_ms")
    try:
        limit = float(given) if given else None
    except ValueError:
        limit = nan
    if limit is not None and not 0 < limit < inf:
        raise pytest.UsageError(f"pibench_max_ms = {given}: give milliseconds above 0, such as 250")
    return limit


@dataclass(frozen=True)
class Pibench:
    """The value of the fixture: `fits` with this suite's device, protocol and target.

    Relative paths are resolved against the test file's folder if the file exists there, else
    against the working directory.
    """

    folder: Path
    defaults: dict[str, Any] = field(default_factory=dict)

    def fits(self, of: Network | str | Path, **options: Any) -> Fit:
        """Call `pibench.api.fits`: true if the network fits, else its text names the layer."""
        from pibench import api
        from pibench.errors import PibenchError

        # The failing test and the error's line show the mistake; pibench's frames do not.
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
    """Return the fixture's value: `assert pibench.fits("model.prototxt")`."""
    config = request.config
    defaults: dict[str, Any] = {
        "device": config.getini("pibench_device"),
        "target": _target(config),
        "max_ms": _max_ms(config),
    }
    for marker in reversed(list(request.node.iter_markers(MARKER))):
        defaults.update(marker.kwargs)
    return Pibench(request.path.parent, defaults)
