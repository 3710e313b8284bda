#!/usr/bin/env python3
"""Single layers in OpenCV's DNN module against Caffe, for each version that pibench has.

    opencv_layers.py

Runs each layer on random inputs in the twin's Caffe and in each OpenCV, with the prototxt that
pibench writes for it. Prints the layers that some version computes otherwise or does not read, and
exits with 1 where pibench/engines/opencv/differences.toml says something else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from pibench.engines.caffe import prototxt, topology
from pibench.engines.opencv import OPENCV
from pibench.engines.opencv.importer import differences, written
from pibench.images.build import Builder
from pibench.images.rootfs import RootLoader

NEAR = 1e-5
SHAPE = (2, 6, 5, 7)
WEIGHTS = 'weight_filler { type: "gaussian" std: 1 }'
FILLER = 'filler { type: "gaussian" std: 1 }'
LAYERS = {
    "AbsVal": [""],
    "ArgMax": ["", "argmax_param { axis: 1 }"],
    "BNLL": [""],
    "BatchNorm": [""],
    "Bias": [f"bias_param {{ axis: 1 {FILLER} }}"],
    "Clip": ["clip_param { min: -1 max: 1 }"],
    "Concat": ["", "concat_param { axis: 2 }"],
    "Convolution": [
        f"convolution_param {{ num_output: 4 kernel_size: 3 stride: 2 pad: 1 {WEIGHTS} }}",
        f"convolution_param {{ num_output: 6 kernel_size: 3 dilation: 2 group: 3 {WEIGHTS} }}",
    ],
    "Crop": ["crop_param { axis: 2 offset: 1 }"],
    "Deconvolution": [
        f"convolution_param {{ num_output: 6 kernel_size: 4 stride: 2 pad: 1 {WEIGHTS} }}",
        f"convolution_param {{ num_output: 6 kernel_size: 4 stride: 2 group: 3 {WEIGHTS} }}",
    ],
    "ELU": ["", "elu_param { alpha: 0.5 }"],
    "Eltwise": [
        "",
        "eltwise_param { operation: PROD }",
        "eltwise_param { operation: MAX }",
        "eltwise_param { coeff: 2 coeff: -1 }",
    ],
    "Embed": ["embed_param { num_output: 3 input_dim: 9 }"],
    "Exp": ["", "exp_param { base: 2 scale: 0.5 shift: 1 }"],
    "Flatten": ["", "flatten_param { axis: 2 }"],
    "Im2col": ["convolution_param { kernel_size: 3 }"],
    "InnerProduct": [
        f"inner_product_param {{ num_output: 5 {WEIGHTS} }}",
        f"inner_product_param {{ num_output: 5 axis: 2 {WEIGHTS} }}",
        f"inner_product_param {{ num_output: 5 transpose: true {WEIGHTS} }}",
    ],
    "LRN": [
        "",
        "lrn_param { local_size: 3 alpha: 0.1 }",
        "lrn_param { local_size: 3 alpha: 0.1 k: 2 }",
        "lrn_param { local_size: 3 alpha: 0.1 norm_region: WITHIN_CHANNEL }",
    ],
    "Log": ["log_param { shift: 40 }", "log_param { base: 2 scale: 0.01 shift: 3 }"],
    "MVN": ["", "mvn_param { across_channels: true normalize_variance: false }"],
    "PReLU": ["", "prelu_param { channel_shared: true }"],
    "Pooling": [
        "pooling_param { pool: MAX kernel_size: 3 stride: 2 }",
        "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }",
        "pooling_param { pool: AVE global_pooling: true }",
        "pooling_param { pool: MAX kernel_size: 3 stride: 2 round_mode: FLOOR }",
        "pooling_param { pool: AVE kernel_size: 2 stride: 2 pad: 1 round_mode: FLOOR }",
    ],
    "Power": ["power_param { power: 2 scale: 0.5 shift: 1 }"],
    "ReLU": ["", "relu_param { negative_slope: 0.1 }"],
    "Reduction": ["", "reduction_param { operation: MEAN axis: 2 }"],
    "Reshape": [
        "reshape_param { shape { dim: 0 dim: 3 dim: -1 } }",
        "reshape_param { axis: 1 num_axes: 1 shape { dim: 2 dim: 3 } }",
    ],
    "SPP": ["spp_param { pyramid_height: 2 }"],
    "Scale": [f"scale_param {{ bias_term: true {FILLER} }}", f"scale_param {{ axis: 2 {FILLER} }}"],
    "Sigmoid": [""],
    "Slice": ["slice_param { axis: 1 slice_point: 2 }"],
    "Softmax": ["", "softmax_param { axis: 3 }"],
    "Swish": ["", "swish_param { beta: 2 }"],
    "TanH": [""],
    "Threshold": ["threshold_param { threshold: 0.2 }"],
    "Tile": ["tile_param { axis: 1 tiles: 2 }"],
}
SECOND_INPUT = {"Concat": SHAPE, "Eltwise": SHAPE, "Crop": (2, 6, 3, 4)}

# Both read a list of cases: models, weights, inputs by name, the files of the outputs.
IN_CAFFE = """
import json, sys
import caffe
import numpy as np
for case in json.load(open(sys.argv[1])):
    net = caffe.Net(case["stock"], caffe.TEST)
    if case["type"] == "BatchNorm":
        for blob, value in zip(net.params["l"], (0.3, 1.5, 2.0)):
            blob.data[...] = value
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
for case in json.load(open(sys.argv[1])):
    try:
        net = cv2.dnn.readNetFromCaffe(case["model"], case["weights"])
        for name, path in case["inputs"].items():
            net.setInput(np.load(path), name)
        layer = "l" if "l" in net.getLayerNames() else "y"
        np.save(case["opencv"], net.forwardAndRetrieve([layer])[0][0])
    except cv2.error:
        pass
