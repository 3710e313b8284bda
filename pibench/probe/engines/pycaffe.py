"""Forward passes in pycaffe, run by Caffe's Python: timed, or counted. Needs numpy and pycaffe."""

import ctypes
import json
import os
import signal
import time

from ..log import RESULT
from ..machine_state import MachineState
from ..procfs import high_water_kib, resident_kib
from ..values import PIXELS, fill, practised, print_layer, print_outputs

# A system call that no kernel has; the counter recognizes it (MARK in counter.c).
MARK = 0x70696265
OUTSIDE = -1


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
    started = time.perf_counter()
    if spec["weights"]:
        net = caffe.Net(spec["model"], caffe.TEST, weights=spec["weights"])
    else:
        net = caffe.Net(spec["model"], caffe.TEST)
    result = {"layers": [], "totals_ms": [], "warmup_ms": []}
    result["load_ms"] = (time.perf_counter() - started) * 1000.0
    read_kib = high_water_kib()
    input_sha256 = fill_inputs(net, spec)
    for _ in range(spec["warmup"]):
        started = time.perf_counter()
        net.forward()
        result["warmup_ms"].append((time.perf_counter() - started) * 1000.0)
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
    result["steady_kib"] = resident_kib()
    if spec["values"]:
        # In-place layers that run more than once corrupt what later layers read, and the
        # inputs where those are changed in place. So the values take one separate pass.
        fill_inputs(net, spec)
        result["input_sha256"] = input_sha256
        print_values(net, projector, spec["keep"])
    result.update({"read_high_water_kib": read_kib, "high_water_kib": high_water_kib()})
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
    inputs = ((name, net.blobs[name].data, (-PIXELS, PIXELS)) for name in net.inputs)
    return fill(inputs, given, spec["seed"])


def print_values(net, projector, keep):
    """Run one pass layer by layer; print what each layer computed, and the outputs.

    A layer's tops are read right after it ran, since layers in place
    overwrite them. Splits, which Caffe inserts, copy nothing and are skipped.
    """
    names = list(net._blob_names)
    for index, layer in enumerate(net._layer_names):
        net._forward(index, index)
        kind = net.layers[index].type
        if kind == "Split":
            continue
        for top in net._top_ids(index):
            named = {"index": index, "layer": layer, "type": kind, "name": names[top]}
            print_layer(named, net._blobs[top].data, projector, keep)
    print_outputs([(name, net.blobs[name].data) for name in net.outputs], projector)


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


def run_counted(spec):
    """Run a network once uncounted and once with a mark before each layer; print its layers.

    QEMU's counter (qemu/counter) counts the instructions between the marks.
    """
    import numpy

    os.environ.setdefault("GLOG_minloglevel", "2")
    import caffe

    caffe.set_mode_cpu()
    caffe.set_random_seed(spec["seed"])
    phase = caffe.TRAIN if spec["training"] else caffe.TEST
    net = caffe.Net(spec["model"], phase)
    random = numpy.random.RandomState(spec["seed"])
    for name in net.inputs:
        blob = net.blobs[name]
        blob.data[...] = random.uniform(-1.0, 1.0, size=blob.data.shape)
    system_call = ctypes.CDLL(None).syscall
    system_call.argtypes = [ctypes.c_long, ctypes.c_long]
    forward = net._forward
    count = len(net.layers)
    # A pass that does not count allocates the memory and warms OpenBLAS up.
    forward(0, count - 1)
    for index in range(count):
        system_call(MARK, index)
        forward(index, index)
        system_call(MARK, OUTSIDE)
    names = list(net._layer_names)
    layers = [{"name": names[index], "type": net.layers[index].type} for index in range(count)]
    print(RESULT + json.dumps({"layers": layers}), flush=True)
