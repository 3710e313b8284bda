"""Images that were loaded from a file run networks where no mirror can be reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pibench.images.build import Builder

pytestmark = pytest.mark.emulation
PIBENCH = (sys.executable, "-m", "pibench")


def test_a_loaded_image_is_used_without_a_mirror(builder: Builder, tmp_path: Path) -> None:
    root = builder.twin()
    builder.blas("amd64")
    cache = tmp_path / "cache"
    # To save and load the root as well takes half a minute on a busy machine.
    (cache / "images").mkdir(parents=True)
    (cache / "images" / root.path.name).symlink_to(root.path)
    offline = {
        **os.environ,
        "PIBENCH_CACHE_DIR": str(cache),
        "PIBENCH_DEBIAN_MIRROR": "http://127.0.0.1:9/debian",
        # No compiler either.
        "PATH": str(tmp_path),
    }
    file = tmp_path / "images.tar.gz"
    subprocess.run([*PIBENCH, "image", "save", file, "blas-amd64"], check=True)
    subprocess.run([*PIBENCH, "image", "load", file], env=offline, check=True)
    done = subprocess.run(
        [*PIBENCH, "run", "SqueezeNet V1.1", "--target", "twin", "--json", "-q"],
        env=offline,
        stdout=subprocess.PIPE,
        check=True,
    )
    (record,) = json.loads(done.stdout)
    assert (record["verdict"], record["compute"]) == ("fit", "memory-only")


def test_the_emulated_root_has_the_byte_code_of_every_module_that_the_twin_has(
    builder: Builder,
) -> None:
    """What is missing would be compiled at each start of the emulated Python."""
    twin, sysroot = (
        image.content / "root/usr/lib" for image in (builder.twin(), builder.sysroot())
    )
    compiled = {path.relative_to(twin) for path in twin.rglob("*.cpython-39.pyc")}
    sources = {path.relative_to(sysroot) for path in sysroot.rglob("*.py")}
    wanted = {
        path
        for path in compiled
        if path.parent.parent / f"{path.name.partition('.')[0]}.py" in sources
    }
    assert len(wanted) > 1000
    assert [path for path in sorted(wanted) if not (sysroot / path).is_file()] == []
