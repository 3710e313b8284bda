"""Run programs of an unpacked root through its own dynamic loader: no root rights, no chroot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pibench.images.recipe import GNU_TRIPLET, Architecture

_LOADER: dict[Architecture, str] = {
    # Named after the architecture's ABI, a link that Debian's libc6 contains.
    "amd64": "lib/x86_64-linux-gnu/ld-2.31.so",
    "arm64": "lib/aarch64-linux-gnu/ld-2.31.so",
}

_OTHERS_SETTINGS = (
    "PYTHONPYCACHEPREFIX", "PYTHONOPTIMIZE", "PYTHONDONTWRITEBYTECODE", "PYTHONSTARTUP",
    "PYTHONMALLOC", "PYTHONDEVMODE", "PYTHONTRACEMALLOC", "PYTHONDEBUG", "PYTHONVERBOSE",
)  # fmt: skip


@dataclass(frozen=True)
class RootLoader:
    """The command lines that run a root's programs on a CPU of the same architecture."""

    root: Path
    architecture: Architecture

    @property
    def library_path(self) -> str:
        """Return the paths of the root's libraries; libgdal is in plain usr/lib."""
        triplet = GNU_TRIPLET[self.architecture]
        folders = (
            f"usr/lib/{triplet}/openblas-pthread",
            f"usr/lib/{triplet}",
            f"lib/{triplet}",
            "usr/lib",
        )
        return ":".join(str(self.root / folder) for folder in folders)

    def command(self, program: str, *, preload: Path | None = None) -> list[str]:
        """Return the command line prefix for a program of the root, such as `usr/bin/caffe`.

        A preload is passed to the loader and not in the environment, which the
        host's own programs would inherit.
        """
        prefix = [str(self.root / _LOADER[self.architecture]), "--library-path", self.library_path]
        if preload is not None:
            prefix += ["--preload", str(preload)]
        return [*prefix, str(self.root / program)]

    def python(self, *, preload: Path | None = None) -> list[str]:
        """Return the command line prefix of the root's Python 3.9."""
        return self.command("usr/bin/python3.9", preload=preload)

    def python_env(self) -> dict[str, str]:
        """Return the environment in which the root's Python finds its own modules and no others.

        Variables that a user has set for other Pythons would change its bytecode or measurements.
        An empty value counts as not set.
        """
        return {
            **dict.fromkeys(_OTHERS_SETTINGS, ""),
            "PYTHONHOME": str(self.root / "usr"),
            "PYTHONNOUSERSITE": "1",
            "PYTHONPATH": "",
        }
