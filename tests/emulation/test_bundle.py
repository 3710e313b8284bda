"""Kits on machines without pibench: a plain Debian for arm64, and Debian 11's Python."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from pibench import networks
from pibench.bundle.kit import write_kit
from pibench.bundle.results import import_results
from pibench.images.build import Builder
from pibench.images.recipe import Architecture
from pibench.images.rootfs import RootLoader
from pibench.networks.network import Network
from pibench.records.store import RecordStore
from pibench.runner.options import RunOptions
from pibench.targets import binfmt
from pibench.targets.sandbox import available
from pibench.targets.vm import VmTarget
from tests.emulation.conftest import run
from tests.emulation.guests import Guest
from tests.wild.forks import FORKED

pytestmark = pytest.mark.emulation

# Two layers whose weights are written at once, together more than the guest has; one
# larger than all of it would be refused and not killed.
TOO_LARGE = """\
name: "too-large"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4096 } } }
layer { name: "a" type: "InnerProduct" bottom: "data" top: "a"
  inner_product_param { num_output: 37000 bias_term: false weight_filler { type: "constant" } } }
layer { name: "b" type: "InnerProduct" bottom: "data" top: "b"
  inner_product_param { num_output: 37000 bias_term: false weight_filler { type: "constant" } } }
"""


def ssh(guest: Guest, command: str, *, stdin: Path | None = None) -> subprocess.CompletedProcess:
    """Run a command there by the system's own ssh, which a bundle needs just as little."""
    options = (f"UserKnownHostsFile={guest.known_hosts}", "BatchMode=yes", "LogLevel=ERROR")
    argv = [
        *("ssh", "-F", "none", "-p", str(guest.port), "-i", str(guest.identity)),
        *(word for option in options for word in ("-o", option)),
        *("pi@127.0.0.1", command),
    ]
    with (stdin or Path(os.devnull)).open("rb") as content:
        return subprocess.run(argv, stdin=content, capture_output=True, timeout=600, check=False)


def test_a_kit_with_caffe_runs_on_a_plain_debian(
    virt: VmTarget, guest: Guest, small: Network, detector: Network, tmp_path: Path
) -> None:
    too_large = tmp_path / "too-large.prototxt"
    too_large.write_text(TOO_LARGE)
    kit = write_kit(
        [networks.load(str(too_large)), small, detector],
        RunOptions(compute="real"),
        tmp_path / "pi-kit.tar.gz",
        root=virt.builder.carried(),
        builder=virt.builder,
    )
    assert ssh(guest, "command -v caffe").returncode != 0
    assert ssh(guest, "tar xzf -", stdin=kit.path).returncode == 0
    try:
        ran = ssh(guest, "cd pi-kit && python3 run.py")
        output = ran.stdout.decode()
        assert ran.returncode == 0, output
        assert "Caffe: the bundle's own" in output
        assert "[1/3] too-large: killed, out of memory" in output
        assert "[2/3] small: peak" in output
        # What is done is done.
        again = ssh(guest, "cd pi-kit && python3 run.py")
        assert again.returncode == 0
        assert "3 of 3 networks are already done" in again.stdout.decode()
        results = tmp_path / "pi-results.jsonl"
        results.write_bytes(ssh(guest, "cat pi-kit/pi-results.jsonl").stdout)
    finally:
        ssh(guest, "rm -rf pi-kit")
    store = RecordStore(tmp_path / "records.jsonl")
    imported = import_results(results, store=store)
    names = ["too-large", "small", "MobileNet-SSD style"]
    assert [record.network for record in store.read()] == names
    killed, *ended = imported.records
    # The guest has more than the board, so it does not decide what fits there.
    assert (killed.verdict, killed.evidence.signal) == ("inconclusive", 9)
    assert killed.evidence.oom_counter == 1
    for record, in_vm in zip(ended, run(virt, [small, detector], compute="real"), strict=True):
        assert record.verdict == in_vm.verdict == "fit"
        assert record.evidence.exit_status == 0
        assert record.network_sha256 == in_vm.network_sha256
        assert record.fork_layers == in_vm.fork_layers
        # Which of BLAS's four threads touches its buffers is chance, where there are fewer cores.
        of_network = pytest.approx(in_vm.network_rss_bytes, rel=0.03, abs=5 << 19)
        assert record.network_rss_bytes == of_network
        assert record.peak_rss_bytes == pytest.approx(in_vm.peak_rss_bytes, rel=0.03)
    plain, forked = ended
    assert plain.fork_layers == ()
    assert "Permute: SSD-fork layer, implemented by pibench" in " ".join(forked.fork_layers)
    found = plain.environment.guest
    assert (found.caffe_origin, found.architecture) == ("root", "aarch64")
    assert found.image_lock_digest == virt.builder.lock.digest("arm64")
    assert "throttled_bits" in found.unavailable
    # It ran natively, and yet on no board.
    assert plain.provenance["latency_ms"].kind == "emulated"
    assert {layer.name for layer in plain.layers} > {"conv1", "norm"}


