"""Choose the Caffe of a job: the first in its list that works on this machine."""

import os

from .check import complaint_of, system_python
from .commands import place_environment

# Emulated, or on a board with a slow card, the import of pycaffe takes long.
TRIAL_DEADLINE_S = 300
FOLDER = "{folder}"
PYTHON = "{python}"
MODELS = "models"


class NoProgramsError(Exception):
    """None of the listed programs works here; `reasons` has the reason for each."""

    def __init__(self, reasons):
        Exception.__init__(self, "; ".join(reasons))
        self.reasons = reasons


def settle(job, folder):
    """Return the job with the programs that this machine runs, and with its actual paths.

    `programs` lists candidates in order, each with `origin`, `lock`, `caffe`,
    `python`, `env`, `env_option`, `preload`, `address_space_bytes` and
    `huge_pages_off`; the chosen one's become the job's own. `{folder}` in
    them means the job's folder, `{python}` the Python that pycaffe would be
    installed for. A single candidate is taken without a trial, since there is no
    alternative. Several are tried in order, and if none works, the last one is not
    taken either. Raises NoProgramsError.
    """
    candidates = [placed(candidate, folder) for candidate in job["programs"]]
    if len(candidates) == 1:
        return dict(job, **candidates[0])
    reasons = []
    protocols = {item["protocol"] for item in job["items"]}
    for candidate in candidates:
        complaint = trial(candidate, protocols)
        if complaint is None:
            return dict(job, **candidate)
        reasons.append("{}: {}".format(candidate["origin"], complaint))
    raise NoProgramsError(reasons)


def placed(value, folder):
    """Return a value of the job with its placeholders replaced by the job's folder."""
    if isinstance(value, dict):
        return {key: placed(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [placed(inner, folder) for inner in value]
    if not isinstance(value, str):
        return value
    return value.replace(FOLDER, folder).replace(PYTHON, system_python())


def trial(candidate, protocols):
    """Return why the candidate does not work here, or None if it does."""
    tried = [candidate["caffe"] + ["--version"]]
    if "inference" in protocols:
        tried.append(candidate["python"] + ["-c", "import caffe"])
    for command in tried:
        command, env = place_environment(candidate, command, candidate["env"])
        complaint = complaint_of(command, env, TRIAL_DEADLINE_S)
        if complaint is not None:
            return complaint
    return None


def make_empty_model(folder):
    """Make the pipe at which a program without a network waits (see commands.py).

    A copy of the folder may lack it: archives and file transfers carry files.
    """
    path = os.path.join(folder, MODELS, "none")
    if not os.path.exists(path):
        os.mkfifo(path)
        os.chmod(path, 0o666)
