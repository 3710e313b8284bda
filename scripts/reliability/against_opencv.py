#!/usr/bin/env python3
"""Outputs of the layers of Caffe's forks against OpenCV's DNN module, which reads the same files.

    against_opencv.py [LAYER...]

Makes an environment of its own in a temporary folder and installs a fixed version of OpenCV there
(60 MB). Runs each layer on random inputs in the twin's Caffe and in OpenCV, and prints the largest
difference between their outputs. Exits with 1 where one is larger than 1e-5 of the largest output
and is not stated in DIFFERENCES.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pibench import networks
from pibench.images.build import Builder
from pibench.images.rootfs import RootLoader

REQUIREMENTS = ("opencv-python-headless==4.14.0.94", "numpy==2.2.6")
NEAR = 1e-5

# Both read a list of cases: model, weights, inputs by name, the file of the output.
IN_CAFFE = """
import json, sys
import caffe
import numpy as np
for case in json.load(open(sys.argv[1])):
    net = caffe.Net(case["stock_model"], caffe.TEST)
    for name, path in case["inputs"].items():
        net.blobs[name].data[...] = np.load(path)
    net.forward()
    np.save(case["caffe"], net.blobs["y"].data)
    net.save(case["weights"])
"""
IN_OPENCV = """
import json, sys
import cv2
import numpy as np
complaints = {}
for case in json.load(open(sys.argv[1])):
    try:
        net = cv2.dnn.readNetFromCaffe(case["model"], case["weights"])
        for name, path in case["inputs"].items():
            net.setInput(np.load(path), name)
        np.save(case["opencv"], net.forward())
    except cv2.error as error:
        complaints[case["name"]] = str(error).strip().splitlines()[-1]
print(json.dumps(complaints))
"""


@dataclass(frozen=True)
class Case:
    """Inputs by name, and the layers that make `y` of them."""

    inputs: dict[str, np.ndarray]
    layers: str


def values(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Return normally distributed numbers."""
    numbers = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return np.asarray(scale * numbers, np.float32)


def layer(kind: str, bottoms: str = "x", body: str = "") -> str:
    """Return a layer that makes y."""
    wires = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    return f'layer {{ name: "{kind}" type: "{kind}" {wires} top: "y" {body} }}\n'


def _one(kind: str, body: str = "", *shape: int) -> Case:
    return Case({"x": values(*(shape or (2, 6, 4, 6)), scale=3)}, layer(kind, body=body))


def _detections(clip: str = "") -> Case:
    random, count, classes = np.random.default_rng(5), 40, 3
    corners = np.sort(random.uniform(0, 1, (count, 2, 2)), axis=1).reshape(count, 4)
    priors = np.stack([corners.ravel(), np.tile([0.1, 0.1, 0.2, 0.2], count)])
    scores = random.uniform(0, 1, (1, count * classes))
    inputs = {
        "loc": values(1, 4 * count),
        "conf": scores.astype(np.float32),
        "prior": priors.reshape(1, 2, 4 * count).astype(np.float32),
    }
    body = (
        f"detection_output_param {{ num_classes: {classes} share_location: true "
        "background_label_id: 0 nms_param { nms_threshold: 0.45 top_k: 30 } "
        f"code_type: CENTER_SIZE keep_top_k: 20 confidence_threshold: 0.3 {clip} }}"
    )
    return Case(inputs, layer("DetectionOutput", "loc conf prior", body))


def _proposals(least: int) -> Case:
    inputs = {
        "s": np.random.default_rng(2).uniform(0, 1, (1, 18, 6, 6)).astype(np.float32),
        "d": values(1, 36, 6, 6, scale=0.2),
        "image": np.array([[96, 96, 1]], np.float32),
    }
    body = (
        f"proposal_param {{ feat_stride: 16 base_size: 16 min_size: {least} ratio: 0.5 ratio: 1 "
        "ratio: 2 scale: 1 scale: 2 scale: 3 pre_nms_topn: 100 post_nms_topn: 10 nms_thresh: 0.7 }"
    )
    return Case(inputs, layer("Proposal", "s d image", body))


