"""Forward passes of an engine that is a module of Python: the same run for each of them.

An engine's own part has `load(spec)`, which imports its library, and `Net(spec)`, which reads
a model; `Net.forward(arrays)` takes the inputs and returns the outputs, in the order of
`spec["ends"]`. A spec is what `command_of` makes; see End in pibench/targets/base.py.

In a run that asks for the values of layers, their blobs are further outputs: see LayerBlob in
pibench/targets/base.py. `forward` returns None for a blob that the engine does not have.
"""

import json
import os
import signal
import time

from ..log import RESULT
from ..log import LogReader as AnyLogReader
from ..machine_state import MachineState
from ..procfs import high_water_kib, resident_kib
from ..programs import RUN
from ..values import fill, practised, print_layer, print_outputs

ERROR = "PIBENCH-ERROR "


class LogReader(AnyLogReader):
    """Finds the engine's own exception, by which the program ended."""

    def engine_line(self, text):
        if not text.startswith(ERROR):
            return False
        self.fatal = text[len(ERROR) :][:1000]
        return True


def command_of(job, item, folder):
    """Return the command line and environment that run one item."""
    spec = {
        "engine": job["engine"],
        "settings": job.get("settings", {}),
        "model": os.path.join(folder, item["model"]),
        "weights": os.path.join(folder, item["weights"]) if item.get("weights") else None,
        "values": os.path.join(folder, item["inputs"]) if item.get("inputs") else None,
    }
    for name in ("threads", "warmup", "repeats", "seed", "ends", "keep"):
        spec[name] = item[name]
    spec["layers"] = os.path.join(folder, item["layers"]) if item.get("layers") else None
    command = job["python"] + [RUN, "--forward", json.dumps(spec)]
    return command, dict(job.get("env", {}))


def versions_of(module):
    """Return the function `versions` for an engine's module."""
    code = "import {} as module; print(module.__version__)".format(module)

    def versions(job, ask):
        # None of these engines calls a BLAS.
        version = ask(job["python"] + ["-c", code])
        return {"engine_version": version, "blas": None, "blas_core": None}

    return versions


def run_forward(engine, spec):
    """Read a model, run it forward, print times and outputs, and wait for the probe's sample."""
    # Before anything is loaded: see machine_state.
    state = MachineState()
    engine.load(spec)
    projector = practised()
    # A program without a network waits here: the libraries are loaded, the model is not.
    with open(spec["model"], "rb") as model:
        model.read(1)
    ends = spec["ends"]["outputs"]
    layers = layers_of(spec)
    spec["ends"]["outputs"] = ends + [blob for blob in layers if blob["inside"]]
    try:
        started = time.perf_counter()
        net = engine.Net(spec)
        result = {"layers": [], "totals_ms": [], "warmup_ms": []}
        result["load_ms"] = (time.perf_counter() - started) * 1000.0
        read_kib = high_water_kib()
        inputs, input_sha256 = inputs_of(spec)
        # The values are those of the first pass: a model can keep a state from pass to pass.
        started = time.perf_counter()
        outputs = net.forward(inputs)
        first_ms = (time.perf_counter() - started) * 1000.0
        result["warmup_ms"] = [first_ms][: spec["warmup"]]
        print_values(spec, ends, layers, inputs, outputs, projector)
        readings = [state.read()]
        for _ in range(spec["repeats"]):
            outputs = None
            started = time.perf_counter()
            outputs = net.forward(inputs)
            result["totals_ms"].append((time.perf_counter() - started) * 1000.0)
            readings.append(state.read())
        readings.append(state.settled())
        result["steady_kib"] = resident_kib()
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        print(ERROR + "{}: {}".format(type(error).__name__, " ".join(lines)), flush=True)
        os._exit(1)
    result.update({"readings": readings, "state": state.describe(), "input_sha256": input_sha256})
    # Both contain an emulator's share, if there is one: only their ratio counts.
    result.update({"read_high_water_kib": read_kib, "high_water_kib": high_water_kib()})
    print(RESULT + json.dumps(result), flush=True)
    # See run_inference in pycaffe.py.
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(0)


def print_values(spec, ends, layers, inputs, outputs, projector):
    """Print the outputs of a pass, and the blobs of layers that are behind them."""
    print_outputs([(end["name"], outputs[at]) for at, end in enumerate(ends)], projector)
    given, values = iter(inputs), iter(outputs[len(ends) :])
    for blob in layers:
        value = next(values if blob["inside"] else given)
        if value is not None:
            print_layer(blob, shaped(value, blob["shape"]), projector, spec["keep"])


def layers_of(spec):
    """Return the blobs of layers whose values are asked for."""
    if not spec["layers"]:
        return []
    with open(spec["layers"]) as file:
        return json.load(file)


def shaped(value, shape):
    """Return a blob in Caffe's shape: engines have axes of length 1 more or less."""
    size = 1
    for count in shape:
        size *= count
    return value.reshape(shape) if value.size == size else value


def inputs_of(spec):
    """Return the inputs, and the SHA-256 of them all."""
    import numpy

    given = numpy.load(spec["values"], allow_pickle=False) if spec["values"] else None
    inputs = [
        (end["name"], numpy.empty(end["shape"], end["type"]), (end["low"], end["high"]))
        for end in spec["ends"]["inputs"]
    ]
    sha256 = fill(inputs, given, spec["seed"])
    return [array for _, array, _ in inputs], sha256
