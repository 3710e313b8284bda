"""A target in a package of its own, as docs/extending.md shows it.

It runs the real probe on this machine, with a shell script in Caffe's place.
"""

from __future__ import annotations

from collections.abc import Sequence

from pibench import settings
from pibench.target_kinds import TargetKind
from pibench.targets.base import Job
from pibench.targets.job import Programs
from pibench.targets.local import LocalTarget
from pibench.targets.registry import TargetOptions, register

CAFFE = """\
#!/bin/sh
if [ "$1" = --version ]; then echo caffe version 1.0.0; exit 0; fi
[ "$1 $2 $4" = "time -model -iterations" ] || exit 64
cat "$3" >/dev/null
cat <<'LOG'
I1122 07:43:53.869290  8470 caffe.cpp:357] Use CPU.
I1122 07:43:53.869290  8470 caffe.cpp:391] Average time per layer:
I1122 07:43:53.869300  8470 caffe.cpp:394]      conv1\tforward: 12.5 ms.
I1122 07:43:53.869305  8470 caffe.cpp:397]      conv1\tbackward: 1.2e-05 ms.
I1122 07:43:53.869320  8470 caffe.cpp:402] Average Forward pass: 12.75 ms.
I1122 07:43:53.869320  8470 caffe.cpp:404] Average Backward pass: 30 ms.
I1122 07:43:53.869325  8470 caffe.cpp:406] Average Forward-Backward: 43 ms.
LOG
"""

KIND = TargetKind(
    name="toy",
    summary="a shell script that prints what Caffe prints",
    provenance="emulated",
    memory_only=False,
)


class ToyTarget(LocalTarget):
    """Runs networks on this machine with the Caffe of this package."""

    def __init__(self, options: TargetOptions) -> None:
        super().__init__(KIND.name, self._toy, processes_at_once=options.at_once or 1)
        self._caffe = settings.cache_dir() / "toy-caffe"

    def prepare(self, work: Sequence[Job]) -> None:
        """Install Caffe."""
        del work
        self._caffe.parent.mkdir(parents=True, exist_ok=True)
        self._caffe.write_text(CAFFE)
        self._caffe.chmod(0o755)

    def environment(self) -> dict[str, str | None]:
        """Return the emulator's version, and no image."""
        return {"qemu_version": "toy 1.0", "image_lock_digest": None}

    def _toy(self) -> list[Programs]:
        return [Programs(program=[str(self._caffe)], python=["python3"])]


def register_toy() -> None:
    """Register the target: the entry point names this function."""
    register(KIND, ToyTarget)
