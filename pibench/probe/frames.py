"""The probe's output format: one event per line, with a checksum over its JSON."""

import json
import re
import zlib

FRAME = re.compile(rb"PIBENCH ([0-9a-f]{8}) (\{.*\})\r?\Z")


class Frames(object):
    """Writes one event per line, each with a checksum over its JSON."""

    def __init__(self, stream):
        self.stream = stream

    def send(self, event, **fields):
        fields["event"] = event
        text = json.dumps(fields, sort_keys=True)
        crc = zlib.crc32(text.encode("ascii")) & 0xFFFFFFFF
        # The leading newline ends an unfinished line of another writer.
        self.stream.write("\nPIBENCH {:08x} {}\n".format(crc, text).encode("ascii"))
        self.stream.flush()


def event_in(line):
    """Return the event on a line (bytes without line end); None for other or damaged lines."""
    found = FRAME.search(line)
    if not found or zlib.crc32(found.group(2)) & 0xFFFFFFFF != int(found.group(1), 16):
        return None
    event = json.loads(found.group(2).decode("ascii", "replace"))
    return event if "event" in event else None
