#!/usr/bin/env bash
# Capstone names the wrong registers as read and written by common A64 instructions.
#
# Guess: regs_access() lists what an instruction reads and writes, so that dependencies can be computed from it.
# Seen with capstone 5.0.9:
#   cmp x0, x1              writes x0 and reads x1 alone; the processor reads both and writes flags only
#   orr v0.4s, #1           does not read v0, which it changes (nor does bic)
#   xtn2 v0.8h, v1.4s       does not read v0, whose lower half it keeps
#   cbz x0                  reads the flags; it does not
#   fmla v0.4s, then str q0 write v0 and read q0, two numbers with nothing in common in the API
# Operand texts are right, and so is fmla itself. A scheduler or a model of latency for an in-order core such as
# the Cortex-A53 that takes these sets finds a false dependency after each loop's comparison, and misses the
# true one between a vector result and its store: the cycles per loop come out wrong without any error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check capstone==5.0.9
"$folder/venv/bin/python" - <<'PROGRAM'
import capstone

disassembler = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
disassembler.detail = True

# Word, text, then registers read and written by the Arm architecture, then by Capstone.
CASES = [
    (0xEB01001F, "cmp x0, x1", "x0 x1", "nzcv", "x1", "nzcv x0"),
    (0x4F001420, "orr v0.4s, #1", "v0", "v0", "", "v0"),
    (0x6F001420, "bic v0.4s, #1", "v0", "v0", "", "v0"),
    (0x4E612820, "xtn2 v0.8h, v1.4s", "v0 v1", "v0", "v1", "v0"),
    (0xB4000040, "cbz x0, #8", "x0", "", "nzcv x0", ""),
]


def accesses(word):
    (instruction,) = disassembler.disasm(word.to_bytes(4, "little"), 0)
    text = f"{instruction.mnemonic} {instruction.op_str}"
    read, written = (
        {instruction.reg_name(number) for number in numbers}
        for numbers in instruction.regs_access()
    )
    return text, read, written


for word, text, *registers in CASES:
    real_read, real_written, expected_read, expected_written = (set(r.split()) for r in registers)
    found, read, written = accesses(word)
    print(f"{text} | reads {sorted(real_read)} writes {sorted(real_written)}",
          f"| Capstone: reads {sorted(read)} writes {sorted(written)}")
    assert found == text, "the instruction is decoded differently"
    assert (read, written) == (expected_read, expected_written), "the behaviour has changed"
    assert (read, written) != (real_read, real_written), "the registers are right now"

_, read, written = accesses(0x4E22CC20)
print("fmla v0.4s, v1.4s, v2.4s | Capstone: reads", sorted(read), "writes", sorted(written))
assert (read, written) == ({"v0", "v1", "v2"}, {"v0"}), "the behaviour of fmla has changed"
_, stored, _ = accesses(0x3D800020)
print("str q0, [x1] | Capstone: reads", sorted(stored))
assert stored == {"q0", "x1"} and not stored & written, "the store depends on fmla now"
PROGRAM
