"""One forward-only run in pycaffe: times per layer and the outputs. Needs numpy and pycaffe."""

import hashlib
import json
import os
import signal
import time

from .machine_state import MachineState
from .marks import RESULT
from .procfs import read_fields, read_int
from .values import practised, print_values

# Range of the random inputs: that of pixels less their mean.
PIXELS = 128.0
PIECE = 16384


def run_inference(spec):
    """Load weights, run forward only, and print times per layer and the outputs."""
    # Before anything is loaded: see machine_state.
    state = MachineState()
    os.environ.setdefault("GLOG_minloglevel", "2")
    import caffe

    # Loaded before the network, like a library: otherwise its remains on the heap would be
    # above the network's memory, and prevent that from being given back.
    projector = practised() if spec["values"] else None
    caffe.set_mode_cpu()
    if spec["weights"]:
        net = caffe.Net(spec["model"], caffe.TEST, weights=spec["weights"])
    else:
        net = caffe.Net(spec["model"], caffe.TEST)
    input_sha256 = fill_inputs(net, spec)
    for _ in range(spec["warmup"]):
        net.forward()
    result = {"layers": [], "totals_ms": []}
    # Around each pass, and a last one: see machine_state.
    readings = [state.read()]
    for _ in range(spec["repeats"]):
        started = time.perf_counter()
        net.forward()
        result["totals_ms"].append((time.perf_counter() - started) * 1000.0)
        readings.append(state.read())
    if spec["repeats"]:
        result["layers"] = time_layers(net, spec["repeats"])
    readings.append(state.settled())
    result.update({"readings": readings, "state": state.describe()})
    if spec["values"]:
        # In-place layers that run more than once corrupt what later layers read, and the
        # inputs where those are changed in place. So the values take one separate pass.
        fill_inputs(net, spec)
        result["input_sha256"] = input_sha256
        print_values(net, projector, spec["keep"])
    result["high_water_kib"] = read_int(read_fields("/proc/self/status"), "VmHWM")
    print(RESULT + json.dumps(result), flush=True)
    # The probe samples the memory, and lets this go on (see watch_child). Python's own shutdown
    # is not part of the network's run, but would count in its peak: QEMU's translation of it
    # takes 5 MiB where processes are emulated.
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(0)


def fill_inputs(net, spec):
    """Fill the input blobs with given values or seeded numbers; return the SHA-256 of them all."""
    import numpy

    given = numpy.load(spec["inputs"], allow_pickle=False) if spec["inputs"] else None
    random = numpy.random.RandomState(spec["seed"])
    digest = hashlib.sha256()
    for name in net.inputs:
        data = net.blobs[name].data
        if given is not None:
            data[...] = given[name]
        else:
            # In pieces: the numbers are the same, and the pieces need hardly any memory.
            flat = data.reshape(-1)
            for start in range(0, flat.size, PIECE):
                piece = flat[start : start + PIECE]
                piece[...] = random.uniform(-PIXELS, PIXELS, size=piece.size)
        digest.update(numpy.ascontiguousarray(data, dtype="<f4").reshape(-1))
    return digest.hexdigest()


def time_layers(net, repeats):
    """Return name, type and median time of each layer."""
    layers = []
    for index, name in enumerate(net._layer_names):
        times_ms = []
        for _ in range(repeats):
            started = time.perf_counter()
            net._forward(index, index)
            times_ms.append((time.perf_counter() - started) * 1000.0)
        layers.append(
            {"name": name, "type": net.layers[index].type, "forward_ms": median(times_ms)}
        )
    return layers


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2.0
