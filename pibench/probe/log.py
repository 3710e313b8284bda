"""Lines of output: those that a measured program prints, and the frames that the probe writes."""

import json
import re
import zlib

# The line of one event of the probe: a checksum, and the event as JSON.
FRAME = re.compile(rb"PIBENCH ([0-9a-f]{8}) (\{.*\})\r?\Z")

# Prefixes of the lines that a measured program prints for the probe; the rest is JSON.
RESULT = "PIBENCH-RESULT "
SIGNATURE = "PIBENCH-SIGNATURE "
OUTPUT = "PIBENCH-OUTPUT "
VALUES = "PIBENCH-VALUES "
BLOB = "PIBENCH-BLOB "

LOG_LINES = 12
# The longest line that counts is a result of the probe's. A longer one is dropped, rest included.
MAX_LINE_BYTES = 4 << 20
# Limit for all that a child may report of its blobs: deep networks report some 300 KB.
MAX_REPORT_BYTES = 16 << 20


class LogReader(object):
    """Stores the relevant parts of a child's log: its reports, the fatal message, the last lines.

    Pieces of blobs are not stored: each is passed to `on_blob`, as a dictionary. An engine's
    own reader overrides `engine_line` and `times`.
    """

    def __init__(self, on_blob=None, max_report_bytes=MAX_REPORT_BYTES):
        self.on_blob = on_blob
        self.reported = {"signatures": [], "outputs": []}
        self.bytes_left = max_report_bytes
        self.rest = b""
        self.tail = []
        self.fatal = None
        self.complaint = None
        self.payload = None

    def feed(self, chunk):
        self.rest += chunk
        lines = self.rest.split(b"\n")
        self.rest = lines.pop()
        if len(self.rest) > MAX_LINE_BYTES:
            self.rest = b""
        for line in lines:
            self.line(line.decode("utf-8", "replace"))

    def line(self, text):
        if text.startswith(RESULT):
            self.payload = text[len(RESULT) :]
            return
        if text.startswith((SIGNATURE, OUTPUT, VALUES, BLOB)):
            mark, _, value = text.partition(" ")
            self.take(mark + " ", read_json(value), len(text))
            return
        if not self.engine_line(text):
            self.tail = (self.tail + [text[:400]])[-LOG_LINES:]

    def engine_line(self, text):  # noqa: ARG002
        """Take a line of the engine's own log; return whether it is left out of the last lines.

        It may set `fatal`, the reason why the engine ended, and `complaint`, a problem that
        it reported before.
        """
        return False

    def memory_only_tier(self):
        """Return what memory-only compute replaced: `blas`, or `loops`: the engine's loops too."""
        return "blas"

    def times(self):
        """Return the times in the engine's log, as further fields of the result."""
        return {}

    def take(self, mark, value, size):
        """Take a child's report of its values; its format and size are not trusted."""
        if mark == BLOB:
            if self.on_blob is not None:
                self.on_blob(value)
            return
        self.bytes_left -= size
        outputs = self.reported["outputs"]
        if self.bytes_left < 0:
            return
        if mark == VALUES and isinstance(value, str) and outputs:
            if outputs[-1].get("values") is not None:
                outputs[-1]["values"] += value
        elif mark == OUTPUT and isinstance(value, dict):
            outputs.append(value)
        elif mark == SIGNATURE and isinstance(value, dict):
            self.reported["signatures"].append(value)


def read_json(text):
    """Return a child's report parsed as JSON, or None if it is not: a child is not trusted."""
    try:
        return json.loads(text)
    except ValueError:
        return None


class Frames(object):
    """Writes one event per line, each with a checksum over its JSON; `answers` is for asking."""

    def __init__(self, stream, answers=None):
        self.stream = stream
        self.answers = answers

    def send(self, event, **fields):
        fields["event"] = event
        text = json.dumps(fields, sort_keys=True)
        crc = zlib.crc32(text.encode("ascii")) & 0xFFFFFFFF
        # The leading newline ends an unfinished line of another writer.
        self.stream.write("\nPIBENCH {:08x} {}\n".format(crc, text).encode("ascii"))
        self.stream.flush()

    def ask(self, event, **fields):
        """Send an event, and return the line that answers it; raise EOFError where none does."""
        self.send(event, **fields)
        answer = self.answers.readline()
        if not answer.endswith(b"\n"):
            raise EOFError("nobody answers")
        return answer.decode("ascii").strip()


def event_in(line):
    """Return the event on a line (bytes without line end); None for other or damaged lines."""
    found = FRAME.search(line)
    if not found or zlib.crc32(found.group(2)) & 0xFFFFFFFF != int(found.group(1), 16):
        return None
    event = json.loads(found.group(2).decode("ascii", "replace"))
    return event if "event" in event else None
