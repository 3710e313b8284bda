#!/usr/bin/env python3
"""Outputs of converted networks in ONNX Runtime and ncnn against Caffe's.

    against_onnxruntime.py [--python PYTHON] [NAME...]

NAME is a case of CASES, a network of the zoo or a prototxt, or "layers", "zoo" or "wild" for all of
a kind. Makes an environment of its own in a temporary folder and installs fixed versions of both
there (100 MB). Runs each network on random inputs with random parameters in the twin's Caffe,
converts it, runs both files, and prints the largest difference between the outputs as a part of
Caffe's largest one. Exits with 1 where one is larger than 1e-5. Needs the extra `engines`; the
largest networks of the zoo take 5 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from math import inf
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pibench import networks
from pibench.engines import convert
from pibench.engines.caffe import caffemodel
from pibench.errors import InvalidInputError
from pibench.images.build import Builder
from pibench.images.rootfs import RootLoader
from tests.wild.forks import FORKED
from tests.wild.networks import WILD
from tests.wild.single_layers import CASES, Case

REQUIREMENTS = ("onnx==1.19.0", "onnxruntime==1.19.2", "ncnn==1.0.20261020", "numpy==1.26.4")
NEAR = 1e-5

# Parameters of one axis are random here: seeded ones are 0 and 1, and would hide a mistake.
IN_CAFFE = """
import json, sys
import caffe
import numpy as np
case = json.load(open(sys.argv[1]))
net = caffe.Net(case["model"], caffe.TEST, weights=case["weights"])
random = np.random.RandomState(3)
kinds = dict(zip(net._layer_names, (layer.type for layer in net.layers)))
for name, blobs in net.params.items():
    for index, blob in enumerate(blobs):
        flat = blob.data.reshape(-1)
        if kinds[name] == "BatchNorm" or (kinds[name] == "BN" and index > 1):
            statistic = index % 2 if kinds[name] == "BN" else index
            values = 0.2 * random.randn(flat.size), random.uniform(1, 2, flat.size), 2.0
            flat[:] = values[statistic]
        elif kinds[name] in ("Scale", "PReLU", "Normalize", "Mul", "BN") and index == 0:
            flat[:] = random.uniform(0.3, 1.2, flat.size)
        elif max(blob.shape, default=1) == flat.size:
            flat[:] = 0.1 * random.randn(flat.size)
net.save(case["weights"])
for name in net.inputs:
    data = net.blobs[name].data
    scale = case["scale"]
    data[...] = random.uniform(case["low"] * scale, scale, data.shape)
    np.save(case["folder"] + "/in_" + str(net.inputs.index(name)), data)
net.forward()
for index, name in enumerate(net.outputs):
    np.save(case["folder"] + "/caffe_" + str(index), net.blobs[name].data)
json.dump([net.inputs, net.outputs], open(case["folder"] + "/ends.json", "w"))
"""
IN_ENGINES = """
import json, sys
import numpy as np
case = json.load(open(sys.argv[1]))
folder, (inputs, outputs) = case["folder"], json.load(open(case["folder"] + "/ends.json"))
given = {name: np.load(f"{folder}/in_{index}.npy") for index, name in enumerate(inputs)}

def with_onnx(model):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options)
    own = {one.name for one in session.get_inputs()}
    names = [case["ends"]["onnx"][1][blob] for blob in outputs]
    feed = {case["ends"]["onnx"][0][blob]: values for blob, values in given.items()}
    return session.run(names, {name: values for name, values in feed.items() if name in own})

def with_ncnn(model, weights):
    import ncnn
    net = ncnn.Net()
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, "use_" + option, False)
    assert net.load_param(model) == 0 and net.load_model(weights) == 0
    extractor = net.create_extractor()
    for blob, values in given.items():
        extractor.input(case["ends"]["ncnn"][0][blob], ncnn.Mat(values[0]).clone())
    found = []
    for blob in outputs:
        status, values = extractor.extract(case["ends"]["ncnn"][1][blob])
        assert status == 0, status
        found.append(np.array(values)[None])
    return found

to, files = case["to"], case["files"]
for index, values in enumerate(with_onnx(files[0]) if to == "onnx" else with_ncnn(*files)):
    np.save(f"{folder}/{to}_{index}", values)
