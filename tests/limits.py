"""Limits of this process, put on for a moment: what the kernel then denies is denied for real."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator

NOBODY = 65534


@contextlib.contextmanager
def limited(kind: int, soft: int) -> Iterator[None]:
    """Lower one limit (resource.RLIMIT_...) inside the block."""
    before, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (before, hard))


@contextlib.contextmanager
def files_end_at(size_bytes: int) -> Iterator[None]:
    """No file can be written beyond that size, as on a disk that fills: EFBIG, after a part."""
    # Python 3.11 keeps bytecode that was cut short, and trips over it ever after.
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with limited(resource.RLIMIT_FSIZE, size_bytes):
            yield
    finally:
        sys.dont_write_bytecode = kept


@contextlib.contextmanager
def without_root() -> Iterator[None]:
    """Have the rights of a user that owns nothing where this process is root's."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
