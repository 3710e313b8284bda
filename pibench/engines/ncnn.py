"""ncnn: an engine for what pibench converts to its format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from pibench.engines.base import LAYER_RTOL, Engine

if TYPE_CHECKING:
    from pibench.engines.caffe.shapes import Shapes


@dataclass(frozen=True, kw_only=True)
class NcnnEngine(Engine):
    """ncnn, which rounds the weights of inner products unless they stay in single precision."""

    def having(self, given: Sequence[str]) -> Self:
        """Return ncnn with settings; without half precision it is as close to Caffe as others."""
        found = super().having(given)
        is_single = ("fp16", "off") in found.chosen
        return replace(found, layer_rtol=LAYER_RTOL if is_single else _HALF_RTOL)

    def check(self, found: Shapes, place: str) -> None:
        """Check that ncnn's format can express each layer exactly."""
        from pibench.engines import convert  # noqa: PLC0415  (start-up time)

        convert.check(found, path=place)


# Three inner products one after another (AlexNet) came to 1.6e-3, a single one to 5e-4.
_HALF_RTOL: Final = 5e-3
NCNN: Final = NcnnEngine(
    id="ncnn",
    label="ncnn",
    probe_module=Path(__file__).parents[1] / "probe/engines/ncnn.py",
    wheel="ncnn",
    module="ncnn",
    versions=("1.0.20261020",),
    settings={"winograd": ("on", "off"), "fp16": ("on", "off")},
    model_format="ncnn",
    model_suffix=".param",
    weights_suffix=".bin",
    calls_blas=False,
    keeps_blobs=False,
    layer_settings=(),
    layer_rtol=_HALF_RTOL,
    install_hint="install it (pip install ncnn)",
    # ResNet-152-v2: 815 MiB for amd64, 600 for arm64. Blocks that are aligned to 64 bytes, as for
    # amd64, do not serve again when they are freed.
    build_difference=0.27,
    refused_allocation=re.compile(r"MemoryError|std::bad_alloc"),
)
