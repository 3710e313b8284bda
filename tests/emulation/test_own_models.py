"""Users' own ONNX and TFLite models, with the real engines that read them."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pibench import api
from pibench.crosscheck.blobs import compare_outputs
from pibench.crosscheck.sides import entry_of
from pibench.images.build import Builder
from pibench.networks import model_file
from pibench.networks.model_file import RANGES, ModelFile
from pibench.probe.values import fill
from pibench.records.schema import Record
from pibench.runner.jobs import job_of
from pibench.runner.options import RunOptions
from pibench.targets.base import Outcome, Target
from pibench.targets.sysroot import SysrootTarget
from tests.emulation.conftest import DEVICE, run
from tests.wild.own_models import (
    TFLITE_TYPES,
    cast_tflite,
    conv_net,
    dense_tflite,
    recurrent_tflite,
)

pytestmark = pytest.mark.emulation
UNHEARD = "unheard"
TYPES = ("float32", "float16", "uint8", "int8", "int32", "int64", "bool")


def forward(target: Target, models: list[ModelFile], engine: str, repeats: int = 1) -> list[Record]:
    return run(target, models, engine=engine, protocol="inference", compute="real", repeats=repeats)


def values(outputs: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {
        one["name"]: np.frombuffer(base64.b64decode(one["values"]), "<f4").reshape(one["shape"])
        for one in outputs
    }


def of_record(record: Record) -> dict[str, np.ndarray]:
    return values([one.model_dump() for one in record.outputs])


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> list[ModelFile]:
    """The same network with inputs of each type, and one with its weights beside it."""
    folder = tmp_path_factory.mktemp("own")
    paths = [conv_net(folder / f"{kind}.onnx", kind=kind) for kind in TYPES]
    (folder / "weights").mkdir()
    paths.append(conv_net(folder / "beside.onnx", beside="weights/of.bin"))
    return [model_file.load(path, "onnx") for path in paths]


@pytest.fixture(scope="module")
def of_onnxruntime(
    twin: Target, typed: list[ModelFile], tmp_path_factory: pytest.TempPathFactory
) -> list[Record]:
    """The records of these, and of one with an operator that nobody has."""
    import onnx

    path = conv_net(tmp_path_factory.mktemp("unheard") / f"{UNHEARD}.onnx")
    model = onnx.load(str(path))
    model.graph.node[2].op_type = "Unheard"
    path.write_bytes(model.SerializeToString())
    return forward(twin, [*typed, model_file.load(path, "onnx")], "onnxruntime")


def test_onnx_runtime_runs_a_model_of_each_type(
    typed: list[ModelFile], of_onnxruntime: list[Record]
) -> None:
    for model, record in zip(typed, of_onnxruntime, strict=False):
        assert (record.verdict, record.engine) == ("fit", "onnxruntime"), record.evidence.summary
        assert record.engine_version == "1.19.2"
        assert (record.network, record.network_format) == (model.path.stem, "onnx")
        assert record.network_sha256 == hashlib.sha256(model.path.read_bytes()).hexdigest()
        (given,) = record.inputs
        assert (given.name, given.shape) == ("x", (1, 3, 32, 32))
        assert [(one.name, one.shape) for one in record.outputs] == [
            ("y", (1, 10)), ("prob", (1, 10)),
        ]  # fmt: skip
        assert record.latency_ms is not None
        assert (record.network_rss_bytes or 0) > 0
    by_name = {record.network: of_record(record) for record in of_onnxruntime[:-1]}
    # The same weights, wherever they are.
    np.testing.assert_array_equal(by_name["beside"]["y"], by_name["float32"]["y"])
    assert not np.array_equal(by_name["uint8"]["y"], by_name["float32"]["y"])


def test_opencv_computes_the_same_for_each_type(
    twin: Target, typed: list[ModelFile], of_onnxruntime: list[Record]
) -> None:
    alone = [model for model in typed if not model.data]
    of_opencv = forward(twin, alone, "opencv")
    by_sha256 = {record.network_sha256: record for record in of_onnxruntime}
    for record in of_opencv:
        other = by_sha256[record.network_sha256]
        assert record.verdict == "fit", record.evidence.summary
        compared = compare_outputs(entry_of(other), entry_of(record))
        assert compared.agrees, (record.network, compared.why, compared.required)
        assert len(compared.blobs) == 2
        assert compared.top5


def unchecked(target: Target, paths: list[Path], engine: str) -> list[np.ndarray]:
    """Return the first output of each model, without the check of what an engine reads."""
    options = RunOptions(engine=engine, protocol="inference", repeats=0, target="twin")
    loaded = [model_file.load(path, "onnx") for path in paths]
    jobs = [job_of(at, one, options) for at, one in enumerate(loaded)]
    found: dict[str, Outcome] = {}
    target.prepare(jobs)
    target.run(jobs, lambda outcome: found.update({outcome.job.id: outcome}), lambda _: None)
    results = [found[job.id].result or {} for job in jobs]
    return [values(result["inference"]["outputs"])["y"] for result in results]


def test_opencv_averages_otherwise_where_it_is_refused(twin: Target, tmp_path: Path) -> None:
    paths = [
        conv_net(
            tmp_path / f"{'-'.join(pads)}-{counted}.onnx",
            dims=(1, 3, 32, 32),
            pool={**pads, "count_include_pad": counted},
        )
        for pads in ({"pads": [1, 1, 1, 1]}, {"auto_pad": "SAME_UPPER"})
        for counted in (0, 1)
    ]
    expected = unchecked(twin, paths, "onnxruntime")
    for engine in ("opencv", "opencv==4.5.1"):
        for path, found, wanted in zip(
            paths, unchecked(twin, paths, engine), expected, strict=True
        ):
            is_same = np.allclose(found, wanted, rtol=1e-4, atol=1e-6)
            assert is_same == path.stem.endswith("0"), (engine, path.stem)


@pytest.mark.parametrize("name", ["twin", "sysroot"])
def test_litert_computes_what_the_file_means(
    twin: Target, builder: Builder, tmp_path: Path, name: str
) -> None:
    weights, bias = dense_tflite(tmp_path / "dense.tflite", batch=-1)
    model = model_file.load(tmp_path / "dense.tflite", "tflite", batch=2)
    target = twin if name == "twin" else SysrootTarget(DEVICE, builder)
    (record,) = forward(target, [model], "litert")
    assert (record.verdict, record.engine) == ("fit", "litert"), record.evidence.summary
    assert (record.engine_version or "").startswith("2.1.0")
    assert (record.batch, record.network_format) == (2, "tflite")
    image = np.empty((2, 4, 4, 3), "f4")
    assert fill([("image", image, RANGES["float32"])], None, 0) == record.input_sha256
    expected = np.maximum(image @ weights.T + bias, 0)
    np.testing.assert_allclose(of_record(record)["result"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("repeats", [0, 1, 3])
def test_the_outputs_of_a_model_with_a_state_are_the_first_passs(
    twin: Target, tmp_path: Path, repeats: int
) -> None:
    weights, _ = recurrent_tflite(tmp_path / "rnn.tflite")
    model = model_file.load(tmp_path / "rnn.tflite", "tflite")
    (record,) = forward(twin, [model], "litert", repeats=repeats)
    assert record.verdict == "fit", record.evidence.summary
    given = np.empty((1, 2), "f4")
    fill([("given", given, RANGES["float32"])], None, 0)
    # The state is zero before the first pass.
    expected = np.maximum(given @ weights.T + 1, 0)
    np.testing.assert_allclose(of_record(record)["result"], expected, rtol=1e-5)


def test_litert_takes_inputs_of_each_type(twin: Target, tmp_path: Path) -> None:
    paths = [tmp_path / f"{kind}.tflite" for kind in TFLITE_TYPES]
    for path in paths:
        cast_tflite(path, path.stem)
    records = forward(
        twin, [model_file.load(path, "tflite") for path in paths], "litert:xnnpack=off"
    )
    for path, record in zip(paths, records, strict=True):
        assert record.verdict == "fit", record.evidence.summary
        assert record.engine_version == "2.1.0, xnnpack=off"
        given = np.empty((4, 6), path.stem)
        fill([("given", given, RANGES[path.stem])], None, 0)
        np.testing.assert_array_equal(of_record(record)["converted"], given.astype("f4"))


def test_a_model_that_an_engine_cannot_read_has_its_message(of_onnxruntime: list[Record]) -> None:
    unheard = next(record for record in of_onnxruntime if record.network == UNHEARD)
    assert unheard.verdict == "inconclusive"
    assert "Unheard" in unheard.evidence.summary


def test_fits_takes_a_model_file(tmp_path: Path) -> None:
    path = conv_net(tmp_path / "m.onnx")
    found = api.fits(path, target="twin", repeats=0)
    assert found
    assert (found.network, found.how, found.planned) == ("m", "run on twin", None)
