"""The file of results that a bundle writes on a board: a chain of lines linked by digests.

A line is `{"digest":"<64 hex digits>","entry":{...}}`. Its digest is the SHA-256
of the digest before it and the entry's own bytes; the first line uses the bundle's
digest. So a line that was changed, lost, doubled or moved is noticed, and the
last entry, `end`, shows that nothing is missing after it. Somebody who changes
a file on purpose can compute the digests again: they are not a signature.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import signal
import stat

FORMAT = "pibench-results"
VERSION = 1
# The longest line of the probe (log.MAX_LINE_BYTES) and the text around it.
LONGEST_LINE_BYTES = 8 << 20
LINE_HEAD = b'{"digest":"'
LINE = re.compile(rb'\{"digest":"([0-9a-f]{64})","entry":(\{.*\})\}\n\Z', re.S)
FINAL = ("result", "died")
INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Damaged(Exception):
    """A line that is not as it was written; `torn` if the file ends within it."""

    def __init__(self, number, problem, torn=False):
        Exception.__init__(self, "line {}: {}".format(number, problem))
        self.number = number
        self.problem = problem
        self.torn = torn


class Busy(Exception):
    """Another process is writing to the file."""


class OtherKit(Exception):
    """The file contains results of another bundle."""


def line_of(previous, entry):
    """Return an entry's digest and its line, given the digest of the line before it."""
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), allow_nan=False)
    text = text.encode("ascii")
    digest = digest_of(previous, text)
    return digest, b'{"digest":"' + digest.encode("ascii") + b'","entry":' + text + b"}\n"


def digest_of(previous, text):
    return hashlib.sha256(previous.encode("ascii") + text).hexdigest()


def entries(stream):
    """Yield the lines of a binary stream as (number, digest, entry).

    Raises Damaged at the first bad line. The first entry is always a `begin`, of any version.
    """
    previous = None
    number = 0
    while True:
        line = stream.readline(LONGEST_LINE_BYTES + 1)
        if not line:
            return
        number += 1
        if len(line) > LONGEST_LINE_BYTES:
            raise Damaged(number, "longer than any line that a bundle writes")
        digest, entry, text = read_line(number, line)
        if number == 1:
            previous = kit_of(entry)
        if digest != digest_of(previous, text):
            raise Damaged(number, "its digest does not match")
        previous = digest
        yield number, digest, entry


def read_line(number, line):
    """Return the digest, entry and entry's bytes of one line; the digest is not yet checked."""
    found = LINE.match(line)
    if not found:
        torn = not line.endswith(b"\n")
        raise Damaged(number, "cut off" if torn else "not a line of results", torn)
    text = found.group(2)
    try:
        entry = json.loads(text.decode("ascii"), parse_constant=no_number)
    except (ValueError, RecursionError):
        raise Damaged(number, "not a line of results") from None
    return found.group(1).decode("ascii"), entry, text


def no_number(name):
    raise ValueError(name)


def kit_of(entry):
    """Return the digest of a file's kit, from its first entry. Raises Damaged."""
    kit = entry.get("kit")
    well = entry.get("event") == "begin" and entry.get("format") == FORMAT
    if not well or not isinstance(kit, str) or not re.match(r"[0-9a-f]{64}\Z", kit):
        raise Damaged(1, "not the start of a results file")
    return kit


class ResultsFile(object):
    """Appends to a file of results, after those of earlier runs.

    `finished` has the ids that have a result. `unended` is how often one was
    started by a run that did not report its end: the machine went down.
    Raises Busy, OtherKit, or Damaged for a file that was changed or has another origin.
    """

    def __init__(self, path, kit):
        self.path = path
        self.kit = kit
        self.finished = []
        self.unended = {}
        self.last_event = None
        self.digest = kit
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        self.descriptor = os.open(path, flags, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
                raise Damaged(1, "not a regular file")
            self._lock()
            self._read()
            if self.last_event is None:
                self.append("begin", format=FORMAT, version=VERSION, kit=kit)
        except BaseException:
            self.close()
            raise

    def _lock(self):
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (OSError, IOError) as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise Busy() from None

    def _read(self):
        """Read the existing lines; remove one that was cut off when the machine went down."""
        whole_bytes = 0
        with open(self.path, "rb") as stream:
            try:
                for number, digest, entry in entries(stream):
                    if number == 1 and entry["kit"] != self.kit:
                        raise OtherKit()
                    self.digest = digest
                    self._note(entry)
                    whole_bytes = stream.tell()
            except Damaged as damage:
                if not damage.torn:
                    raise
                stream.seek(whole_bytes)
                if not self._began(stream.read(LONGEST_LINE_BYTES)):
                    raise Damaged(damage.number, "not written by a bundle") from None
                os.ftruncate(self.descriptor, whole_bytes)

    def _began(self, rest):
        """Return whether these bytes are the rest of a line of this file; others are never removed.

        Some file systems leave NUL bytes where data was allocated and never written.
        """
        size_bytes, rest = len(rest), rest.rstrip(b"\0")
        if self.last_event is None:
            entry = {"event": "begin", "format": FORMAT, "version": VERSION, "kit": self.kit}
            first = line_of(self.kit, entry)[1]
            return size_bytes <= len(first) and first.startswith(rest)
        return rest.startswith(LINE_HEAD) or LINE_HEAD.startswith(rest)

    def _note(self, entry):
        event, network = entry.get("event"), entry.get("id")
        self.last_event = event
        if event == "start":
            self.unended[network] = self.unended.get(network, 0) + 1
        elif event in FINAL:
            self.unended.pop(network, None)
            self.finished.append(network)
        elif event == "interrupted":
            self.unended.pop(network, None)

    def append(self, event, **fields):
        """Append one entry and wait until it is on the card; on failure remove the partial line."""
        entry = dict(fields, event=event)
        digest, line = line_of(self.digest, entry)
        size_bytes = os.fstat(self.descriptor).st_size
        # An interruption of this program takes effect before or after a line.
        waiting = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTING)
        try:
            rest = line
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
            os.fsync(self.descriptor)
            self.digest = digest
            self._note(entry)
        except BaseException:
            os.ftruncate(self.descriptor, size_bytes)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, waiting)

    def end(self):
        """Append `end` once, which shows that nothing is missing."""
        if self.last_event != "end":
            self.append("end", finished=self.finished)

    def close(self):
        os.close(self.descriptor)
