"""Files of older forms and of forks: what pibench makes of them is what stock Caffe runs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from pibench import networks
from pibench.crosscheck.planned import compare, environment_of
from pibench.engines.caffe.topology import PHASES
from pibench.images.build import Builder
from pibench.images.rootfs import RootLoader
from pibench.plan.planner import plan
from pibench.targets.local import TwinTarget
from tests.emulation.conftest import DEVICE, run
from tests.wild.forks import mobilenet_ssd
from tests.wild.older import ABORTS, BLOBS, OLDER

pytestmark = pytest.mark.emulation

# Run by the root's Python 3.9: the blobs of each network in both phases.
DESCRIBE = """
import json, sys
import caffe
print(json.dumps([
    {name: blob.data.shape for name, blob in caffe.Net(path, phase).blobs.items()}
    for path in sys.argv[1:] for phase in (caffe.TRAIN, caffe.TEST)
]))
"""


@pytest.fixture(scope="module")
def root(builder: Builder) -> RootLoader:
    return RootLoader(builder.twin().content / "root", "amd64")


def described(root: RootLoader, *paths: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*root.python(), "-c", DESCRIBE, *paths],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, **root.python_env(), "GLOG_minloglevel": "2"},
    )  # fmt: skip


def file_of(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name.replace(' ', '-')}.prototxt"
    path.write_text(text)
    return str(path)


def test_blobs_of_older_forms(root: RootLoader, tmp_path: Path) -> None:
    paths = [file_of(tmp_path, name, text) for name, text in OLDER.items()]
    done = described(root, *paths)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    for path, name, training, test in zip(paths, OLDER, found[::2], found[1::2], strict=True):
        own = {blob: tuple(dims) for blob, dims in test.items() if "_split_" not in blob}
        assert own == BLOBS[name], name
        network = networks.load(path)
        assert set(network.training_shapes.blobs) == {
            blob for blob in training if "_split_" not in blob
        }


@pytest.mark.parametrize("name", ABORTS)
def test_older_forms_that_stock_caffe_refuses(root: RootLoader, tmp_path: Path, name: str) -> None:
    assert described(root, file_of(tmp_path, name, ABORTS[name])).returncode < 0


@pytest.mark.parametrize("protocol", ["caffe-time", "inference"])
def test_older_forms_peak_where_planned(twin: TwinTarget, tmp_path: Path, protocol: str) -> None:
    larger = {name: OLDER[name].replace("12", "120") for name in ("2013", "2014")}
    loaded = [networks.load(file_of(tmp_path, name, text)) for name, text in larger.items()]
    for network, record in zip(
        loaded, run(twin, loaded, protocol=protocol, compute="real", repeats=1), strict=True
    ):
        environment = environment_of(record, DEVICE)
        row = compare(record, plan(network, protocol=record.protocol, environment=environment))
        assert row.error is not None, record.evidence.summary
        assert abs(row.error) < 0.02, network.name


FORKED = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 33 dim: 33 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param {
        num_output: 4 kernel_size: 3 pad_l: 1 pad_r: 1 pad_t: 2 pad_b: 2 } }
layer { name: "h" type: "Convolution" bottom: "c" top: "h" convolution_param {
        num_output: 4 kernel_size: 3 hole_h: 2 hole_w: 3 } }
layer { name: "p" type: "Pooling" bottom: "h" top: "p"
        pooling_param { kernel_size: 2 stride: 2 ceil_mode: false } }
"""


def test_repaired_fields_of_forks(root: RootLoader, tmp_path: Path) -> None:
    tops = {"x": [1, 3, 33, 33], "c": [1, 4, 35, 33], "h": [1, 4, 31, 27]}
    for repair, pooled in ((True, [15, 13]), ("paper", [16, 14])):
        network = networks.load(file_of(tmp_path, "forked", FORKED), repair=repair)
        done = described(root, file_of(tmp_path, "repaired", network.prototxt))
        assert json.loads(done.stdout)[1] == {**tops, "p": [1, 4, *pooled]}


def test_a_repaired_detector_leaves_its_output_out_in_training(
    twin: TwinTarget, tmp_path: Path
) -> None:
    start = mobilenet_ssd().index("layer {")
    end = mobilenet_ssd().index("\n", start)
    source = (
        'layer { name: "d" type: "Data" top: "data" transform_param { crop_size: 160 } RULE }\n'
    )
    sources = "".join(source.replace("RULE", f"include {{ phase: {one} }}") for one in PHASES)
    text = mobilenet_ssd()[:start] + sources + mobilenet_ssd()[end:]
    network = networks.load(file_of(tmp_path, "ssd", text), repair=True)
    phases = [sentence for sentence in network.repairs if "phase" in sentence]
    assert phases == ["removed the phase rules of layer 'd': it belongs to every phase"]
    (timed,) = run(twin, [network], compute="real")
    assert timed.verdict == "fit", timed.evidence
    assert "DetectionOutput" not in {layer.type for layer in timed.layers}
    (inferred,) = run(twin, [network], protocol="inference", compute="real", repeats=1)
    assert "DetectionOutput" in {layer.type for layer in inferred.layers}
