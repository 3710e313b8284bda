"""Protobuf's wire format, walked in place: files of weights are too long to become messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}


class CorruptError(Exception):
    """The bytes from `offset` on are not a protobuf message."""

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


def read_varint(data: bytes | mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Return the varint at `at` and the offset after it; raise CorruptError if there is none."""
    value = shift = 0
    for offset in range(at, min(end, at + 10)):
        byte = data[offset]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset + 1
        shift += 7
    raise CorruptError(at, "cut short" if at + 10 > end else "a number is missing")


def fields(data: bytes | mmap.mmap, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message in data[start:end] without values; may raise CorruptError."""
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
            raise CorruptError(begin, f"wire type {kind}, which no current file has")
        if number == 0:
            raise CorruptError(begin, "field number 0")
        if stop > end:
            raise CorruptError(begin, f"cut short: {stop - end} bytes are missing")
        yield Field(number, kind, value, at, stop)
        at = stop


def varint(value: int) -> bytes:
    """Return `value` as a varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def prefix(number: int, length: int) -> bytes:
    """Return the key and length that precede a field of `length` bytes."""
    return varint(number << 3 | LENGTH) + varint(length)
