"""Count the files of pibench that one reads to follow a run, and that a run enters.

    python scripts/files_to_follow.py            # both lists; runs SqueezeNet V1.1 on the twin
    python scripts/files_to_follow.py --static   # only the files to read; runs nothing

A file to read is one that imports lead to from the command `run`, for target vm, wherever the
import is in the file, except those for type checking only. The packages of NOT_FOLLOWED are left
out: a run on this target does not use them, or calls them by names that need no reading.

An entered file is one of which at least one function runs on the host; what runs at import,
such as a table that a module makes, does not count. No package is left out.

Neither list has generated code, or the builders of networks in the zoo, which are data.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
START = "pibench.cli.run"
NOT_FOLLOWED = (
    "pibench.networks",
    "pibench.engines.convert",
    "pibench.engines.formats",
    "pibench.engines.litert",
    "pibench.engines.ncnn",
    "pibench.engines.onnxruntime",
    "pibench.engines.opencv",
    "pibench.images",
    "pibench.devices",
    "pibench.report",
    "pibench.crosscheck",
    "pibench.plan",
    "pibench.latency",
    "pibench.diagnosis",
    "pibench.bundle",
    "pibench.sweeps",
    "pibench.targets.local",
    "pibench.targets.container",
    "pibench.targets.sysroot",
    "pibench.targets.ssh",
)
"""Parts that a run of Caffe on target vm does not use, or uses by names that need no reading."""
READERS = "pibench.engines.caffe."
"""What pibench.networks reads and checks a network with; the package itself describes the engine,
and is followed."""
NOT_COUNTED = ("pibench/networks/zoo/",)
"""The builders of the zoo's networks."""
TRACED_RUN = ["run", "SqueezeNet V1.1", "--target", "twin", "--quiet"]


def files_to_read() -> list[str]:
    """Return the files that imports lead to from the command, and the probe's in the guest."""
    waiting, seen = [START], set()
    while waiting:
        module = waiting.pop()
        path = _path(module)
        skipped = any(module == part or module.startswith(f"{part}.") for part in NOT_FOLLOWED)
        if path is None or skipped or module.startswith(READERS) or path in seen:
            continue
        seen.add(path)
        waiting += _imported(path)
    return _counted(path.relative_to(ROOT).as_posix() for path in seen if path.stat().st_size)


def _counted(files: Iterable[str]) -> list[str]:
    return sorted(file for file in files if not file.startswith(NOT_COUNTED))


def _path(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def _imported(path: Path) -> list[str]:
    """Return the modules of pibench that a file imports, anywhere but for type checking."""
    found = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or id(node) in for_types:
            continue
        if (node.module or "").split(".")[0] == "pibench":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            # `from package import module` leads to the module, not to all of the package.
            modules = [name for name in names if _path(name)]
            found += modules if len(modules) == len(names) else [str(node.module), *modules]
    return found


def files_entered() -> list[str]:
    """Return the files whose functions run on the host, in a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".txt") as out:
        subprocess.run([sys.executable, __file__, "--trace", out.name], check=True, cwd=ROOT)
        return _counted(Path(out.name).read_text(encoding="utf-8").split())


def trace(out: Path) -> None:
    """Run the command in this process and write the files that it enters."""
    import threading  # noqa: PLC0415  (after the process has started)

    sys.path.insert(0, str(ROOT))
    sys.argv[1:] = TRACED_RUN
    package = f"{ROOT}/pibench/"
    entered = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(package) and file not in entered:
            caller: FrameType | None = frame
            while caller is not None:
                if caller.f_code.co_name == "<module>" and caller.f_code.co_filename != __file__:
                    return
                caller = caller.f_back
            entered.add(file)

    threading.setprofile(note)
    sys.setprofile(note)
    from pibench.cli import main  # noqa: PLC0415  (traced)

    try:
        main()
    finally:
        sys.setprofile(None)
        files = sorted(file.removeprefix(f"{ROOT}/") for file in entered)
        out.write_text("\n".join(files), encoding="utf-8")


def main() -> None:
    """Print both lists and their lengths."""
    if sys.argv[1:2] == ["--trace"]:
        trace(Path(sys.argv[2]))
        return
    lists = {"to read for `pibench run NET --target vm`": files_to_read()}
    if "--static" not in sys.argv:
        lists[f"entered by `pibench {' '.join(TRACED_RUN)}`"] = files_entered()
    for what, files in lists.items():
        print(f"{len(files)} files {what}:", *files, sep="\n  ")


if __name__ == "__main__":
    main()
