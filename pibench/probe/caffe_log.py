"""Extract from Caffe's log what matters: the times, the fatal messages, the last lines."""

import json
import re

from .marks import BLOB, OUTPUT, RESULT, SIGNATURE, VALUES

LOG_LINES = 12
# The longest line that counts is a result of the probe's. A longer one is dropped, rest included.
MAX_LINE_BYTES = 4 << 20
# Limit for all that a child may report of its blobs: deep networks report some 300 KB.
MAX_REPORT_BYTES = 16 << 20
# "I1122 07:43:53.8 8470 caffe.cpp:397]      conv1<tab>forward: 1.2 ms."
LAYER_LINE = re.compile(r"\]\s+(\S.*?)\s+(forward|backward): ([0-9.einf+-]+) ms\.")
TOTAL_LINE = re.compile(r"\] Average (Forward|Backward) pass: ([0-9.einf+-]+) ms\.")
FATAL_LINE = re.compile(r"^F\d{4} \S+\s+\d+ (.*)$")
# The C++ runtime's message about an uncaught exception, a refused allocation for example.
UNCAUGHT_LINE = re.compile(r"^terminate called after throwing an instance of (.*)$")
PARSE_LINE = re.compile(r"^\[libprotobuf \w+ [^\]]*\] (.*)$")


class LogReader(object):
    """Keeps the relevant parts of a child's log: the times, the fatal messages, the last lines.

    Pieces of blobs are not kept: each is passed to `on_blob`, as a dictionary.
    """

    def __init__(self, on_blob=None):
        self.on_blob = on_blob
        self.reported = {"signatures": [], "outputs": []}
        self.bytes_left = MAX_REPORT_BYTES
        self.rest = b""
        self.tail = []
        self.fatal = None
        self.complaint = None
        self.layers = []
        self.totals = {}
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
        layer = LAYER_LINE.search(text)
        total = TOTAL_LINE.search(text)
        fatal = FATAL_LINE.match(text) or UNCAUGHT_LINE.match(text)
        complaint = PARSE_LINE.match(text)
        if layer:
            self.layers.append([layer.group(1), layer.group(2), float(layer.group(3))])
        elif total:
            self.totals[total.group(1).lower()] = float(total.group(2))
        else:
            self.tail = (self.tail + [text[:400]])[-LOG_LINES:]
        if fatal and self.fatal is None:
            self.fatal = fatal.group(1)[:1000]
        if complaint and self.complaint is None:
            self.complaint = complaint.group(1)[:1000]

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
