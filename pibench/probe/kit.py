"""Run a bundle on a board: check first, then run its networks; resume if interrupted.

The bundle is a folder: `manifest.json` names its files with their SHA-256 and its
networks; `job.json` is the job with all of them. The output is
`pi-results.jsonl` in the same folder (results.py). A network that has a result
there is not run again.
"""

import argparse
import contextlib
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import time

from . import check
from .log import event_in
from .results import INTERRUPTING, Busy, Damaged, OtherKit, ResultsFile
from .unpack import UnpackError, unpack

MANIFEST = "manifest.json"
JOB = "job.json"
RUNNING_JOB = "job-running.json"
RESULTS = "pi-results.jsonl"
INVALID, ENVIRONMENT, INTERRUPTED = 2, 3, 130
CHUNK_BYTES = 1 << 20
# The probe sends an event every five seconds; a board that swaps may take longer.
SILENCE_S = 600.0
GRACE_S = 3.0
STILL_RUNNING_S = 60.0
# A network that took the machine down twice would do so again.
ATTEMPTS = 2
LAST_WORDS = 3
LONGEST_WORDS = 400


class Failed(Exception):
    """Why the run cannot continue, in one line; the fix, and the exit code."""

    def __init__(self, code, what, todo):
        Exception.__init__(self, what)
        self.code = code
        self.what = what
        self.todo = todo


class Interrupted(Exception):
    """Ctrl-C, TERM, or the terminal was closed."""


def main(top):
    """Run the bundle in the folder `top`; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="run.py", description="Run this bundle's networks, and write " + RESULTS
    )
    parser.add_argument(
        "--check", action="store_true", help="check whether this machine can run it; run nothing"
    )
    parser.add_argument(
        "--end", action="store_true", help="run nothing more: close the file of results as it is"
    )
    options = parser.parse_args()
    for number in INTERRUPTING:
        # Shells start background jobs with SIGINT ignored; a hangup that was ignored stays so.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        return Kit(top).run(options.check, options.end)
    except Failed as failure:
        show("{}; {}".format(failure.what, failure.todo))
        return failure.code
    except Interrupted:
        show("interrupted; python3 run.py goes on where this stopped")
        return INTERRUPTED
    except (IOError, OSError) as error:
        place = getattr(error, "filename", None) or top
        show(
            "{}: {}; check the free space and the permissions there".format(
                place, error.strerror or error
            )
        )
        return ENVIRONMENT


def interrupt(_number, _frame):
    for number in INTERRUPTING:
        # Once is enough: the rest ends in order.
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted()


def show(text):
    """Print a line for the user, in the terminal's encoding; the terminal may be closed."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    line = "".join(char if char.isprintable() else "?" for char in text)
    try:
        sys.stdout.buffer.write(line.encode(encoding, "backslashreplace") + b"\n")
        sys.stdout.buffer.flush()
    except (AttributeError, IOError, OSError, ValueError):
        # Nobody reads the output any more. Python would report that once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def of_type(kind, value):
    """Return the value if it is of that type; a manifest may have been edited."""
    if not isinstance(value, kind) or (kind is str and "\0" in value):
        raise TypeError(value)
    return value


def file_sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        chunk = handle.read(CHUNK_BYTES)
        while chunk:
            digest.update(chunk)
            chunk = handle.read(CHUNK_BYTES)
    return digest.hexdigest()


