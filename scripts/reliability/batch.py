#!/usr/bin/env python3
"""One batch of mutated files through the host's code, in a process that may not take much.

    batch.py ENGINE KIND COUNT SEED FOLDER

Started by fuzz.py. Each input lies in FOLDER while it is read, so that one that kills this
process is found there; each with which something was wrong is kept in FOLDER/findings. The
tally goes to FOLDER/tally.json.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

CPU_LIMIT_S = 1.0
BLOCKED_AFTER_S = 30.0
"""By the clock on the wall: another batch of work may have the core meanwhile."""
MEMORY_LIMIT_MIB = 512
"""Of address space, beyond what the process has when it starts."""
GROWTH_LIMIT_MIB = 64
"""Resident memory beyond which an input of 10 kB counts as a finding, short of any error."""


class Hang(BaseException):
    """An input took more than CPU_LIMIT_S; no `except Exception` may catch it."""


@dataclass
class SweepSummary:
    """What a batch saw."""

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    slowest_ms: float = 0.0
    growth_mib: float = 0.0
    findings: dict[str, int] = field(default_factory=dict)
    """How often by what was wrong and where."""


class Batch:
    """Takes inputs one by one, each under its limits."""

    def __init__(
        self,
        folder: Path,
        *,
        take: Callable[[Path, Path | None], bool] | None = None,
        cpu_limit_s: float = CPU_LIMIT_S,
    ) -> None:
        from scripts.reliability import host  # noqa: PLC0415 (instrumented by then, see below)

        self.take = take or host.take
        self.cpu_limit_s = cpu_limit_s
        self.folder = folder
        self.model = folder / "input.prototxt"
        self.weights = folder / "input.caffemodel"
        self.tally = SweepSummary()
        self._clear_peak = os.open("/proc/self/clear_refs", os.O_WRONLY)
        signal.signal(signal.SIGPROF, _hang)

    def feed(self, prototxt: bytes, weights: bytes | None = None) -> None:
        """One input, and what came of it into the tally."""
        self.model.write_bytes(prototxt)
        if weights is not None:
            self.weights.write_bytes(weights)
        # 5 sets the kernel's high-water mark back to what is resident now (proc(5)).
        os.write(self._clear_peak, b"5")
        before_kib, start = resident_kib("VmRSS"), time.process_time()
        fault = self._guarded(self.weights if weights is not None else None)
        taken_ms = 1e3 * (time.process_time() - start)
        growth_mib = (resident_kib("VmHWM") - before_kib) / 1024
        self.tally.inputs += 1
        self.tally.slowest_ms = max(self.tally.slowest_ms, taken_ms)
        self.tally.growth_mib = max(self.tally.growth_mib, growth_mib)
        if fault is None and growth_mib > GROWTH_LIMIT_MIB:
            fault = f"grew by {GROWTH_LIMIT_MIB} MiB or more"
        if fault is not None:
            self._keep(fault)
        if self.tally.inputs % 100 == 0:
            self.end()

    def _guarded(self, weights: Path | None) -> str | None:
        """Run the input under both alarms; what was wrong, or None."""
        signal.setitimer(signal.ITIMER_PROF, self.cpu_limit_s)
        signal.setitimer(signal.ITIMER_REAL, BLOCKED_AFTER_S)
        try:
            if self.take(self.model, weights):
                self.tally.accepted += 1
            else:
                self.tally.refused += 1
        except (Exception, Hang) as error:
            return _place(error)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
        return None

    def _keep(self, fault: str) -> None:
        """Note the fault, and keep the first input that showed it."""
        seen = self.tally.findings
        seen[fault] = seen.get(fault, 0) + 1
        if seen[fault] > 1:
            return
        kept = self.folder / "findings" / f"{self.tally.inputs}"
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "fault.txt").write_text(fault)
        for path in (self.model, self.weights):
            if path.exists():
                shutil.copy2(path, kept)

    def end(self) -> None:
        """Write the tally."""
        (self.folder / "tally.json").write_text(json.dumps(asdict(self.tally)))


def resident_kib(key: str) -> int:
    """VmRSS, VmHWM or VmSize of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{key}:")[2].split()[0])