"""


def make_cases(folder: Path) -> list[dict[str, object]]:
    """Write the files of all cases."""
    cases: list[dict[str, object]] = []
    random = np.random.default_rng(1)
    for kind, bodies in LAYERS.items():
        for body in bodies:
            place = folder / str(len(cases))
            place.mkdir()
            inputs = {"x": np.float32(random.standard_normal(SHAPE))}
            if kind == "Log":
                inputs["x"] = np.abs(inputs["x"]) + np.float32(0.5)
            if kind == "Embed":
                inputs["x"] = np.float32(random.integers(0, 9, SHAPE))
            if kind in SECOND_INPUT:
                inputs["z"] = np.float32(random.standard_normal(SECOND_INPUT[kind]))
            heads = [
                f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
                f"{' '.join(f'dim: {size}' for size in array.shape)} }} }} }}\n"
                for name, array in inputs.items()
            ]
            bottoms = " ".join(f'bottom: "{name}"' for name in inputs)
            tops = 'top: "y" top: "rest"' if kind == "Slice" else 'top: "y"'
            text = "".join(heads) + f'layer {{ name: "l" type: "{kind}" {bottoms} {tops} {body} }}'
            net = prototxt.parse(text, kind)
            (place / "stock.prototxt").write_text(text)
            (place / "model.prototxt").write_text("\n".join(written(topology.layers(net, kind))))
            for name, array in inputs.items():
                np.save(place / f"{name}.npy", array)
            cases.append({
                "type": kind, "body": body, "stock": str(place / "stock.prototxt"),
                "model": str(place / "model.prototxt"), "weights": str(place / "w.caffemodel"),
                "inputs": {name: str(place / f"{name}.npy") for name in inputs},
                "caffe": str(place / "caffe.npy"), "opencv": str(place / "opencv.npy"),
            })  # fmt: skip
    return cases


def outcome(case: dict[str, object]) -> str:
    """Return what OpenCV made of a case, and remove its output."""
    path = Path(str(case["opencv"]))
    if not path.exists():
        return "not read"
    of_caffe, theirs = np.load(str(case["caffe"])), np.load(path)
    path.unlink()
    if of_caffe.size != theirs.size:
        return "other shape"
    gap = np.abs(of_caffe.reshape(-1) - theirs.reshape(-1)).max() / np.abs(of_caffe).max()
    return "same" if gap <= NEAR else f"{gap:.1e} off"


def main() -> int:
    """Run all cases in all versions, and print what is not the same."""
    builder = Builder()
    loader = RootLoader(builder.twin().content / "root", "amd64")
    quiet = {"GLOG_minloglevel": "2", "OPENCV_LOG_LEVEL": "SILENT"}
    env = {**os.environ, **loader.python_env(), **quiet}
    unexpected = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cases = make_cases(folder)
        listed = folder / "cases.json"
        listed.write_text(json.dumps(cases))
        subprocess.run([*loader.python(), "-c", IN_CAFFE, listed], check=True, env=env)
        found: dict[int, dict[str, str]] = {number: {} for number in range(len(cases))}
        for version in OPENCV.versions:
            modules = str(builder.engine("amd64", f"opencv=={version}"))
            with_modules = {**env, "PYTHONPATH": modules}
            subprocess.run(
                [*loader.python(), "-c", IN_OPENCV, listed], check=True, env=with_modules
            )
            for number, case in enumerate(cases):
                found[number][version] = outcome(case)
        print(f"| layer | {' | '.join(OPENCV.versions)} |\n|---|{'---|' * len(OPENCV.versions)}")
        for number, case in enumerate(cases):
            layer = prototxt.parse(Path(str(case["stock"])).read_text(), "case").layer[-1]
            for version, one in found[number].items():
                known = any(entry.applies(layer, version) for entry in differences())
                if known != (one != "same"):
                    unexpected += 1
                    found[number][version] = f"{one}, unexpected"
            if any(one != "same" for one in found[number].values()):
                row = " | ".join(found[number].values())
                print(f"| {case['type']} {case['body']} | {row} |")
    print(f"\n{len(cases)} layers in {len(OPENCV.versions)} versions, {unexpected} unexpected")
    return int(unexpected > 0)


if __name__ == "__main__":
    sys.exit(main())
