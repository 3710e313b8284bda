"""Turn machine code of A64 and A32 into instructions, with capstone."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Literal

from pibench.errors import HostError
from pibench.scoreboard.instruction import Instruction

if TYPE_CHECKING:
    from collections.abc import Iterator


Mode = Literal["arm64", "armhf", "thumb"]

_MOVED_ON: Final = -1
_DOUBLEWORD: Final = re.compile(r"\.(16b|8h|4s|2d)")
_MACS_64: Final = re.compile(r"f(n?madd|n?msub|mla|mls)$")
_MOVES_64: Final = re.compile(r"(ins|mov|fmov|dup|movi|umov|smov)$")
_MACS_32: Final = re.compile(r"v(n?ml[as]|fn?m[as])")
_SETS_FLAGS: Final = {"cmp", "cmn", "tst", "teq", "ccmp", "ccmn", "fcmp", "fcmpe"}
_READS_FLAGS: Final = {
    "csel",
    "cset",
    "csetm",
    "csinc",
    "cinc",
    "cneg",
    "csinv",
    "csneg",
    "adc",
    "sbc",
    "fcsel",
}
_FLAGS: Final = "flags"


def decode(code: bytes, mode: Mode, address: int = 0) -> Iterator[Instruction]:
    """Decode machine code; words that are no instruction end it.

    Raises:
        HostError: capstone is not installed.
    """
    try:
        import capstone  # noqa: PLC0415  (an extra: only stacks and cycles need it)
    except ImportError:
        raise HostError(
            "decoding machine code needs the package capstone",
            hint="pip install 'pibench[cycles]'",
        ) from None
    kinds = {
        "arm64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
        "armhf": (capstone.CS_ARCH_ARM, capstone.CS_MODE_ARM),
        "thumb": (capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB),
    }
    disassembler = capstone.Cs(*kinds[mode])
    disassembler.detail = True
    disassembler.skipdata = True
    of = _A64 if mode == "arm64" else _A32
    for found in disassembler.disasm(code, address):
        yield of(found).instruction if found.id else Instruction(text="data", unit="nothing")


class _Decoder(ABC):
    """One instruction of capstone, and what is the same for both instruction sets."""

    REG, IMM, MEM = 1, 2, 3

    def __init__(self, found: Any) -> None:
        self.found = found
        self.name: str = found.mnemonic.split(".")[0]
        self.instruction = Instruction(
            text=f"{found.mnemonic} {found.op_str}".strip(), address=found.address
        )
        self.operands = list(found.operands)
        self.registers = [one for one in self.operands if one.type == self.REG]
        self.memory = [one for one in self.operands if one.type == self.MEM]
        self.fill(self.instruction)

    @abstractmethod
    def fill(self, one: Instruction) -> None:
        """Set what the instruction reads, writes and occupies."""

    @abstractmethod
    def names(self, number: int) -> list[str]:
        """Return the names under which a register's results are kept; none for zero."""

    def of(self, operand: Any) -> list[str]:
        """Return the registers of an operand."""
        return self.names(operand.reg)

    def address(self, one: Instruction) -> None:
        """Add the registers of the address, and the one that the access moves on."""
        for operand in self.memory:
            one.read("address", *self.names(operand.mem.base), *self.names(operand.mem.index))
            if self.found.writeback:
                one.write(*self.names(operand.mem.base), later=_MOVED_ON)

    def branch(self, one: Instruction) -> None:
        """Make it a branch."""
        one.unit = "branch"
        for operand in self.registers:
            one.read("alu", *self.of(operand))
        targets = [operand.imm for operand in self.operands if operand.type == self.IMM]
        one.target = targets[-1] if targets else None

    @property
    def in_group_of_branches(self) -> bool:
        return bool(
            {"jump", "call", "return"} & {self.found.group_name(g) for g in self.found.groups}
        )