def _hang(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Hang(f"more than {CPU_LIMIT_S:.0f} s of the CPU")


def _place(error: BaseException) -> str:
    """What was raised, and the innermost line of pibench's under it."""
    frames = traceback.extract_tb(error.__traceback__)
    own_frames = [frame for frame in frames if "/pibench/" in frame.filename] or frames
    where = f"{Path(own_frames[-1].filename).name}:{own_frames[-1].name}"
    # A hang is seen wherever it happens to be; what started it tells more.
    if isinstance(error, Hang):
        where = " > ".join(dict.fromkeys(Path(frame.filename).name for frame in own_frames))
    return f"{type(error).__name__} in {where}"


def with_hypothesis(kind: str, count: int, chosen_seed: int, batch: Batch) -> None:
    """Networks and mutations of them that hypothesis draws."""
    from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: PLC0415

    from tests.wild import mutations  # noqa: PLC0415

    strategy = mutations.mutants() if kind == "prototxt" else mutations.mutants_with_weights()

    @seed(chosen_seed)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def one(generated: bytes | tuple[str, bytes]) -> None:
        if isinstance(generated, tuple):
            batch.feed(generated[0].encode(), generated[1])
        else:
            batch.feed(generated)

    one()


def with_atheris(kind: str, count: int, chosen_seed: int, batch: Batch) -> None:
    """Inputs that Atheris (libFuzzer) grows from a corpus, by which of pibench's code they reach.

    Three of four mutations are pibench's, the others are byte mutations of libFuzzer.
    """
    import atheris  # noqa: PLC0415

    from tests.wild import mutations  # noqa: PLC0415

    network = mutations.SMALL.encode()
    corpus = batch.folder / "corpus"
    corpus.mkdir(exist_ok=True)
    starts = [text.encode() for text in (*mutations.published(), mutations.SMALL)]
    if kind == "caffemodel":
        starts = [mutations.seeded(mutations.SMALL)]
    for index, start in enumerate(starts):
        (corpus / str(index)).write_bytes(start[: mutations.LONGEST_BYTES])

    def mutate(data: bytes, longest: int, mutation_seed: int) -> bytes:
        random = Random(mutation_seed)
        if random.random() < 0.25:
            return bytes(atheris.Mutate(data, longest))
        if kind == "caffemodel":
            return mutations.mutated_bytes(data, random)[:longest]
        return mutations.mutated_text(data.decode("utf-8", "replace"), random)[:longest]

    def one(data: bytes) -> None:
        if kind == "caffemodel":
            batch.feed(network, data)
        else:
            batch.feed(data)
        if batch.tally.inputs >= count:
            # libFuzzer ends a process without Python's own end.
            batch.end()
            os._exit(0)

    options = [f"-seed={chosen_seed % 2**31}", f"-max_len={mutations.LONGEST_BYTES}", "-timeout=0"]
    quiet = ["-print_final_stats=0", "-verbosity=0", "-rss_limit_mb=0"]
    atheris.Setup([sys.argv[0], *options, *quiet, str(corpus)], one, custom_mutator=mutate)
    signal.signal(signal.SIGPROF, _hang)
    atheris.Fuzz()


ENGINES: dict[str, Callable[[str, int, int, Batch], None]] = {
    "hypothesis": with_hypothesis,
    "atheris": with_atheris,
}


def main() -> None:
    """Run one batch."""
    engine, kind, count, chosen_seed, folder = sys.argv[1:]
    if engine == "atheris":
        import atheris  # noqa: PLC0415

        with atheris.instrument_imports(include=["pibench"]):
            batch = Batch(Path(folder))
    else:
        batch = Batch(Path(folder))
    # Modules that are loaded late do not count as an input's growth.
    batch.model.write_bytes((Path(folder) / "first.prototxt").read_bytes())
    batch.take(batch.model, None)
    limit = (resident_kib("VmSize") << 10) + (MEMORY_LIMIT_MIB << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    ENGINES[engine](kind, int(count), int(chosen_seed), batch)
    batch.end()


if __name__ == "__main__":
    main()
