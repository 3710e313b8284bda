"""What the probe knows of each engine: one module each, named as the engine's id.

Such a module has `command_of(job, item, folder)`, which returns the command line and the
environment that run one item; `LogReader`, a reader of the engine's log (see log.py); and
`versions(job, ask)`, which returns what the machine's engine reports of itself, where
`ask(command)` returns the first line that a short command prints. The command may run anything:
for the lines by which a program reports its results, see log.py.
"""

import importlib


def engine_of(job):
    """Return the module of the job's engine."""
    return importlib.import_module("." + job["engine"], __name__)
