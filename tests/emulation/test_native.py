"""Target native with a real Caffe on the PATH: the twin's, since Debian 12 has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pibench import networks
from pibench.images.loader import RootLoader
from pibench.targets.local import NativeTarget
from tests.emulation.conftest import run

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
    # This machine enforces nothing: the peak is held against the board's memory.
    assert large.verdict == "no-fit"
    assert large.evidence.exit_status == 0
