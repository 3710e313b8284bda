"""LiteRT, formerly TensorFlow Lite: an engine for users' own TFLite models."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pibench.engines.base import OTHER_SIZES, Engine

LITERT: Final = Engine(
    id="litert",
    label="LiteRT",
    probe_module=Path(__file__).parents[1] / "probe/engines/litert.py",
    wheel="ai-edge-litert",
    module="ai_edge_litert",
    # The last for the Python 3.9 of the root file systems.
    versions=("2.1.0",),
    settings={"xnnpack": ("on", "off")},
    model_format=None,
    file_formats=("tflite",),
    model_suffix=".tflite",
    weights_suffix="",
    calls_blas=False,
    keeps_blobs=False,
    install_hint="install it (pip install ai-edge-litert)",
    advice={
        "unresolved custom op": (
            "its package has the built-in operators alone: convert the model without custom ones"
        )
    },
    size_advice={"failed to": OTHER_SIZES},
    # Measured on 13 models of MediaPipe (0.1 to 6 MB): 6 % with XNNPACK, 12 % without.
    build_difference=0.13,
)
