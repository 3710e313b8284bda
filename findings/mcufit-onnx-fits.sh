#!/usr/bin/env bash
# mcufit finds that an ONNX network fits a microcontroller because its height and width have names, or its weights a file.
#
# Guess: a size that the file leaves open is asked for or ends in an error; flash contains the weights, wherever they are;
# MACs are multiplications.
# Seen with mcufit 0.5.2 (onnx 1.23.2, numpy 2.4.6), `mcufit check net.onnx --board esp32-s3 --json` (370,688 bytes of usable
# SRAM), for two 3x3 convolutions with a ReLU between them, a mean and a fully connected layer:
#                                                  arena, bytes    flash, bytes    MACs          "fits"
#   32 channels, 96 x 96; right: 92,897,600 MACs
#     sizes in the file                               3,189,785         156,458       884,810    no
#     "height" x "width"                                  5,081         156,469           170    yes
#   512 channels, 6 x 6; right: 85,437,440 MACs
#     weights in the file                               203,801       9,627,829        56,330    no, flash
#     weights beside it (save_as_external_data)         203,801         115,054        56,330    yes
#   any of them with --board esp32: latency 0.0 ms, "measured": true; the operators left out are listed, Conv is one
# A named size counts as 1 (for the batch, that is meant), and the flash is the size of the .onnx file alone, which the printed
# text calls an upper bound. The MACs of ONNX's operators are the numbers of their outputs, a hundredth and less here. Give
# the file its sizes and its weights, and count MACs elsewhere.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mcufit==0.5.2 onnx==1.23.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PROGRAM'
import json
import subprocess

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def checked(channels, height, width, external=False, board="esp32-s3"):
    """Return mcufit's report of a network of two convolutions, as a dict."""
    random = np.random.default_rng(0)
    weights = {"a": (channels, 3, 3, 3), "b": (channels, channels, 3, 3), "c": (channels, 10)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "a"], ["x1"], pads=[1] * 4), helper.make_node("Relu", ["x1"], ["x2"]),
            helper.make_node("Conv", ["x2", "b"], ["x3"], pads=[1] * 4), helper.make_node("GlobalAveragePool", ["x3"], ["x4"]),
            helper.make_node("Flatten", ["x4"], ["x5"]), helper.make_node("Gemm", ["x5", "c"], ["y"]),
        ],
        "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name) for name, shape in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    name = f"net-{channels}-{height}-{external}"
    onnx.save(model, name + ".onnx", save_as_external_data=external, location=name + ".data", size_threshold=0)
    command = ["venv/bin/mcufit", "check", name + ".onnx", "--board", board, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True).stdout)


for label, arguments, right, fits in [
    ("sizes in the file", (32, 96, 96), 92_897_600, False), ("named sizes", (32, "height", "width"), 92_897_600, True),
    ("weights in the file", (512, 6, 6), 85_437_440, False), ("weights beside it", (512, 6, 6, True), 85_437_440, True),
]:
    report = checked(*arguments)
    arena, flash = report["estimate"]["total_arena_bytes"], report["flash_needed_bytes"]
    print(f"{label}: arena {arena:,}, flash {flash:,} bytes, {report['macs']:,} MACs, fits {report['fits']}")
    assert report["fits"] == fits and (arena > 100_000) == (label != "named sizes"), "the verdict has changed"
    assert (flash > 9_000_000) == (label == "weights in the file") and report["macs"] < right / 100, "the figures have changed"
latency = checked(32, 96, 96, board="esp32")["latency"]
print("esp32:", latency)
assert latency["measured"] and latency["milliseconds"] == 0 and "CONV" in latency["unmodelled_ops"], "there is a latency now"
PROGRAM
