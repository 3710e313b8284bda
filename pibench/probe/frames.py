"""What the probe says: one event a line, with a checksum over its JSON."""

import json
import zlib


class Frames(object):
    """Writes one event per line, each with a checksum over its JSON."""

    def __init__(self, stream):
        self.stream = stream

    def send(self, event, **fields):
        fields["event"] = event
        text = json.dumps(fields, sort_keys=True)
        crc = zlib.crc32(text.encode("ascii")) & 0xFFFFFFFF
        # The leading newline ends whatever somebody else left unfinished.
        self.stream.write("\nPIBENCH {:08x} {}\n".format(crc, text).encode("ascii"))
        self.stream.flush()
