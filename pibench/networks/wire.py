"""The few rules of protobuf's wire format that big weight files are read and written by.

Parsing a 553 MB caffemodel into messages takes more than 1 GB. What the checks need are
the names and shapes in it: these functions walk the bytes in place (an mmap) and step
over the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from mmap import mmap

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}


class CorruptError(Exception):
    """The bytes from `offset` on are no protobuf message."""

    def __init__(self, offset: int, problem: str) -> None:
        super().__init__(problem)
        self.offset = offset
        self.problem = problem


class Field(NamedTuple):
    """One field: its number, wire type, and either the varint's value or the span of bytes."""

    number: int
    kind: int
    value: int
    start: int
    end: int


def read_varint(data: bytes | mmap, at: int, end: int) -> tuple[int, int]:
    """The varint at `at` and the offset behind it. Raises CorruptError."""
    value = shift = 0
    for offset in range(at, min(end, at + 10)):
        byte = data[offset]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset + 1
        shift += 7
    raise CorruptError(at, "cut short" if at + 10 > end else "no number where one belongs")


def fields(data: bytes | mmap, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in data[start:end], values unread. Raises CorruptError."""
    at = start
    while at < end:
        begin = at
        key, at = read_varint(data, at, end)
        number, kind = key >> 3, key & 7
        value, stop = 0, at
        if kind == VARINT:
            value, stop = read_varint(data, at, end)
        elif kind == LENGTH:
            length, at = read_varint(data, at, end)
            stop = at + length
        elif kind in _FIXED_BYTES:
            stop = at + _FIXED_BYTES[kind]
        else:
            raise CorruptError(begin, f"wire type {kind}, which Caffe never writes")
        if number == 0:
            raise CorruptError(begin, "field number 0")
        if stop > end:
            raise CorruptError(begin, f"cut short: {stop - end} bytes are missing")
        yield Field(number, kind, value, at, stop)
        at = stop


def varint(value: int) -> bytes:
    """`value` as a varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def prefix(number: int, length: int) -> bytes:
    """What stands before a field of `length` bytes: its key and its length."""
    return varint(number << 3 | LENGTH) + varint(length)
