"""ncnn: an engine for what pibench converts to its format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pibench.engines.base import Engine

if TYPE_CHECKING:
    from pibench.engines.caffe.shapes import Shapes


@dataclass(frozen=True, kw_only=True)
class NcnnEngine(Engine):
    """ncnn, which can run what its format can express."""

    def check(self, found: Shapes, place: str) -> None:
        """Check that ncnn's format can express each layer exactly."""
        from pibench.engines import convert  # noqa: PLC0415  (start-up time)

        convert.check(found, path=place)


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
    install_hint="install it (pip install ncnn)",
    # ResNet-152-v2: 815 MiB for amd64, 600 for arm64. Blocks that are aligned to 64 bytes, as for
    # amd64, do not serve again when they are freed.
    build_difference=0.27,
    refused_allocation=re.compile(r"MemoryError|std::bad_alloc"),
)
