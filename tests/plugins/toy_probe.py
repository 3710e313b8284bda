"""The toy engine's part of the probe, which runs in the target: Python 3.5, no other packages.

Its network is 64 MiB. What an engine's program has to print is in pibench/probe/log.py.
"""

from ..log import LogReader as AnyLogReader

PROGRAM = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from probe.log import RESULT
from probe.machine_state import MachineState
state = MachineState()
text = open(sys.argv[2]).read()
if "Convolution" not in text or not open(sys.argv[3], "rb").read():
    sys.exit("toy: not a network")
if "refused" in text:
    sys.exit("toy error: MemoryError")
readings = [state.read()]
blob = bytearray(64 << 20)
readings += [state.read(), state.settled()]
print(RESULT + json.dumps({
    "totals_ms": [1.5], "readings": readings, "state": state.describe(),
    "layers": [{"name": "all", "type": "Toy", "forward_ms": 1.5}],
}), flush=True)
"""


class LogReader(AnyLogReader):
    """Finds the message with which the program ended."""

    def engine_line(self, text):
        """Note the message about memory; keep every line."""
        if text.startswith("toy error: "):
            self.fatal = text[11:]
        return False


def command_of(job, item, folder):
    """Return the command line and the environment that run one network."""
    weights = folder + "/" + item["weights"] if item["weights"] else ""
    command = job["python"] + ["-c", PROGRAM, folder, folder + "/" + item["model"], weights]
    return command, dict(job["env"])


def versions(job, ask):
    """Return the engine's version for the record."""
    return {"engine_version": "toy 1.0 on " + ask(job["python"] + ["--version"])}
