"""The values that a forward pass computes: a signature of every layer, the outputs, kept blobs.

Everything is printed as soon as it is computed, one line each, so that the process that is
measured keeps none of it. The probe reads these lines (see log.py).

A signature condenses a blob to a few hundred bytes by which two runs can be compared. Its
core is a random projection: SIGNS dot products of the values with fixed vectors of
signs. For two blobs, the mean of the squared differences of their projections is an
unbiased estimate of the squared Euclidean distance between them (Alon, Matias, Szegedy
1996, "The space complexity of approximating the frequency moments"; Johnson and
Lindenstrauss). It requires of a vector of signs only that its elements are pairwise
uncorrelated, so a long one may be the product of two short ones: the blob is folded to
rows of WIDTH values, and value c of row r has the sign rows[r] * columns[c]. Emulated, a
random number for each value would take longer than the network.

The signs come from SHA-256, so that they are the same with every numpy, and everything is
done in pieces of some 128 KiB: it must not raise the peak of the process that is measured.
"""

import binascii
import hashlib
import json

from .log import BLOB, OUTPUT, SIGNATURE, VALUES

SIGNS = 16
# A prime, so that a pattern in the blob (such as a channel's size) does not meet the same signs.
WIDTH = 1021
ROWS_AT_ONCE = 16
# Digits of a projection; float32 values determine seven.
DIGITS = 9
ROWS_PER_HASH = 16
# An output's values are printed if there are no more than this, in all:
LARGEST_OUTPUT = 65536
ALL_OUTPUTS = 4 * LARGEST_OUTPUT
# Range of the random inputs: that of pixels less their mean.
PIXELS = 128.0
PIECE = 16384
# Size of the pieces of values. Small, so that they do not add to the measured peak; a
# multiple of 3 and of 4, so that pieces in base64 can simply be joined.
CHUNK_BYTES = 48 * 1024


def fill(inputs, given, seed):
    """Fill inputs with given values or seeded numbers; return the SHA-256 of them all as float32.

    Inputs are (name, array, range) each; integers include both ends of their range. `given` has
    the values by name, None for seeded numbers.
    """
    import numpy

    random = numpy.random.RandomState(seed)
    digest = hashlib.sha256()
    for name, data, (low, high) in inputs:
        if given is not None:
            data[...] = given[name]
        # In pieces: the numbers are the same, and the pieces need hardly any memory.
        flat = data.reshape(-1)
        for start in range(0, flat.size, PIECE):
            piece = flat[start : start + PIECE]
            if given is None and data.dtype.kind == "f":
                piece[...] = random.uniform(low, high, size=piece.size)
            elif given is None:
                piece[...] = random.randint(int(low), int(high) + 1, size=piece.size)
            digest.update(numpy.ascontiguousarray(piece, dtype="<f4"))
    return digest.hexdigest()


class Projector(object):
    """Projects blobs; has the signs of the columns, which all blobs share."""

    def __init__(self):
        self.columns = sign_table(b"columns", 0, WIDTH)

    def describe(self, data):
        """Return a blob's description: the fields of BlobSummary in pibench/records/schema.py."""
        import numpy

        flat = numpy.ascontiguousarray(data, dtype="<f4").reshape(-1)
        found = Figures()
        size = WIDTH * ROWS_AT_ONCE
        for start in range(0, flat.size, size):
            self._add(found, flat[start : start + size], start // WIDTH)
        described = {"shape": list(data.shape), "sha256": hashlib.sha256(flat).hexdigest()}
        described.update(found.summary(flat.size))
        return described

    def _add(self, found, values, first_row):
        import numpy

        finite = numpy.isfinite(values)
        count = int(finite.sum())
        kept = values if count == values.size else values[finite]
        if not count:
            return
        found.count += count
        found.minima.append(float(kept.min()))
        found.maxima.append(float(kept.max()))
        rows = -(-values.size // WIDTH)
        folded = numpy.zeros(rows * WIDTH)
        folded[: values.size] = values
        if count != values.size:
            folded[: values.size][~finite] = 0.0
        found.squares += float(numpy.einsum("i,i->", folded, folded))
        by_row = numpy.einsum("rc,kc->kr", folded.reshape(rows, WIDTH), self.columns)
        found.projection += (by_row * sign_table(b"rows", first_row, rows)).sum(axis=1)


class Figures(object):
    """Running sums over the values of a blob."""

    def __init__(self):
        self.count = 0
        self.minima = []
        self.maxima = []
        self.squares = 0.0
        self.projection = 0.0

    def summary(self, size):
        """Return the figures of a blob of `size` values, None where no value is finite."""
        finite = bool(self.count)
        return {
            "minimum": min(self.minima) if finite else None,
            "maximum": max(self.maxima) if finite else None,
            "l2_norm": self.squares**0.5 if finite else None,
            "non_finite_count": size - self.count,
            "projection": [rounded(value) for value in self.projection] if finite else [],
        }


def sign_table(label, first, count):
    """Return signs for `count` positions from `first` on: float64, shape (SIGNS, count).

    The SIGNS signs of position p are the bits of two bytes at 2 p in the stream of
    SHA-256(label, "/", n) over n = 0, 1, 2 and so on: 1 stands for +1, 0 for -1.
    """
    import numpy

    block, skipped = divmod(first, ROWS_PER_HASH)
    stream = b""
    while len(stream) < 2 * (skipped + count):
        stream += hashlib.sha256(label + b"/" + str(block).encode("ascii")).digest()
        block += 1
    taken = numpy.frombuffer(stream, dtype="u1")[2 * skipped : 2 * (skipped + count)]
    table = numpy.unpackbits(taken).reshape(count, SIGNS).T.astype("f8", order="C")
    table *= 2.0
    table -= 1.0
    return table


def rounded(value):
    return float("{:.{}g}".format(float(value), DIGITS))


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


def print_layer(named, data, projector, keep):
    """Print a blob that a layer wrote: its signature, and all of it for a layer in `keep`.

    `named` has the layer's index, name and type, and the blob's name.
    """
    described = projector.describe(data)
    described.update((key, named[key]) for key in ("index", "layer", "type", "name"))
    print(SIGNATURE + json.dumps(described))
    if described["layer"] in keep:
        print_blob(described, data)


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
