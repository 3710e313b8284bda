"""The values that a forward pass computes: a signature of every layer, the outputs, kept blobs.

All is printed as soon as it is there, a line each, so that the process that is
measured holds none of it. The probe hears these lines (see caffe_log.py).
"""

import binascii
import json

from .marks import BLOB, SIGNATURE
from .signature import Projector

# An output's values are told as long as they are no more than this, in all:
LARGEST_OUTPUT = 65536
ALL_OUTPUTS = 4 * LARGEST_OUTPUT
# Of a kept blob; in base64 a third more, which the serial console takes in one piece.
CHUNK_BYTES = 192 * 1024


def print_values(net, keep):
    """Run one pass layer by layer and tell what each computed; returns the outputs.

    A layer's tops are looked at right after it ran, since layers in place
    overwrite them. Splits, which Caffe inserts, copy nothing and are passed over.
    """
    projector = Projector()
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
    return describe_outputs(net, projector)


def describe_outputs(net, projector):
    """The output blobs, condensed, with their values where these are not too many."""
    outputs = []
    left = ALL_OUTPUTS
    for name in net.outputs:
        data = net.blobs[name].data
        described = projector.describe(data)
        described.update({"name": name, "values": None})
        if data.size <= min(left, LARGEST_OUTPUT):
            left -= data.size
            described["values"] = encoded(little_endian(data))
        outputs.append(described)
    return outputs


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
