"""The values that a forward pass computes: a signature of every layer, the outputs, kept blobs.

All is printed as soon as it is there, a line each, so that the process that is
measured holds none of it. The probe hears these lines (see caffe_log.py).
"""

import binascii
import json

from .marks import BLOB, OUTPUT, SIGNATURE, VALUES
from .signature import ROWS_AT_ONCE, WIDTH, Projector

# An output's values are told as long as they are no more than this, in all:
LARGEST_OUTPUT = 65536
ALL_OUTPUTS = 4 * LARGEST_OUTPUT
# Of values that are told. Small, so that they do not add to the peak that is measured;
# a multiple of 3 and of 4: what is told in base64 can be put together as it is.
CHUNK_BYTES = 48 * 1024


def practised():
    """A projector that has described a blob, and so has all the memory that it takes."""
    import numpy

    projector = Projector()
    json.dumps(projector.describe(numpy.ones(ROWS_AT_ONCE * WIDTH, dtype="f4")))
    return projector


def print_values(net, projector, keep):
    """Run one pass layer by layer and tell what each computed, and what comes out.

    A layer's tops are looked at right after it ran, since layers in place
    overwrite them. Splits, which Caffe inserts, copy nothing and are passed over.
    """
    names = list(net._blob_names)
    for index, layer in enumerate(net._layer_names):
        net._forward(index, index)
        kind = net.layers[index].type
        if kind == "Split":
            continue
        for top in net._top_ids(index):
            described = projector.describe(net._blobs[top].data)
            described.update({"index": index, "layer": layer, "type": kind, "name": names[top]})
            print(SIGNATURE + json.dumps(described))
            if layer in keep:
                print_blob(described, net._blobs[top].data)
    print_outputs(net, projector)


def print_outputs(net, projector):
    """The output blobs, condensed; after each its values, where these are not too many."""
    left = ALL_OUTPUTS
    for name in net.outputs:
        data = net.blobs[name].data
        described = projector.describe(data)
        told = data.size <= min(left, LARGEST_OUTPUT)
        described.update({"name": name, "values": "" if told else None})
        print(OUTPUT + json.dumps(described))
        if told:
            left -= data.size
            content = little_endian(data)
            for start in range(0, len(content), CHUNK_BYTES):
                print(VALUES + json.dumps(encoded(content[start : start + CHUNK_BYTES])))


def print_blob(described, data):
    """All of a blob, in pieces of bearable length."""
    content = little_endian(data)
    named = {name: described[name] for name in ("index", "layer", "name", "shape", "sha256")}
    for start in range(0, max(len(content), 1), CHUNK_BYTES):
        piece = dict(named, offset=start, data=encoded(content[start : start + CHUNK_BYTES]))
        print(BLOB + json.dumps(piece))


def little_endian(data):
    """A view of a blob's bytes: float32, little-endian, in C order."""
    import numpy

    return memoryview(numpy.ascontiguousarray(data, dtype="<f4").reshape(-1)).cast("B")


def encoded(content):
    # As the module base64 does, which would have to be imported.
    return binascii.b2a_base64(content).decode("ascii").rstrip("\n")
