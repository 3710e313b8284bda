#!/usr/bin/env bash
# glibc's memusage does not count aligned blocks: a network in ncnn that takes 400 MiB takes 0 in its figures.
#
# Guess: "heap peak" contains each block that malloc hands out, whichever function asks for it; without -m it leaves out what
# the program maps itself.
# Seen with memusage of glibc 2.36 (Debian 12), Python, ncnn 1.0.20261020 and onnxruntime 1.32.0 (onnx 1.23.2, numpy 2.4.6),
# x86-64, above the same program without a network, in MiB:
#                                                      heap peak    with -m    peak RSS
#   400 blocks of 64 KiB from malloc                          25         25          25
#     from posix_memalign, aligned_alloc or memalign           0          0          25
#   eight 3x3 convolutions of 512 channels, 8 x 8
#     ONNX Runtime                                            76         76         234
#     ncnn                                                     0          0         400
# memusage replaces malloc, calloc, realloc and free, and with -m mmap and its relatives. The other functions stay glibc's, which
# maps large blocks inside itself, where -m does not see it. ncnn takes all of its memory from posix_memalign, for the
# alignment of vectors; of ONNX Runtime's memory a third is counted. No warning is printed. Measure VmHWM, or use a tool that
# knows these functions (heaptrack, memray).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ncnn==1.0.20261020 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
apt-get download --quiet libc-devtools >/dev/null 2>&1
dpkg-deb -x libc-devtools_*.deb tools
ls libc-devtools_*.deb
cat >run.py <<'RUN'
import ctypes
import sys

import ncnn
import numpy as np
import onnxruntime

x = np.ones((1, 512, 8, 8), np.float32)
what = sys.argv[1]
libc = ctypes.CDLL(None)
for name in ("malloc", "memalign", "aligned_alloc"):
    getattr(libc, name).restype = ctypes.c_void_p
    getattr(libc, name).argtypes = [ctypes.c_size_t] * (1 if name == "malloc" else 2)
if what in ("malloc", "memalign", "aligned_alloc", "posix_memalign"):
    for _ in range(400):
        if what == "posix_memalign":
            block = ctypes.c_void_p()
            assert libc.posix_memalign(ctypes.byref(block), ctypes.c_size_t(64), ctypes.c_size_t(1 << 16)) == 0
        else:
            block = getattr(libc, what)(*([1 << 16] if what == "malloc" else [64, 1 << 16]))
        ctypes.memset(block, 1, 1 << 16)
elif what == "onnxruntime":
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession("net.onnx", options).run(None, {"x0": x})
elif what == "ncnn":
    net = ncnn.Net()
    net.opt.num_threads = 1
    assert net.load_param("net.param") == 0 and net.load_model("net.bin") == 0
    extractor = net.create_extractor()
    extractor.input("x0", ncnn.Mat(x[0]).clone())
    extractor.extract("x8")
with open("/proc/self/status") as status:
    print("VmHWM", next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024)
RUN
venv/bin/python - <<'PROGRAM'
import re
import subprocess
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COUNT, CHANNELS = 8, 512
weights = np.full((CHANNELS, CHANNELS, 3, 3), 1e-3, np.float32)
value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, CHANNELS, 8, 8]) for name in ("x0", f"x{COUNT}")]
nodes = [helper.make_node("Conv", [f"x{k}", f"w{k}"], [f"x{k + 1}"], pads=[1] * 4) for k in range(COUNT)]
graph = helper.make_graph(nodes, "net", value[:1], value[1:], [numpy_helper.from_array(weights, f"w{k}") for k in range(COUNT)])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "net.onnx")
Path("net.param").write_text(
    f"7767517\n{COUNT + 1} {COUNT + 1}\nInput x0 0 1 x0 0=8 1=8 2={CHANNELS}\n"
    + "".join(f"Convolution c{k} 1 1 x{k} x{k + 1} 0={CHANNELS} 1=3 4=1 6={weights.size}\n" for k in range(COUNT))
)
Path("net.bin").write_bytes((bytes(4) + weights.tobytes()) * COUNT)


def measured(what):
    """Return the MiB of memusage's heap peak, of that with -m, and of the peak RSS."""
    figures = []
    for options in ([], ["-m"]):
        command = ["tools/usr/bin/memusage", *options, "venv/bin/python", "run.py", what]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        figures.append(int(re.search(r"heap peak: (\d+)", run.stderr)[1]) / 2**20)
    return np.array([*figures, float(run.stdout.split("VmHWM")[1])])


start = measured("nothing")
for what, seen, resident in [
    ("malloc", 25, 25), ("posix_memalign", 0, 25), ("aligned_alloc", 0, 25), ("memalign", 0, 25), ("onnxruntime", 76, 234),
    ("ncnn", 0, 400),
]:
    heap, mapped, peak = measured(what) - start
    print(f"{what}: heap peak {heap:.1f}, with -m {mapped:.1f}, peak RSS {peak:.0f} MiB")
    assert abs(heap - seen) < 0.2 * seen + 2 and abs(mapped - seen) < 0.2 * seen + 2, "memusage counts otherwise now"
    assert peak > 0.6 * resident, "the memory has changed"
PROGRAM
