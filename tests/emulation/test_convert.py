"""Converted networks in the engines that read them, against Caffe's outputs.

Single layers in all their variants are compared by scripts/reliability/against_onnxruntime.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pibench import networks
from pibench.crosscheck.engines import rows
from pibench.targets.base import Target
from tests.emulation.conftest import run
from tests.wild.forks import FORKED
from tests.wild.networks import WILD
from tests.wild.text import Text

pytestmark = pytest.mark.emulation
# Of the largest output; ncnn keeps the weights of inner products in half precision.
NEAR = {"onnxruntime": 1e-5, "ncnn": 3e-3}


def poolings() -> str:
    """Windows beyond the edge, with and without pads, and the same within it."""
    net = Text("poolings", 6, 38)
    tops = []
    for how in ("MAX", "AVE"):
        for kernel, stride, more in (
            (3, 2, ""), (2, 2, "pad: 1"), (5, 3, "pad: 2"), (3, 2, "pad: 1 round_mode: FLOOR"),
            (3, 1, "pad: 1"),
        ):  # fmt: skip
            pooled = net.add(
                "Pooling", ["data"],
                f"pooling_param {{ pool: {how} kernel_size: {kernel} stride: {stride} {more} }}",
            )  # fmt: skip
            tops.append(net.add("Flatten", [pooled]))
    net.add("Concat", tops)
    return net.text()


TEXTS = {"poolings": poolings} | {
    name: text
    for name, text in (WILD | FORKED).items()
    if name
    in ("attention", "cifar_within_channel", "residual", "normalised_photometry", "shufflenet")
}


@pytest.mark.parametrize("name", TEXTS)
def test_converted_networks_compute_what_caffe_computes(
    twin: Target, name: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.prototxt"
    path.write_text(TEXTS[name]())
    network = networks.load(str(path))
    found = {}
    for engine in ("caffe", *NEAR):
        (found[engine],) = run(
            twin, [network], engine=engine, protocol="inference", compute="real", repeats=1
        )
        assert found[engine].verdict == "fit", found[engine].evidence
    for engine, near in NEAR.items():
        (row,) = rows([found["caffe"], found[engine]])
        (result,) = (one for label, one in row.results.items() if label != "caffe")
        assert result.outputs is not None
        assert result.outputs.largest_error < near
