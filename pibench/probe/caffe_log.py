"""What of Caffe's log matters: the times, the fatal words, the last lines."""

import json
import re

from .marks import BLOB, RESULT, SIGNATURE

LOG_LINES = 12
# The longest line that counts is a result of ours. A longer one is no line, and its rest neither.
MAX_LINE_BYTES = 4 << 20
# What a child may say of its blobs, all in all: deep networks say some 300 KB.
MAX_SIGNATURES_BYTES = 16 << 20
# "I1122 07:43:53.8 8470 caffe.cpp:397]      conv1<tab>forward: 1.2 ms."
LAYER_LINE = re.compile(r"\]\s+(\S.*?)\s+(forward|backward): ([0-9.einf+-]+) ms\.")
TOTAL_LINE = re.compile(r"\] Average (Forward|Backward) pass: ([0-9.einf+-]+) ms\.")
FATAL_LINE = re.compile(r"^F\d{4} \S+\s+\d+ (.*)$")
# What C++ says of an exception that nobody catches, a refused allocation among them.
UNCAUGHT_LINE = re.compile(r"^terminate called after throwing an instance of (.*)$")
PARSE_LINE = re.compile(r"^\[libprotobuf \w+ [^\]]*\] (.*)$")


class LogReader(object):
    """Keeps of a child's log what matters: the times, the fatal words, the last lines.

    Pieces of blobs are not kept: each is given to `on_blob`, as a dictionary.
    """

    def __init__(self, on_blob=None):
        self.on_blob = on_blob
        self.signatures = []
        self.signatures_left = MAX_SIGNATURES_BYTES
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
        if text.startswith(SIGNATURE):
            self.signatures_left -= len(text)
            if self.signatures_left >= 0:
                self.signatures.append(read_json(text[len(SIGNATURE) :]))
            return
        if text.startswith(BLOB):
            if self.on_blob is not None:
                self.on_blob(read_json(text[len(BLOB) :]))
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


def read_json(text):
    """What a child said as JSON, None where it is none: a child is not trusted."""
    try:
        return json.loads(text)
    except ValueError:
        return None
