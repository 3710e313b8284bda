#!/usr/bin/env bash
# Protobuf's text format has other numbers in Python than in C++.
#
# Guess: a text file that one implementation of a release reads, the other reads too, with the same values.
# Seen with protobuf 7.36.2 (Python, upb) and the protoc of grpcio-tools 1.85.1 (C++):
#                                             Python            C++
#   1_0, 0b1, 0o10 (integers), 1_0.5, 1e1_0   10, 1, 8, ...     refused: "Need space between number and identifier"
#   +5, inff, nanf                            5, inf, nan       refused: "Expected double"
#   - 5, with a space                         refused           -5
#   bool: 01, 0x1, 00                         refused           true, true, false
#   string '\?' and '\q'                      kept as they are  "?", and refused
# Alike: 010 is 8 and 0x10 is 16 for an integer and refused for a float, 1f is 1 for a float, and a field that is given
# twice is refused. Caffe's prototxt files are written and checked by Python tools, and read by C++ on the board.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check protobuf==7.36.2 grpcio-tools==1.85.1
cd "$folder"
cat >sample.proto <<'PROTO'
syntax = "proto2";
message Sample {
  optional int32 count = 1;
  optional float factor = 2;
  optional bool flag = 3;
  optional string name = 4;
}
PROTO
"$folder/venv/bin/python" -m grpc_tools.protoc -I. --python_out=. sample.proto
"$folder/venv/bin/python" - <<'PROGRAM'
import subprocess
import sys

from google.protobuf import text_format

import sample_pb2

REFUSED = "refused"


def value(sample):
    ((_, found),) = sample.ListFields()
    return found


def python(text):
    try:
        return value(text_format.Parse(text, sample_pb2.Sample()))
    except text_format.ParseError:
        return REFUSED


def cpp(text):
    done = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--encode=Sample", "sample.proto"],
        input=text.encode(), capture_output=True, check=False,
    )
    return REFUSED if done.returncode else value(sample_pb2.Sample.FromString(done.stdout))


for text, expected in {
    "count: 1_0": (10, REFUSED),
    "count: 0b1": (1, REFUSED),
    "count: 0o10": (8, REFUSED),
    "count: +5": (5, REFUSED),
    "count: - 5": (REFUSED, -5),
    "count: 010": (8, 8),
    "count: 0x10": (16, 16),
    "count: 1 count: 2": (REFUSED, REFUSED),
    "factor: 1_0.5": (10.5, REFUSED),
    "factor: 1e1_0": (1e10, REFUSED),
    "factor: +5": (5, REFUSED),
    "factor: inff": (float("inf"), REFUSED),
    "factor: nanf": (float("nan"), REFUSED),
    "factor: - 5": (REFUSED, -5),
    "factor: 010": (REFUSED, REFUSED),
    "factor: 0x10": (REFUSED, REFUSED),
    "factor: 1f": (1, 1),
    "flag: 01": (REFUSED, True),
    "flag: 0x1": (REFUSED, True),
    "flag: 00": (REFUSED, False),
    "flag: 1": (True, True),
    r"name: '\?'": ("\\?", "?"),
    r"name: '\q'": ("\\q", REFUSED),
}.items():
    found = python(text), cpp(text)
    print(f"{text}: Python {found[0]}, C++ {found[1]}")
    assert str(found) == str(tuple(type(f)(e) if e != REFUSED else e for f, e in zip(found, expected))), (
        "the behaviour has changed"
    )
PROGRAM