"""


class Comparison:
    """Caffe of the twin's root, and a Python with both engines."""

    def __init__(self, python: str) -> None:
        builder = Builder()
        self.loader = RootLoader(builder.twin().content / "root", "amd64")
        self.library = builder.layers("amd64")
        self.python = python

    def is_near(self, name: str, case: Case | str, folder: Path) -> bool:
        """Compare one network, print its line; return whether all differences are small."""
        if isinstance(case, Case):
            text, low, scale = case.text, case.low, case.scale
        else:
            text, low, scale = case, -1.0, 1.0 if "layer" in case else 100.0
        spec = text
        if "layer" in text:
            spec = str(folder / "own.prototxt")
            Path(spec).write_text(text)
        network = networks.load(spec)
        found = network.shapes_under("inference")
        (folder / "stock.prototxt").write_text(network.prototxt)
        weights = folder / "net.caffemodel"
        caffemodel.write_seeded(network.net, weights)
        given = {"model": str(folder / "stock.prototxt"), "weights": str(weights),
                "folder": str(folder), "low": low, "scale": scale}  # fmt: skip
        caffe = [*self.loader.python(preload=self.library), "-c", IN_CAFFE]
        quiet = {**os.environ, **self.loader.python_env(), "GLOG_minloglevel": "2"}
        if complaint := _complaint(caffe, given, folder, quiet):
            print(f"| {name} | Caffe: {complaint} | |", flush=True)
            return False
        cells = []
        near = True
        for to in convert.FORMATS:
            try:
                files = convert.convert(found, weights, to, folder / "net", path=name)
            except InvalidInputError as refused:
                cells.append(refused.message.partition(": ")[2])
                continue
            given |= {
                "to": to,
                "files": list(map(str, files)),
                "ends": {to: convert.ends(found, to)},
            }
            complaint = _complaint([self.python, "-c", IN_ENGINES], given, folder, None)
            gap, shapes = (inf, complaint) if complaint else difference(folder, to)
            cells.append(f"{gap:.1e} {shapes}".strip())
            near &= gap <= NEAR and not shapes
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        return near


def _complaint(
    command: list[str], given: dict[str, object], folder: Path, env: dict[str, str] | None
) -> str:
    """Run a script on a case; return what it complains of, if it fails."""
    path = folder / "case.json"
    path.write_text(json.dumps(given))
    done = subprocess.run(
        [*command, str(path)], check=False, capture_output=True, text=True, env=env
    )
    words = " ".join(done.stderr.split())
    return (words or f"ended with {done.returncode}")[-300:] if done.returncode else ""


def difference(folder: Path, to: str) -> tuple[float, str]:
    """Return the largest difference as a part of Caffe's largest output, and other shapes."""
    gaps, shapes = [0.0], ""
    for path in sorted(folder.glob("caffe_*.npy")):
        wanted, found = np.load(path), np.load(folder / path.name.replace("caffe", to))
        if wanted.shape != found.shape:
            shapes = f"{found.shape} is {wanted.shape} in Caffe"
        same = wanted.size == found.size
        gap = np.abs(wanted.reshape(-1) - found.reshape(-1)).max() if same else inf
        gaps.append(float(gap / max(np.abs(wanted).max(), 1e-30)))
    return (inf if np.isnan(gaps).any() else max(gaps)), shapes


def main() -> int:
    """Compare what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="*", default=["layers"])
    parser.add_argument("--python", help="a Python with these packages, instead of a new one")
    asked = parser.parse_args()
    kinds = {
        "layers": CASES,
        "zoo": {entry.name: entry.name for entry in networks.catalog_entries()},
        "wild": {name: text() for name, text in (WILD | FORKED).items()},
    }
    chosen: dict[str, Case | str] = {}
    for name in asked.name:
        chosen |= kinds.get(name) or {name: CASES.get(name, name)}
    near = True
    with tempfile.TemporaryDirectory() as temporary:
        python = asked.python or f"{temporary}/venv/bin/python"
        if not asked.python:
            venv.create(f"{temporary}/venv", with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
        comparison = Comparison(python)
        print("| network | ONNX Runtime | ncnn |\n|---|---|---|")
        for name, case in chosen.items():
            with tempfile.TemporaryDirectory() as folder:
                near &= comparison.is_near(name, case, Path(folder))
    return int(not near)


if __name__ == "__main__":
    sys.exit(main())
