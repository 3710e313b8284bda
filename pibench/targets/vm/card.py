"""The board's SD card: root and job as two partitions of one image file."""

from __future__ import annotations

import struct
from pathlib import Path

from pibench.images.build import make_disk
from pibench.process import require_program, run

SECTOR_BYTES = 512
_MIB = 1 << 20
_LINUX = 0x83
COPY_DEADLINE_S = 120.0


def write_card(card: Path, root_disk: Path, job: Path) -> None:
    """Write the card: partition 1 is a copy of `root_disk`, partition 2 has the job's files.

    QEMU accepts only SD cards whose size is a power of two.
    """
    part = card.with_suffix(".job")
    make_disk(job, part)
    root_bytes, job_bytes = root_disk.stat().st_size, part.stat().st_size
    root_start = _MIB
    job_start = -(-(root_start + root_bytes) // _MIB) * _MIB
    with card.open("wb") as file:
        file.write(partition_table([(root_start, root_bytes), (job_start, job_bytes)]))
        file.truncate(1 << (job_start + job_bytes - 1).bit_length())
    _place(card, root_disk, root_start)
    _place(card, part, job_start)
    part.unlink()


def partition_table(parts: list[tuple[int, int]]) -> bytes:
    """Return the first sector: a master boot record of (start, size) pairs in bytes."""
    entries = b"".join(
        # status, first CHS (unused), type, last CHS (unused), first sector, sectors
        struct.pack(
            "<B3sB3sII",
            0,
            b"\xfe\xff\xff",
            _LINUX,
            b"\xfe\xff\xff",
            start // SECTOR_BYTES,
            -(-size // SECTOR_BYTES),
        )
        for start, size in parts
    )
    return b"\0" * 446 + entries.ljust(64, b"\0") + b"\x55\xaa"


def _place(card: Path, part: Path, start: int) -> None:
    """Copy a partition's content to its place; leave blocks of zeros as holes."""
    dd = require_program("dd", package="coreutils")
    run(
        [
            *(dd, f"if={part}", f"of={card}", "bs=1M", f"seek={start // _MIB}"),
            *("conv=sparse,notrunc", "status=none"),
        ],
        deadline_s=COPY_DEADLINE_S,
    )
