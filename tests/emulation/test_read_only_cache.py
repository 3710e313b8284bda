"""A cache that is mounted read-only serves a user without a home on every target."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pibench import settings
from pibench.engines.base import Compute, Protocol
from pibench.images.build import Builder
from pibench.networks.network import Network
from pibench.runner.jobs import job_of
from pibench.runner.options import RunOptions
from pibench.targets.sysroot import SysrootTarget
from tests.emulation.conftest import DEVICE
from tests.other_user import USER, run_as

pytestmark = pytest.mark.emulation
SOCKET = Path("/var/run/docker.sock")
SEED = "4711"
"""Of weights that no other test has put into the cache."""


@pytest.fixture(scope="module")
def _built(builder: Builder) -> None:
    for architecture in ("amd64", "arm64"):
        builder.blas(architecture)


@pytest.mark.usefixtures("_built")
@pytest.mark.parametrize("target", ["twin", "sysroot", "container"])
@pytest.mark.parametrize(
    ("protocol", "compute"), [("caffe-time", "memory-only"), ("inference", "real")]
)
def test_what_is_built_is_enough(
    target: str,
    protocol: Protocol,
    compute: Compute,
    *,
    small: Network,
    builder: Builder,
    tmp_path_factory,
) -> None:
    if target == "container" and not SOCKET.is_socket():
        pytest.skip("there is no Engine at its default socket")
    place = tmp_path_factory.mktemp("place")
    place.chmod(0o1777)
    cache = settings.cache_dir()
    network = place / "small.prototxt"
    network.write_text(small.prototxt)
    words = ["run", str(network), "--target", target, "--protocol", protocol]
    words += ["--compute", compute, "--json", "--quiet"]
    # A user who may write to the cache measures the emulator's memory before a first run, in the
    # sysroot one who can make no memory groups either: what is in a group is measured too.
    options = RunOptions(target=target, protocol=protocol, compute=compute)
    first = (
        SysrootTarget(DEVICE, builder, use_cgroup=False)
        if target == "sysroot"
        else options.make_target(builder)
    )
    first.prepare([job_of(0, small, options)])
    done = run_as(
        USER,
        *(*words, "--seed", SEED),
        env={"PIBENCH_CACHE_DIR": str(cache), "TMPDIR": str(place)},
        cwd=place,
        groups=(SOCKET.stat().st_gid,) if target == "container" else (),
        read_only=cache,
    )
    assert done.returncode == 0, done.stderr
    assert "is measured for each run" not in done.stderr
    (record,) = json.loads(done.stdout)
    assert record["verdict"] == "fit"
    assert not list(place.glob("pibench-*"))
    assert not list(cache.glob(f"weights/small*-seed{SEED}*"))