class Kit(object):
    """A bundle's folder, read and checked."""

    def __init__(self, top):
        self.top = top
        # The engine's name for messages: see _check_machine.
        self.label = "Caffe"
        text = self._bytes(MANIFEST)
        self.digest = hashlib.sha256(text).hexdigest()
        try:
            manifest = json.loads(text.decode("utf-8"))
            self.protocol = of_type(str, manifest["options"]["protocol"])
            self.networks = [
                (of_type(str, one["id"]), of_type(str, one["name"])) for one in manifest["networks"]
            ]
            self.root = manifest["caffe"]
            if self.root is not None:
                for name in ("archive", "key", "sha256"):
                    of_type(str, self.root[name])
                of_type(int, self.root["unpacked_bytes"])
            self.files = [
                (
                    of_type(str, one["path"]),
                    of_type(str, one["sha256"]),
                    of_type(int, one["size_bytes"]),
                )
                for one in manifest["files"]
            ]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._damaged(MANIFEST) from None

    def run(self, only_check, only_end):
        self._check_files()
        if only_end:
            return self._close()
        needs_root = self._check_machine()
        if only_check:
            show("it can run here")
            return 0
        with contextlib.closing(self._results()) as results:
            waiting = self._waiting(results)
            if waiting:
                if needs_root:
                    self._unpack_root()
                Session(self, results).run(waiting)
            return self._ended(results)

    def path(self, name):
        return os.path.join(self.top, name)

    def name_of(self, network):
        """Return a network's label by its id, such as `[2/3] NIN`."""
        place = [one for one, _ in self.networks].index(network)
        return "[{}/{}] {}".format(place + 1, len(self.networks), self.networks[place][1])

    def _bytes(self, name):
        try:
            with open(self.path(name), "rb") as handle:
                return handle.read()
        except (IOError, OSError) as error:
            raise Failed(
                INVALID,
                "{}: {}".format(self.path(name), error.strerror),
                "unpack the bundle again and run it from there",
            ) from None

    def _damaged(self, name):
        return Failed(
            INVALID,
            "the bundle is damaged: {} differs from the packed file".format(name),
            "copy and unpack it again; {} can stay".format(RESULTS),
        )

    def _check_files(self):
        """Make sure that all files are those of the manifest. Raises Failed.

        Caffe's archive is the exception: it is checked while it is unpacked.
        """
        packed = self.root["archive"] if self.root else None
        files = [one for one in self.files if one[0] != packed]
        total_bytes = sum(size_bytes for _, _, size_bytes in files)
        if total_bytes > 100 << 20:
            show("checking {} MB of files".format(total_bytes // 1000000))
        for path, sha256, _ in files:
            try:
                found = file_sha256(self.path(path))
            except (IOError, OSError):
                raise self._damaged(path) from None
            if found != sha256:
                raise self._damaged(path)

    def _check_machine(self):
        """Make sure that this machine can run it; return whether to unpack Caffe. Raises Failed."""
        job = json.loads(self._bytes(JOB).decode("utf-8"))
        self.label = job["label"]
        needs = {
            "label": self.label,
            "trials": self._trials(job),
            "folder": self.top,
            "job_bytes": 0,
            "root_bytes": self.root["unpacked_bytes"] if self.root else None,
            "root_key": self.root["key"] if self.root else None,
        }
        found = check.facts(needs)
        problems = check.problems(found, needs)
        for what, todo in problems[1:]:
            show("this machine: {}; {}".format(what, todo))
        if problems:
            raise Failed(ENVIRONMENT, "this machine: " + problems[0][0], problems[0][1])
        show(
            "this machine: {}, {}, {} MiB of memory, Python {}".format(
                found["board"] or "unknown board",
                found["architecture"],
                (found["memory_total_kib"] or 0) >> 10,
                ".".join(str(part) for part in found["python"]),
            )
        )
        uses_kit = found["caffe_complaint"] is not None
        show("{}: {}".format(self.label, "the bundle's own" if uses_kit else "this machine's"))
        return uses_kit and not found["root_is_there"]

    def _trials(self, job):
        """Return the job's trials, with the name of this machine's own program, if it is one."""
        program = "".join(job["programs"][0]["program"])
        return [[program if part == "{program}" else part for part in one] for one in job["trials"]]

    def _unpack_root(self):
        megabytes = self.root["unpacked_bytes"] // 1000000
        show("unpacking {}, {} MB".format(self.label, megabytes))
        try:
            with open(self.path(self.root["archive"]), "rb") as stream:
                unpack(stream, self.path(check.ROOTS), self.root["key"], self.root["sha256"])
        except UnpackError as error:
            raise Failed(ENVIRONMENT, str(error), "run it again") from None

    def _results(self):
        path = self.path(RESULTS)
        try:
            return ResultsFile(path, self.digest)
        except Busy:
            raise Failed(
                ENVIRONMENT, "this bundle is already running", "wait for it, or stop it"
            ) from None
        except OtherKit:
            raise Failed(
                INVALID, "{} belongs to another bundle".format(path), "move it away, and run again"
            ) from None
        except Damaged as damage:
            raise Failed(
                INVALID,
                "{}: line {}: {}".format(path, damage.number, damage.problem),
                "move the file away, and run again from the start",
            ) from None

    def _waiting(self, results):
        """Return the ids without a result; give up one that took the machine down twice."""
        waiting = []
        for network, _ in self.networks:
            if network in results.finished:
                continue
            attempts = results.unended.get(network, 0)
            if attempts >= ATTEMPTS:
                why = "the machine went down in each of {} attempts".format(attempts)
                results.append("died", id=network, why=why)
                show("{}: given up, {}".format(self.name_of(network), why))
                continue
            waiting.append(network)
        done = len(self.networks) - len(waiting)
        if done:
            show("{} of {} networks are already done".format(done, len(self.networks)))
        return waiting

    def _close(self):
        if not os.path.exists(self.path(RESULTS)):
            raise Failed(INVALID, "there are no results yet", "run it first: python3 run.py")
        with contextlib.closing(self._results()) as results:
            return self._ended(results)

    def _ended(self, results):
        results.end()
        show(
            "{} of {} networks are in {}".format(
                len(results.finished), len(self.networks), self.path(RESULTS)
            )
        )
        if not results.finished:
            show("nothing to import yet; run them: python3 run.py")
            return 0
        show("its last digest begins with {}".format(results.digest[:16]))
        show(
            "copy it to where pibench is, then: pibench import {} -o records.jsonl".format(RESULTS)
        )
        return 0


class Session(object):
    """Runs the waiting networks in one probe, and in another one if that dies."""

    def __init__(self, kit, results):
        self.kit = kit
        self.results = results
        self.current = None
        self.started = None
        self.reported = None
        self.words = []
        self.ended = False

    def run(self, waiting):
        """Run all; raise Failed where none can run. Results are always stored."""
        while waiting:
            before = len(self.results.finished)
            try:
                self._probe(waiting)
            except Interrupted:
                self.results.append("interrupted", id=self.current)
                raise
            if self.current is not None:
                why = "the probe ended before it: {}".format(self._last_words())
                self.results.append("died", id=self.current, why=why[:LONGEST_WORDS])
                show("{}: {}".format(self.kit.name_of(self.current), why))
                self.current = None
            if len(self.results.finished) == before:
                raise Failed(
                    ENVIRONMENT,
                    "the probe could not run: {}".format(self._last_words()),
                    "run it again; finished networks are kept",
                )
            waiting = [one for one in waiting if one not in self.results.finished]

    def _last_words(self):
        return " | ".join(self.words) or "it printed nothing"

    def _probe(self, waiting):
        """Run one probe, from its start to its end."""
        with open(self.kit.path(JOB)) as handle:
            job = json.load(handle)
        job["items"] = [item for item in job["items"] if item["id"] in waiting]
        path = self.kit.path(RUNNING_JOB)
        with open(path, "w") as handle:
            json.dump(job, handle)
        self.words = []
        self.ended = False
        probe = subprocess.Popen(
            [sys.executable, "-I", self.kit.path("probe/run.py"), path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches only this program, which then ends the other in order.
            start_new_session=True,
        )
        try:
            self._listen(probe.stdout.fileno())
        finally:
            stop(probe)
            os.unlink(path)

    def _listen(self, pipe):
        rest = b""
        last_output = time.monotonic()
        while not self.ended:
            if not select.select([pipe], [], [], 1.0)[0]:
                if time.monotonic() - last_output > SILENCE_S:
                    self.words.append("it printed nothing for {:.0f} s".format(SILENCE_S))
                    return
                continue
            chunk = os.read(pipe, CHUNK_BYTES)
            if not chunk:
                return
            last_output = time.monotonic()
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            for line in lines:
                self._line(line)

    def _line(self, line):
        event = event_in(line)
        if event is None:
            text = line.decode("utf-8", "replace").strip()
            if text:
                self.words = (self.words + [text[:LONGEST_WORDS]])[-LAST_WORDS:]
            return
        kind = event["event"]
        if kind == "hello":
            machine = dict(event["machine"])
            # A network interface may be named after its hardware address.
            machine.pop("sandbox", None)
            self.results.append("machine", machine=machine, unix_s=time.time())
        elif kind == "unusable":
            raise Failed(
                ENVIRONMENT,
                "no {} here can run this: {}".format(self.kit.label, "; ".join(event["reasons"])),
                "follow these messages",
            )
        elif kind == "start":
            self.current = event["id"]
            self.started = self.reported = time.monotonic()
            load = os.getloadavg()[0]
            self.results.append("start", id=self.current, unix_s=time.time(), load_1_minute=load)
            show("{}: started".format(self.kit.name_of(self.current)))
        elif kind == "alive" and self.current is not None:
            self._still_running(event)
        elif kind == "result":
            self.results.append("result", id=event["id"], result=event["result"])
            described = summary(event["result"], self.kit.label)
            show("{}: {}".format(self.kit.name_of(event["id"]), described))
            self.current = None
        elif kind == "end":
            self.ended = True

    def _still_running(self, event):
        now = time.monotonic()
        if now - self.reported < STILL_RUNNING_S:
            return
        self.reported = now
        took = "{:.0f} s, {} MiB".format(now - self.started, event["rss_kib"] >> 10)
        show("{}: still running, {}".format(self.kit.name_of(self.current), took))


def stop(process):
    """End a process and its children: TERM, then KILL."""
    for number, grace_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, None)):
        with contextlib.suppress(OSError):
            os.killpg(process.pid, number)
        try:
            process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            continue
    process.stdout.close()


def summary(result, label):
    """Return a short description of one network's result."""
    peak = "peak {} MiB".format(result["peak_rss_bytes"] >> 20)
    if result["timed_out"]:
        return "not done by its deadline; " + peak
    if result["oom_lines"] or result["oom_kills"]:
        return "killed, out of memory; " + peak
    if result["fatal_message"]:
        return label + " gave up: " + result["fatal_message"][:200]
    if result["signal"]:
        return "ended by signal {}; {}".format(result["signal"], peak)
    if result["exit_status"] != 0:
        return "ended with {}; {}".format(result["exit_status"], peak)
    times = result.get("inference", {}).get("totals_ms") or [
        result.get("caffe_time", {}).get("totals", {}).get("forward")
    ]
    forward = (
        "" if times[0] is None else ", forward {:.0f} ms".format(sorted(times)[len(times) // 2])
    )
    return peak + forward