class _A64(_Decoder):
    def names(self, number: int) -> list[str]:
        name = self.found.reg_name(number) or ""
        if name in ("", "xzr", "wzr"):
            return []
        if name in ("sp", "wsp"):
            return ["sp"]
        return [("x" if name[0] in "xw" else "v") + name[1:]]

    def fill(self, one: Instruction) -> None:
        name = self.name
        if name in ("nop", "hint", "yield", "dmb", "isb", "bti"):
            one.unit = "nothing"
        elif self.in_group_of_branches or (
            re.match(r"b(\.|$)|bl|cb|tb|ret|br", self.found.mnemonic) and name not in ("bit", "bif")
        ):
            self.branch(one)
            if "." in self.found.mnemonic:
                one.read("alu", _FLAGS)
        elif name.startswith("prf"):
            one.unit, one.beats = "memory", 1
            self.address(one)
        elif name.startswith(
            ("ldr", "ldur", "ldp", "ldnp", "ld1", "ld2", "ld3", "ld4", "ldx", "lda")
        ):
            self.load(one)
        elif name.startswith(
            ("str", "stur", "stp", "stnp", "st1", "st2", "st3", "st4", "stx", "stl")
        ):
            self.store(one)
        elif any(names and names[0][0] == "v" for names in map(self.of, self.registers)):
            self.floating_point(one)
        else:
            self.integer(one)

    def width(self, operand: Any) -> int:
        """Return the transfers of 64 bits of a vector register."""
        text = self.found.op_str
        if operand.vector_index >= 0 or (self.name.endswith("r") and self.name.startswith("ld1")):
            return 1
        wide = self.found.reg_name(operand.reg)[0] == "q" or bool(_DOUBLEWORD.search(text))
        return 2 if wide else 1

    def load(self, one: Instruction) -> None:
        one.unit = "memory"
        self.address(one)
        wanted = self.registers
        if wanted and (self.of(wanted[0]) or [""])[0].startswith("v"):
            one.kind, one.loads_vector = "vector_load", True
            for operand in wanted:
                one.beats += self.width(operand)
                one.bits += 64 * self.width(operand)
                one.write(*self.of(operand), later=one.beats - 1)
                if operand.vector_index >= 0:
                    one.read("move", *self.of(operand))
            one.alone = one.beats > 1
            return
        extends = re.match(r"ldu?rs?[bhw]$", self.name) and not self.name.endswith("rw")
        one.kind = "extending_load" if extends or self.name.endswith("sw") else "load"
        one.beats = len(wanted)
        one.bits = 64 * len(wanted)
        one.alone = one.beats > 1
        for place, operand in enumerate(wanted):
            one.write(*self.of(operand), later=place)

    def store(self, one: Instruction) -> None:
        one.unit, one.stores = "memory", True
        self.address(one)
        for operand in self.registers:
            one.read("store", *self.of(operand))
        # 128 bits a cycle: two vectors of 128 bits are two.
        wide = [self.width(operand) for operand in self.registers if self.of(operand)]
        one.bits = 64 * max(1, sum(wide))
        one.beats = max(1, -(-sum(wide) // 2)) if wide else 1

    def floating_point(self, one: Instruction) -> None:
        first, *others = self.registers
        result, name = self.of(first), self.name
        wide = self.found.reg_name(first.reg)[0] == "q" or bool(
            _DOUBLEWORD.search(self.found.op_str.split(",")[0])
        )
        one.unit, one.kind, one.lanes = "fp", "fp", 2 if wide else 1
        if _MACS_64.match(name):
            one.kind = "mac"
            element = re.search(r"\.(\d?)[sd]", self.found.op_str.split(",")[0])
            one.macs = int(element.group(1) or 1) if element else 1
            *factors, last = others
            if name in ("fmla", "fmls"):
                factors, sums = others, result
            else:
                sums = self.of(last)
            one.read("accumulator", *sums)
            for operand in factors:
                one.read("factor", *self.of(operand))
            one.write(*result)
            return
        if name in _SETS_FLAGS:
            one.kind = "integer"
            one.read("factor", *result)
            one.write(_FLAGS)
        else:
            if _MOVES_64.match(name):
                one.kind = "move"
                if first.vector_index >= 0:
                    one.read("factor", *result)
                    one.lanes = 1
            elif name in ("fdiv", "fsqrt"):
                one.unit = "fp_divide"
                one.kind = "fp_divide" if name == "fdiv" else "fp_square_root"
            one.write(*result)
        for operand in others:
            vector = (self.of(operand) or ["x"])[0][0] == "v"
            one.read("factor" if vector else "move", *self.of(operand))
        if name in _READS_FLAGS:
            one.read("alu", _FLAGS)

    def integer(self, one: Instruction) -> None:
        name = self.name
        shifted = any(operand.shift.type or operand.ext for operand in self.registers)
        if name in ("mul", "madd", "msub", "mneg"):
            one.kind = "multiply"
        elif name in ("smull", "umull", "smaddl", "umaddl", "smulh", "umulh", "umsubl", "smsubl"):
            one.kind = "long_multiply"
        elif name in ("sdiv", "udiv"):
            one.kind = "divide"
        elif shifted or name in ("lsl", "lsr", "asr", "ubfiz", "sbfiz", "sxtw"):
            one.kind = "shifted"
        read = self.registers
        if name not in _SETS_FLAGS and read:
            one.write(*self.of(read[0]))
            # movk and bfi change a part of their result.
            read = read if name in ("movk", "bfi", "bfxil") else read[1:]
        for operand in read:
            one.read("alu", *self.of(operand))
        if name in _SETS_FLAGS or (name.endswith("s") and name in ("adds", "subs", "ands", "bics")):
            one.write(_FLAGS)
        if name in _READS_FLAGS:
            one.read("alu", _FLAGS)


class _A32(_Decoder):
    """A32 and Thumb: results are kept per single-precision register, which the others overlap."""

    def names(self, number: int) -> list[str]:
        name = self.found.reg_name(number) or ""
        kind, digits = name[:1], name[1:]
        if kind not in "sdq" or not digits.isdigit():
            return [name] if name else []
        each = {"s": 1, "d": 2, "q": 4}[kind]
        return [f"s{each * int(digits) + part}" for part in range(each)]

    def of(self, operand: Any) -> list[str]:
        found = self.names(operand.reg)
        lane = operand.vector_index
        return found[lane : lane + 1] if lane >= 0 and len(found) == 2 else found

    def fill(self, one: Instruction) -> None:
        name = self.name
        always = 15  # ARM_CC_AL
        if self.found.cc not in (0, always):
            one.read("alu", _FLAGS)
        if name in ("nop", "dmb", "isb", "it", "ite", "itt", "ittt"):
            one.unit = "nothing"
        elif self.in_group_of_branches or re.match(r"(b|bl|bx|blx|cbn?z|tbb|tbh)$", name):
            self.branch(one)
        elif name == "pld":
            one.unit, one.beats = "memory", 1
            self.address(one)
        elif re.match(r"v(ld|st|push|pop)", name):
            self.vector_access(one, stores=name.startswith(("vst", "vpush")))
        elif re.match(r"(ldr|ldm|pop|str|stm|push)", name):
            self.access(one, stores=name.startswith(("st", "push")))
        elif name.startswith("v"):
            self.floating_point(one)
        else:
            self.integer(one)

    def moved(self, one: Instruction) -> list[str]:
        """Add the address; return the registers that are moved to or from memory."""
        listed = [self.of(operand) for operand in self.registers]
        if not self.memory:
            base = ["sp"] if self.name.endswith(("push", "pop")) else listed.pop(0)
            one.read("address", *base)
            if self.found.writeback or base == ["sp"]:
                one.write(*base, later=_MOVED_ON)
        self.address(one)
        return [register for registers in listed for register in registers]

    def vector_access(self, one: Instruction, *, stores: bool) -> None:
        one.unit = "memory"
        moved = [register for register in self.moved(one) if register.startswith("s")]
        one.stores = stores
        if stores:
            one.read("store", *moved)
            one.beats = max(1, -(-len(moved) // 4))
            return
        one.kind, one.loads_vector = "vector_load", True
        one.beats = max(1, -(-len(moved) // 2))
        one.alone = one.beats > 1
        for place, register in enumerate(moved):
            one.write(register, later=place // 2)

    def access(self, one: Instruction, *, stores: bool) -> None:
        one.unit, one.kind = "memory", "load"
        moved = self.moved(one)
        one.beats, one.stores = max(1, -(-len(moved) // 2)), stores
        if stores:
            one.read("store", *moved)
            return
        one.alone = one.beats > 1
        for place, register in enumerate(moved):
            one.write(register, later=place // 2)

    def floating_point(self, one: Instruction) -> None:
        one.unit, one.kind, one.lanes = "fp", "fp", 1
        if self.name in ("vmrs", "vcmp", "vcmpe"):
            for operand in self.registers:
                one.read("factor", *self.of(operand))
            one.kind = "load" if self.name == "vmrs" else "integer"
            one.read("alu", *(["fpscr"] if self.name == "vmrs" else []))
            one.write(_FLAGS if self.name == "vmrs" else "fpscr")
            return
        first, *others = self.registers
        result = self.of(first)
        one.lanes = 2 if len(self.names(first.reg)) == 4 else 1
        if _MACS_32.match(self.name):
            one.kind, one.macs = "mac", len(self.names(first.reg))
            if ".f64" in self.found.mnemonic:
                one.macs = 1
            one.read("accumulator", *result)
        elif self.name in ("vdiv", "vsqrt"):
            one.unit = "fp_divide"
            one.kind = "fp_divide" if self.name == "vdiv" else "fp_square_root"
        one.write(*result)
        for operand in others:
            names = self.of(operand)
            one.read(
                "factor" if names and names[0].startswith("s") and names != ["sp"] else "move",
                *names,
            )

    def integer(self, one: Instruction) -> None:
        name = self.name
        if name in ("mul", "mla", "mls", "smull", "umull"):
            one.kind = "long_multiply"
        elif any(operand.shift.type for operand in self.registers) or name[:3] in (
            "lsl",
            "lsr",
            "asr",
        ):
            one.kind = "shifted"
        read = self.registers
        if name not in _SETS_FLAGS and read:
            one.write(*self.of(read[0]))
            read = read[1:] if len(self.operands) > 2 or name.startswith(("mov", "mvn")) else read
        for operand in read:
            one.read("alu", *self.of(operand))
        if name in _SETS_FLAGS or self.found.update_flags:
            one.write(_FLAGS)
