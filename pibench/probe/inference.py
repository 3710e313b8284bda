"""One forward-only run in pycaffe: times per layer and the outputs. Needs numpy and pycaffe."""

import hashlib
import json
import os
import time

from .machine_state import MachineState
from .procfs import read_fields, read_int


def run_inference(spec):
    """Load weights, run forward only, and print times per layer and the outputs."""
    # Before anything is loaded: see machine_state.
    state = MachineState()
    import numpy

    os.environ.setdefault("GLOG_minloglevel", "2")
    import caffe

    caffe.set_mode_cpu()
    if spec["weights"]:
        net = caffe.Net(spec["model"], caffe.TEST, weights=spec["weights"])
    else:
        net = caffe.Net(spec["model"], caffe.TEST)
    random = numpy.random.RandomState(spec["seed"])
    for name in net.inputs:
        blob = net.blobs[name]
        blob.data[...] = random.uniform(-1.0, 1.0, size=blob.data.shape)
    for _ in range(spec["warmup"]):
        net.forward()
    totals_ms = []
    readings = [state.read()]
    for _ in range(spec["repeats"]):
        started = time.perf_counter()
        net.forward()
        totals_ms.append((time.perf_counter() - started) * 1000.0)
        readings.append(state.read())
    names = list(net._layer_names)
    layers = []
    for index, name in enumerate(names):
        times_ms = []
        for _ in range(spec["repeats"]):
            started = time.perf_counter()
            net._forward(index, index)
            times_ms.append((time.perf_counter() - started) * 1000.0)
        layers.append(
            {"name": name, "type": net.layers[index].type, "forward_ms": median(times_ms)}
        )
    # In-place layers run more than once spoil what later ones read: outputs
    # are taken from one undisturbed pass.
    net.forward()
    readings.append(state.settled())
    result = {
        "totals_ms": totals_ms,
        # Around each of these, and a last one: see machine_state.
        "readings": readings,
        "state": state.describe(),
        "layers": layers,
        "outputs": [describe_output(name, net.blobs[name].data) for name in net.outputs],
        "high_water_kib": read_int(read_fields("/proc/self/status"), "VmHWM"),
    }
    print("PIBENCH-RESULT " + json.dumps(result))


def describe_output(name, data):
    """One output blob, condensed: the hash of its float32 values and their range."""
    import numpy

    flat = numpy.ascontiguousarray(data, dtype="<f4").reshape(-1)
    finite = flat[numpy.isfinite(flat)].astype("f8")
    return {
        "name": name,
        "shape": list(data.shape),
        "sha256": hashlib.sha256(flat.tobytes()).hexdigest(),
        "minimum": float(finite.min()) if finite.size else None,
        "maximum": float(finite.max()) if finite.size else None,
        "l2_norm": float(numpy.linalg.norm(finite)) if finite.size else None,
        "non_finite_count": int(flat.size - finite.size),
    }


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2.0
