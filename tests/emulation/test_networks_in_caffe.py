"""The networks in real Caffe: shapes, parameter counts, file sizes, peak memory.

The twin image runs natively, so that all networks take a few minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pibench import networks
from pibench.engines.caffe import caffemodel
from pibench.images.build import Builder
from pibench.images.rootfs import RootLoader
from pibench.networks.network import write_network

pytestmark = pytest.mark.emulation

# Run by the root's Python 3.9: set a network up, save it, print its blobs.
DESCRIBE = """
import json, os, sys
import caffe
net = caffe.Net(sys.argv[1], caffe.TEST)
net.save(sys.argv[2])
size = os.path.getsize(sys.argv[2])
os.remove(sys.argv[2])
print(json.dumps({
    "blobs": {name: list(blob.shape) for name, blob in net.blobs.items()},
    "params": {name: [list(b.shape) for b in blobs] for name, blobs in net.params.items()},
    "file_bytes": size,
}))
"""

FORWARD = """
import sys
import caffe
import numpy as np
net = caffe.Net(sys.argv[1], sys.argv[2], caffe.TEST)
shape = tuple(net.blobs["data"].shape)
net.blobs["data"].data[...] = np.random.RandomState(0).randn(*shape) * 50
out = net.forward()[net.outputs[-1]]
assert np.isfinite(out).all()
print(out.max())
"""

# MiB at the peak of `caffe time -iterations 1`, OpenBLAS with one thread, amd64.
PEAK_MIB = {
    "AlexNet": 549, "SqueezeNet V1.0": 117, "1.0-SqNxt-23": 179, "MobileNet": 272,
    "DenseNet-121": 690, "DenseNet-121-floor": 648, "Inception-V3": 459, "ResNet-101": 884,
    "VGG 16": 1486, "Inception-V4": 1025, "Inception-ResNet-V2": 1108, "ResNet-152-v2": 1186,
    "ResNetV2-269": 2061, "Wrn-50-2": 1076, "ResNext101_64x4d": 1875, "Xception Net": 1343,
}  # fmt: skip


@pytest.fixture(scope="session")
def twin() -> RootLoader:
    return RootLoader(Builder().twin().content / "root", "amd64")


def in_root(twin: RootLoader, script: str, *arguments: str) -> str:
    environment = {
        **os.environ, **twin.python_env(), "GLOG_minloglevel": "2", "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [*twin.python(), "-c", script, *arguments],
        capture_output=True, text=True, check=False, timeout=300, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("name", networks.names())
def test_shapes_and_file_size(twin: RootLoader, tmp_path: Path, name: str) -> None:
    (text,) = write_network(networks.load(name), tmp_path)
    caffe_has = json.loads(in_root(twin, DESCRIBE, str(text), str(tmp_path / "saved")))
    network = networks.load(name)
    whole = {blob: shape for blob, shape in caffe_has["blobs"].items() if "_split_" not in blob}
    assert whole == {blob: list(shape) for blob, shape in network.shapes.blobs.items()}
    assert caffe_has["params"] == {
        layer: [list(shape) for shape in found] for layer, found in network.shapes.params.items()
    }
    assert caffe_has["file_bytes"] == caffemodel.file_size_bytes(network.net)


# A child's ru_maxrss begins with what its parent had at the fork, so a small parent starts it.
PEAK_OF = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.parametrize("name", PEAK_MIB)
def test_peak_memory(twin: RootLoader, tmp_path: Path, name: str) -> None:
    (text,) = write_network(networks.load(name), tmp_path)
    caffe_time = [*twin.command("usr/bin/caffe"), "time", "-model", str(text), "-iterations", "1"]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PEAK_OF, *caffe_time],
        check=True,
        capture_output=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert int(done.stdout) / 1024 == pytest.approx(PEAK_MIB[name], rel=0.015)


@pytest.mark.parametrize("name", ["SqueezeNet V1.1", "Zynqnet", "MobileNet", "ResNet-152-v2"])
def test_seeded_weights_give_finite_unsaturated_outputs(
    twin: RootLoader, tmp_path: Path, name: str
) -> None:
    text, weights = write_network(networks.load(name), tmp_path, weights=True)
    largest = float(in_root(twin, FORWARD, str(text), str(weights)))
    assert 1 / 1100 < largest < 0.9
