"""Target native with a real Caffe on the PATH: the twin's, since Debian 12 has none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pibench import networks
from pibench.errors import HostError
from pibench.images.rootfs import RootLoader
from pibench.targets import binfmt, emulation, local
from pibench.targets.local import NativeTarget
from tests.emulation.conftest import DEVICE, run
from tests.wild.forks import FORKED

pytestmark = pytest.mark.emulation


def test_this_machine_s_own_caffe(builder, tmp_path: Path, monkeypatch) -> None:
    loader = RootLoader(builder.twin().content / "root", "amd64")
    caffe = tmp_path / "caffe"
    caffe.write_text(f'#!/bin/sh\nexec {" ".join(loader.command("usr/bin/caffe"))} "$@"\n')
    caffe.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    small, large = run(
        NativeTarget(builder),
        [networks.load("SqueezeNet V1.1"), networks.load("ResNet-152")],
        compute="real",
    )
    assert small.verdict == "fit"
    assert small.provenance["latency_ms"].kind == "measured"
    assert {layer.name for layer in small.layers} > {"conv1", "fire2/squeeze1x1"}
    # This machine enforces nothing: the peak is compared with the board's memory.
    assert large.verdict == "no-fit"
    assert large.evidence.exit_status == 0


def test_layers_of_forks_are_preloaded_into_this_machine_s_caffe(
    builder, tmp_path: Path, monkeypatch
) -> None:
    """Debian 11's Caffe on this machine's own libc: sh, in a wrapper, could not preload them."""
    root = builder.twin().content / "root"
    path = tmp_path / "net.prototxt"
    path.write_text(FORKED["mobilenet_ssd"]())
    network = networks.load(str(path))
    folders = map(Path, RootLoader(root, "amd64").library_path.split(":"))
    (tmp_path / "caffe").symlink_to(root / "usr/bin/caffe")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for library in (file for folder in folders for file in folder.glob("*.so*")):
        link = tmp_path / library.name
        if not link.is_symlink() and not Path("/lib/x86_64-linux-gnu", library.name).exists():
            link.symlink_to(library)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    (record,) = run(NativeTarget(builder), [network], compute="real")
    assert (record.verdict, record.evidence.exit_status) == ("fit", 0)
    assert record.environment.guest.caffe_origin == "system"
    assert {layer.type for layer in record.layers} >= {"Permute", "PriorBox", "ReLU6"}

    # A Caffe of other libraries: the loader of programs here finds none of Debian 11's.
    monkeypatch.delenv("LD_LIBRARY_PATH")
    (tmp_path / "caffe").unlink()
    (tmp_path / "caffe").write_text("#!/bin/sh\necho caffe version 1.0.0\n")
    (tmp_path / "caffe").chmod(0o755)
    with pytest.raises(HostError, match=r"need Debian 11's Caffe: libcaffe.so.1.0.0: cannot open"):
        run(NativeTarget(builder), [network], compute="real")


def test_an_arm64_machine_without_caffe_takes_our_root(builder, monkeypatch) -> None:
    """As far as it can be seen here: this machine reports arm64, the kernel starts QEMU."""
    binfmt.require()
    monkeypatch.setattr(local, "platform", SimpleNamespace(machine=lambda: "aarch64"))
    for name, value in emulation.environment(DEVICE.qemu_cpu).items():
        monkeypatch.setenv(name, value)
    (record,) = run(
        NativeTarget(builder), [networks.load("SqueezeNet V1.1")], compute="real", threads=2
    )
    assert record.verdict == "fit"
    guest = record.environment.guest
    assert guest.caffe_origin == "root"
    assert guest.image_lock_digest == builder.lock.digest("arm64")
    assert guest.blas_core_type == "cortexa53"
    # What QEMU runs is not measured on a board, on any target.
    assert record.provenance["latency_ms"].kind == "emulated"
    assert "its programs are run by QEMU" in record.evidence.notes[0]