@pytest.mark.skipif(not available(), reason="needs bwrap, which makes a root of a folder")
@pytest.mark.parametrize(
    ("protocol", "architecture"),
    [("caffe-time", "amd64"), ("inference", "amd64"), ("caffe-time", "arm64")],
)
def test_a_kit_runs_on_debian_11_and_its_python(
    builder, tmp_path: Path, protocol: str, architecture: Architecture
) -> None:
    """On arm64, which the kernel has QEMU run, with the library of fork layers too."""
    network = tmp_path / "net.prototxt"
    if architecture == "arm64":
        binfmt.require()
        network.write_text(FORKED["mobilenet_ssd"]())
        root = builder.sysroot().content / "root"
    else:
        network.write_text(networks.load("SqueezeNet V1.1").prototxt)
        root = builder.twin().content / "root"
    kit = write_kit(
        [networks.load(str(network))],
        RunOptions(protocol=protocol, compute="real", repeats=3),
        tmp_path / "pi-kit.tar.gz",
        root=None,
        builder=builder,
    )
    run_kit(kit.path, root, architecture, tmp_path)
    (record,) = import_results(tmp_path / "pi-kit/pi-results.jsonl").records
    assert record.environment.host.python_version.startswith("3.9.")
    assert record.environment.guest.caffe_origin == "system"
    assert bool(record.fork_layers) is (architecture == "arm64")
    assert (record.verdict, record.protocol) == ("fit", protocol)
    assert record.latency_ms is not None
    assert len(record.samples) == (3 if protocol == "inference" else 1)
    assert bool(record.outputs) is bool(record.signatures) is (protocol == "inference")


@pytest.mark.skipif(not available(), reason="needs bwrap, which makes a root of a folder")
def test_a_kit_with_another_engine_runs_on_debian_11(
    builder: Builder, small: Network, tmp_path: Path
) -> None:
    binfmt.require()
    options = RunOptions(engine="ncnn", protocol="inference", repeats=2)
    kit = write_kit(
        [small], options, tmp_path / "pi-kit.tar.gz", root=builder.carried(), builder=builder
    )
    output = run_kit(kit.path, builder.sysroot().content / "root", "arm64", tmp_path)
    assert "ncnn: the bundle's own" in output
    (record,) = import_results(tmp_path / "pi-kit/pi-results.jsonl").records
    assert (record.verdict, record.engine, record.engine_version) == ("fit", "ncnn", "1.0.20261020")
    assert record.outputs
    assert record.environment.guest.architecture == "aarch64"
    assert record.latency_ms is not None
    assert (record.network_rss_bytes or 0) > 0


def run_kit(kit: Path, root: Path, architecture: Architecture, folder: Path) -> str:
    """Run a kit on Debian 11 as it is: nothing of this machine is seen from there."""
    with tarfile.open(kit) as archive:
        archive.extractall(folder, filter="data")
    ran = subprocess.run(
        [
            *("bwrap", "--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"),
            *("--ro-bind", "/sys", "/sys", "--bind", str(folder), "/job", "--unshare-net"),
            *("--chdir", "/job/pi-kit", "--clearenv", "--setenv", "PATH", "/usr/bin:/bin"),
            # What ldconfig would have configured for the loader if a package's scripts had run.
            *("--setenv", "LD_LIBRARY_PATH", RootLoader(Path("/"), architecture).library_path),
            *("/usr/bin/python3", "run.py"),
        ],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
