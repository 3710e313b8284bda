"""The same network with engines other than Caffe: real wheels, in every target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pibench.crosscheck.engines import rows
from pibench.engines.registry import engine_of
from pibench.errors import HostError
from pibench.images import store, wheels
from pibench.images.build import Builder
from pibench.networks.network import Network
from pibench.records.schema import Record
from pibench.targets.base import Target
from pibench.targets.sysroot import SysrootTarget
from tests.emulation.conftest import DEVICE, run

pytestmark = pytest.mark.emulation
# Of the largest output. The libraries add up in another order than Caffe, and ncnn keeps the
# weights of inner products in half precision.
NEAR = {"opencv": 1e-5, "opencv==4.5.1": 1e-5, "onnxruntime": 1e-5, "ncnn": 3e-3}


def forward(target: Target, network: Network, engine: str) -> Record:
    (record,) = run(
        target, [network], engine=engine, protocol="inference", compute="real", repeats=1
    )
    return record


@pytest.fixture(scope="module")
def of_caffe(twin: Target, small: Network) -> Record:
    return forward(twin, small, "caffe")


@pytest.mark.parametrize("engine", NEAR)
def test_an_engine_computes_what_caffe_computes(
    twin: Target, small: Network, of_caffe: Record, engine: str
) -> None:
    record = forward(twin, small, engine)
    assert (record.verdict, record.engine) == ("fit", engine_of(engine).id)
    assert engine_of(engine).wheel_version.startswith(record.engine_version or "?")
    assert record.environment.guest.blas_name is None
    assert (record.input_sha256, record.weights_sha256) == (
        of_caffe.input_sha256, of_caffe.weights_sha256,
    )  # fmt: skip
    (row,) = rows([of_caffe, record])
    (result,) = (one for name, one in row.results.items() if name != "caffe")
    assert result.outputs is not None
    assert result.outputs.same_top5
    assert result.outputs.largest_error < NEAR[engine]
    # Less than pycaffe with all of its libraries.
    assert (record.network_rss_bytes or 0) > 0
    assert (record.baseline_rss_bytes or 0) < (of_caffe.baseline_rss_bytes or 0)
    assert any("the peak was reached while the network" in one for one in record.evidence.notes)


@pytest.mark.parametrize("name", ["virt", "container", "sysroot"])
def test_an_engine_runs_in_every_emulated_target(
    request: pytest.FixtureRequest, builder: Builder, small: Network, of_caffe: Record, name: str
) -> None:

    target: Target = (
        SysrootTarget(DEVICE, builder) if name == "sysroot" else request.getfixturevalue(name)
    )
    record = forward(target, small, "ncnn")
    assert (record.verdict, record.engine, record.engine_version) == ("fit", "ncnn", "1.0.20261020")
    (row,) = rows([of_caffe, record])
    outputs = row.results["ncnn 1.0.20261020"].outputs
    assert outputs is not None
    assert outputs.same_top5
    assert outputs.largest_error < NEAR["ncnn"]
    assert (record.baseline_rss_bytes or 0) < (of_caffe.baseline_rss_bytes or 0)


def test_the_engines_own_message_is_the_records(
    twin: Target, small: Network, tmp_path: Path
) -> None:
    weights = tmp_path / "other.caffemodel"
    weights.write_bytes(b"this is no caffemodel")
    record = forward(twin, replace(small, weights=weights), "opencv")
    assert record.verdict == "inconclusive"
    assert "OpenCV aborted: error: OpenCV(4.14.0)" in record.evidence.summary


def test_an_image_of_a_wheel_is_the_locks_file(builder: Builder, tmp_path: Path) -> None:
    wheel = wheels.find(engine_of("ncnn"), "amd64")
    image = builder.image(wheel.kind)
    assert store.verify(image)
    assert image.key == wheel.key == builder.key(wheel.kind)
    assert (image.content / "ncnn/__init__.py").is_file()
    for folder in ("content", "work"):
        (tmp_path / folder).mkdir()
    with pytest.raises(HostError, match="another ncnn-"):
        wheels.build(replace(wheel, sha256="0" * 64), tmp_path / "content", tmp_path / "work")
    assert not any((tmp_path / "content").iterdir())
