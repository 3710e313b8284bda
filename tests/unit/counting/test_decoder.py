"""Instructions assembled by the cross compiler, and what the counter takes them for."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from pibench.settings import asset

if TYPE_CHECKING:
    from pathlib import Path

CROSS = "aarch64-linux-gnu-"
KNOWN = (
    ("fmla v0.4s, v1.4s, v2.4s", "mac 4 0"),
    ("fmla v0.2s, v1.2s, v2.2s", "mac 2 0"),
    ("fmla v0.2d, v1.2d, v2.2d", "mac 2 0"),
    ("fmla v0.4s, v1.4s, v2.s[3]", "mac 4 0"),
    ("fmls v0.2s, v1.2s, v2.s[1]", "mac 2 0"),
    ("fmla v0.2d, v1.2d, v2.d[1]", "mac 2 0"),
    ("fmla s0, s1, v2.s[1]", "mac 1 0"),
    ("fmadd s0, s1, s2, s3", "mac 1 0"),
    ("fnmsub d0, d1, d2, d3", "mac 1 0"),
    ("fmul v0.4s, v1.4s, v2.4s", "simd 0 0"),
    ("fmul v0.4s, v1.4s, v2.s[0]", "simd 0 0"),
    ("fadd v0.4s, v1.4s, v2.4s", "simd 0 0"),
    ("fmax v0.4s, v1.4s, v2.4s", "simd 0 0"),
    ("mla v0.4s, v1.4s, v2.4s", "simd 0 0"),
    ("fdiv s0, s1, s2", "simd 0 0"),
    ("movi v0.4s, #0", "simd 0 0"),
    ("ldr w0, [x1]", "load 0 4"),
    ("ldr x0, [x1, x2]", "load 0 8"),
    ("ldrb w0, [x1], #1", "load 0 1"),
    ("ldrsw x0, [x1]", "load 0 4"),
    ("ldr s0, [x1, #4]", "load 0 4"),
    ("ldr d0, [x1]", "load 0 8"),
    ("ldr q0, [x1, #16]!", "load 0 16"),
    ("ldur q0, [x1, #-8]", "load 0 16"),
    ("ldp x0, x1, [sp]", "load 0 16"),
    ("ldp w0, w1, [sp]", "load 0 8"),
    ("ldp q0, q1, [x1], #32", "load 0 32"),
    ("ldp s0, s1, [x1]", "load 0 8"),
    ("ldnp d0, d1, [x1]", "load 0 16"),
    ("ld1 {v0.4s, v1.4s, v2.4s, v3.4s}, [x1], #64", "load 0 64"),
    ("ld1 {v0.2s}, [x1]", "load 0 8"),
    ("ld2 {v0.4s, v1.4s}, [x1]", "load 0 32"),
    ("ld4 {v0.2s, v1.2s, v2.2s, v3.2s}, [x1]", "load 0 32"),
    ("ld1 {v0.s}[2], [x1]", "load 0 4"),
    ("ld1 {v0.d}[1], [x1]", "load 0 8"),
    ("ld3 {v0.b, v1.b, v2.b}[5], [x1]", "load 0 3"),
    ("ld1r {v0.4s}, [x1]", "load 0 4"),
    ("ld2r {v0.2d, v1.2d}, [x1]", "load 0 16"),
    ("ldxr x0, [x1]", "load 0 8"),
    ("ldaxp x0, x2, [x1]", "load 0 16"),
    ("ldar w0, [x1]", "load 0 4"),
    ("ldr x0, .", "load 0 8"),
    ("ldr q0, .", "load 0 16"),
    ("str w0, [x1]", "store 0 4"),
    ("strh w0, [x1]", "store 0 2"),
    ("str s0, [x1], #4", "store 0 4"),
    ("str q0, [x1]", "store 0 16"),
    ("stp x29, x30, [sp, #-16]!", "store 0 16"),
    ("stp q0, q1, [x1]", "store 0 32"),
    ("st1 {v0.4s, v1.4s}, [x1]", "store 0 32"),
    ("st1 {v0.s}[0], [x1]", "store 0 4"),
    ("stlxr w2, x0, [x1]", "store 0 8"),
    ("stlr x0, [x1]", "store 0 8"),
    ("dc zva, x0", "store 0 64"),
    ("prfm pldl1keep, [x1]", "other 0 0"),
    ("prfm pldl1keep, .", "other 0 0"),
    ("b .", "branch 0 0"),
    ("b.ne .", "branch 0 0"),
    ("cbz x0, .", "branch 0 0"),
    ("tbnz x0, #3, .", "branch 0 0"),
    ("ret", "branch 0 0"),
    ("blr x0", "branch 0 0"),
    ("svc #0", "branch 0 0"),
    ("nop", "other 0 0"),
    ("dmb ish", "other 0 0"),
    ("mrs x0, tpidr_el0", "other 0 0"),
    ("add x0, x1, x2", "other 0 0"),
    ("madd x0, x1, x2, x3", "other 0 0"),
    ("movz x0, #1", "other 0 0"),
)


@pytest.mark.skipif(
    not (shutil.which(CROSS + "gcc") and shutil.which("gcc")), reason="no cross compiler"
)
def test_every_kind_of_instruction(tmp_path: Path) -> None:
    source, object_file, words = (tmp_path / name for name in ("a.s", "a.o", "a.bin"))
    source.write_text("".join(f"{text}\n" for text, _ in KNOWN))
    run(CROSS + "gcc", "-c", str(source), "-o", str(object_file))
    run(CROSS + "objcopy", "-O", "binary", "-j", ".text", str(object_file), str(words))
    raw = words.read_bytes()
    assert len(raw) == 4 * len(KNOWN)
    decoder = tmp_path / "decoder"
    run("gcc", "-std=c11", "-Wall", "-Werror", "-o", str(decoder),
        str(asset("qemu/counter/check_decoder.c")))  # fmt: skip
    given = "".join(
        f"{int.from_bytes(raw[at : at + 4], 'little'):08x}\n" for at in range(0, len(raw), 4)
    )
    found = run(str(decoder), stdin=given).splitlines()
    taken_for = {text: line for (text, _), line in zip(KNOWN, found, strict=True)}
    assert taken_for == dict(KNOWN)


def run(*command: str, stdin: str = "") -> str:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout
