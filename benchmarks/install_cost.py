"""What `pip install pibench` costs: processor time and size, beside those of an older build.

Builds the wheel of this tree and installs it and OLD_WHEEL in turn, each into a fresh environment,
without what pip has cached of its own builds, and prints Markdown:

    python benchmarks/install_cost.py OLD_WHEEL [--rounds 2]

Sizes are of the packages alone, without pip and setuptools.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MB = 10**6
NOT_COUNTED = ("pip", "setuptools", "pkg_resources", "_distutils_hack")


def installed(wheel: Path) -> tuple[float, float]:
    """Install a wheel into a fresh environment; return CPU seconds and megabytes."""
    with tempfile.TemporaryDirectory(prefix="pibench-install-") as name:
        venv.create(name, with_pip=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        pip = [f"{name}/bin/python", "-m", "pip", "install", "--quiet", str(wheel)]
        subprocess.run([*pip, "--disable-pip-version-check"], check=True, stderr=subprocess.PIPE)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        (packages,) = Path(name).glob("lib/python*/site-packages")
        size = sum(
            file.lstat().st_size
            for package in packages.iterdir()
            if package.name.partition("-")[0] not in NOT_COUNTED
            for file in (package.rglob("*") if package.is_dir() else (package,))
            if file.is_file()
        )
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu_s, size / MB


def main() -> None:
    """Install both in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("old", type=Path, help="the wheel of an older build")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pibench-wheel-") as folder:
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
        subprocess.run([*pip, str(ROOT)], check=True, stderr=subprocess.PIPE)
        (new,) = Path(folder).glob("*.whl")
        found: dict[str, list[tuple[float, float]]] = {"old": [], "new": []}
        for _ in range(given.rounds):
            for name, wheel in (("old", given.old), ("new", new)):
                found[name].append(installed(wheel))
    least = {name: min(cpu_s for cpu_s, _ in costs) for name, costs in found.items()}
    size = {name: costs[0][1] for name, costs in found.items()}
    print("| build | CPU s | MB |\n|---|---|---|")
    for name in found:
        print(f"| {name} | {least[name]:.1f} | {size[name]:.0f} |")
    cpu, mb = least["new"] / least["old"], size["new"] / size["old"]
    print(f"| new / old | {cpu:.2f} | {mb:.2f} |")


if __name__ == "__main__":
    main()
