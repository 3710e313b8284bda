#!/usr/bin/env bash
# Pympler counts the numbers of a reshaped array twice, those behind ten views eleven times, and those of a memoryview never.
#
# Guess: asizeof finds what objects share and counts it once; it is the deep form of sys.getsizeof.
# Seen with Pympler 1.1 (numpy 2.4.6), in MiB:
#                                                         asizeof    memory that it takes
#   an array of 16 MiB                                         16                     16
#   the same, reshaped                                         32                     16
#   every second number of it                                  24                     16
#   a list of it and its reshaped form                         32                     16
#   a list of ten views of it, of 16 MiB each                 176                     16
#   one number, broadcast to 1000 x 1000 x 16                  61                      0
#   a memoryview of 16 MiB of bytes                             0                     16
#   an array of objects, one of which has 16 MiB                0                     16
# An array's nbytes are added for each view, and its base's besides. Weights that were reshaped after loading, or split
# into heads or gates, look like twice the network; buffers of an interpreter look like nothing. Add up the nbytes of the
# distinct bases, or measure the process.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pympler==1.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PROGRAM'
import numpy as np
from pympler.asizeof import asizeof

SIZE = 16 << 20


def weights():
    return np.ones(SIZE, np.uint8)


def pair():
    array = weights()
    return [array, array.reshape(16, -1)]


def views():
    array = weights()
    return [array[:] for _ in range(10)]


def objects():
    array = np.empty(1, object)
    array[0] = bytes(SIZE)
    return array


for label, made, expected in [
    ("an array of 16 MiB", weights(), 16),
    ("reshaped", weights().reshape(16, -1), 32),
    ("every second number", weights()[::2], 24),
    ("the array and its reshaped form", pair(), 32),
    ("ten views", views(), 176),
    ("one number, broadcast", np.broadcast_to(np.float32(1), (1000, 1000, 16)), 61),
    ("a memoryview of bytes", memoryview(bytes(SIZE)), 0),
    ("an array of objects", objects(), 0),
]:
    found = asizeof(made) / 2**20
    print(f"{label}: {found:.1f} MiB")
    assert round(found) == expected, "the behaviour has changed"
PROGRAM