_REGIONS = np.array([[0, 0, 0, 60, 60], [0, 16, 16, 47, 63], [0, 0, 32, 95, 47]], np.float32)
_PRIORS = {"x": values(1, 4, 3, 2), "image": values(1, 3, 30, 40)}
_PRIOR_BOX = (
    "prior_box_param { min_size: 10 max_size: 20 aspect_ratio: 2 flip: true clip: true "
    "variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 step: 10 offset: 0.5 }"
)
CASES = {
    "DetectionOutput": _detections(),
    "DetectionOutput, clip": _detections("clip: true"),
    "HardSwish": _one("HardSwish"),
    "Interp": _one("Interp", "interp_param { height: 9 width: 13 }"),
    "Mish": _one("Mish"),
    "Normalize, channels": _one(
        "Normalize",
        "norm_param { across_spatial: false channel_shared: false "
        'scale_filler { type: "constant" value: 20 } }',
    ),
    "Normalize, image": _one(
        "Normalize",
        'norm_param { across_spatial: true scale_filler { type: "constant" value: 2 } }',
        *(1, 6, 4, 6),
    ),
    "Permute": _one("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
    "PriorBox": Case(_PRIORS, layer("PriorBox", "x image", _PRIOR_BOX)),
    "PriorBox, clip": Case(
        _PRIORS, layer("PriorBox", "x image", _PRIOR_BOX.replace("clip: true", ""))
    ),
    "PriorBox, 10.5": Case(
        _PRIORS, layer("PriorBox", "x image", _PRIOR_BOX.replace("min_size: 10", "min_size: 10.5"))
    ),
    "PriorBoxClustered": Case(
        _PRIORS,
        layer(
            "PriorBoxClustered",
            "x image",
            "prior_box_param { clip: false width: 9.5 width: 20 height: 15 height: 7 step: 10 "
            "offset: 0.5 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 }",
        ),
    ),
    "Proposal": _proposals(1),
    "Proposal, min_size": _proposals(16),
    "PSROIPooling": Case(
        {"x": values(1, 8, 6, 6), "r": _REGIONS},
        layer(
            "PSROIPooling",
            "x r",
            "psroi_pooling_param { output_dim: 2 group_size: 2 spatial_scale: 0.0625 }",
        ),
    ),
    "ReLU6": _one("ReLU6"),
    "Reorg": _one("Reorg", "reorg_param { stride: 2 }", 1, 8, 4, 6),
    "ROIPooling": Case(
        {"x": values(1, 8, 6, 6), "r": _REGIONS},
        layer(
            "ROIPooling",
            "x r",
            "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625 }",
        ),
    ),
    "ShuffleChannel": _one("ShuffleChannel", "shuffle_channel_param { group: 3 }"),
}
DIFFERENCES = {
    "PriorBox, clip": "OpenCV clips unless `clip: false` is there, the fork does not",
    "PriorBox, 10.5": "the fork cuts sizes to whole pixels",
    "Proposal, min_size": "OpenCV does not leave out boxes below min_size",
}
"""Why OpenCV's outputs differ, by case."""


def written(name: str, case: Case, folder: Path) -> dict[str, object]:
    """Write a case's files; return their paths."""
    heads = [
        f'layer {{ name: "{blob}" type: "Input" top: "{blob}" input_param {{ shape {{ '
        f"{' '.join(f'dim: {size}' for size in array.shape)} }} }} }}"
        for blob, array in case.inputs.items()
    ]
    folder.mkdir()
    model, stock = folder / "model.prototxt", folder / "stock.prototxt"
    model.write_text("\n".join([*heads, case.layers]))
    stock.write_text(networks.load(str(model)).prototxt)
    inputs = {}
    for blob, array in case.inputs.items():
        inputs[blob] = str(folder / f"{blob}.npy")
        np.save(inputs[blob], array)
    paths = {key: str(folder / f"{key}.npy") for key in ("caffe", "opencv")}
    weights = str(folder / "net.caffemodel")
    return {"name": name, "model": str(model), "stock_model": str(stock), "weights": weights,
            "inputs": inputs, **paths}  # fmt: skip


def sorted_rows(name: str, found: np.ndarray) -> np.ndarray:
    """Detections by label and score: OpenCV gives them by score, and rows of zeros after them."""
    if not name.startswith("DetectionOutput"):
        return found
    rows = found.reshape(-1, 7)
    rows = rows[rows[:, 2] > 0]
    return np.asarray(rows[np.lexsort((-rows[:, 2], rows[:, 1]))])


def difference(name: str, of_caffe: np.ndarray, theirs: np.ndarray) -> tuple[float, str]:
    """Return the largest difference as a part of the largest output, and a remark."""
    of_caffe, theirs = sorted_rows(name, of_caffe), sorted_rows(name, theirs)
    if of_caffe.size != theirs.size:
        return np.inf, f"{of_caffe.shape} in Caffe, {theirs.shape} in OpenCV"
    gap = np.abs(of_caffe.reshape(-1) - theirs.reshape(-1)).max() / np.abs(of_caffe).max()
    return float(gap), "" if of_caffe.shape == theirs.shape else f"{of_caffe.shape}, {theirs.shape}"


def main() -> int:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layer", nargs="*", help=", ".join(CASES))
    parser.add_argument("--python", help="a Python with these packages, instead of a new one")
    asked = parser.parse_args()
    chosen = {
        name: case
        for name, case in CASES.items()
        if not asked.layer or name.partition(",")[0] in asked.layer
    }
    builder = Builder()
    loader = RootLoader(builder.twin().content / "root", "amd64")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        python = asked.python or str(folder / "venv/bin/python")
        if not asked.python:
            venv.create(folder / "venv", with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
        cases = [
            written(name, case, folder / str(number))
            for number, (name, case) in enumerate(chosen.items())
        ]
        (folder / "cases.json").write_text(json.dumps(cases))
        subprocess.run(
            [
                *loader.python(preload=builder.layers("amd64")),
                "-c",
                IN_CAFFE,
                folder / "cases.json",
            ],
            check=True,
            env={**os.environ, **loader.python_env(), "GLOG_minloglevel": "2"},
        )
        done = subprocess.run(
            [python, "-c", IN_OPENCV, folder / "cases.json"],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "OPENCV_LOG_LEVEL": "SILENT"},
        )
        complaints = json.loads(done.stdout)
        print(f"Against {REQUIREMENTS[0]}\n\n| layer | largest difference | |\n|---|---|---|")
        unexpected = 0
        for case in cases:
            name = str(case["name"])
            remark = DIFFERENCES.get(name, "")
            if name in complaints:
                print(f"| {name} | not read | {remark or complaints[name][:150]} |")
                unexpected += not remark
                continue
            gap, shapes = difference(name, np.load(case["caffe"]), np.load(case["opencv"]))
            unexpected += gap > NEAR and not remark
            print(f"| {name} | {gap:.1e} | {remark or shapes} |")
    return int(unexpected > 0)


if __name__ == "__main__":
    sys.exit(main())
