"""What `pibench check` advises, done: real Caffe then has the peak that was promised."""

from __future__ import annotations

from pathlib import Path

import pytest

from pibench import networks
from pibench.checks import check
from pibench.networks import fold_bn
from pibench.targets.local import TwinTarget
from tests.emulation.conftest import DEVICE, run

pytestmark = pytest.mark.emulation


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("VGG 16", "--input"),
        ("Inception-V4", "--protocol inference"),
        ("ResNet-152", "fold-bn"),
        ("DenseNet-201", "fold-bn --protocol inference"),
        ("Wrn-50-2", "--protocol inference"),
    ],
)
def test_advice_that_is_followed_fits(
    twin: TwinTarget, tmp_path: Path, name: str, change: str
) -> None:
    network = networks.load(name)
    (advice,) = (
        one
        for one in check(network, DEVICE, "caffe-time").remedies
        if one.change == change or one.change.split()[0] == change
    )
    if "fold-bn" in change:
        written = fold_bn.write(network, tmp_path, force=False)
        network = networks.load(str(next(path for path in written if path.suffix == ".prototxt")))
    if change == "--input":
        height, width = advice.change.split()[1].split("x")
        network = network.with_image_size(int(height), int(width))
    (record,) = run(twin, [network], protocol=advice.planned.protocol, repeats=1)
    assert record.verdict == "fit"
    # The twin's program is 4 MiB larger than the board's.
    assert record.peak_rss_bytes == pytest.approx(advice.planned.peak_rss_bytes, rel=0.03)
