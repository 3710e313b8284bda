"""The values that a forward pass computes: a signature of every layer, the outputs, kept blobs.

Everything is printed as soon as it is computed, one line each, so that the process that is
measured keeps none of it. The probe reads these lines (see log.py).
"""

import binascii
import json

from .log import BLOB, OUTPUT, VALUES
from .signature import ROWS_AT_ONCE, WIDTH, Projector

# An output's values are printed if there are no more than this, in all:
LARGEST_OUTPUT = 65536
ALL_OUTPUTS = 4 * LARGEST_OUTPUT
# Size of the pieces of values. Small, so that they do not add to the measured peak; a
# multiple of 3 and of 4, so that pieces in base64 can simply be joined.
CHUNK_BYTES = 48 * 1024


def practised():
    """Return a projector that has described a blob, and so has all the memory it needs."""
    import numpy

    projector = Projector()
    json.dumps(projector.describe(numpy.ones(ROWS_AT_ONCE * WIDTH, dtype="f4")))
    return projector


def print_outputs(outputs, projector):
    """Print the outputs, (name, array) each; after each its values, if there are not too many."""
    left = ALL_OUTPUTS
    for name, data in outputs:
        described = projector.describe(data)
        printed = data.size <= min(left, LARGEST_OUTPUT)
        described.update({"name": name, "values": "" if printed else None})
        print(OUTPUT + json.dumps(described))
        if printed:
            left -= data.size
            content = little_endian(data)
            for start in range(0, len(content), CHUNK_BYTES):
                print(VALUES + json.dumps(encoded(content[start : start + CHUNK_BYTES])))


def print_blob(described, data):
    """Print all of a blob, in pieces of limited length."""
    content = little_endian(data)
    named = {name: described[name] for name in ("index", "layer", "name", "shape", "sha256")}
    for start in range(0, max(len(content), 1), CHUNK_BYTES):
        piece = dict(named, offset=start, data=encoded(content[start : start + CHUNK_BYTES]))
        print(BLOB + json.dumps(piece))


def little_endian(data):
    """Return a view of a blob's bytes: float32, little-endian, in C order."""
    import numpy

    return memoryview(numpy.ascontiguousarray(data, dtype="<f4").reshape(-1)).cast("B")


def encoded(content):
    # The same as in the module base64, which would have to be imported.
    return binascii.b2a_base64(content).decode("ascii").rstrip("\n")
