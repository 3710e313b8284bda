"""ONNX Runtime: an engine for what pibench converts to ONNX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pibench.engines.base import Engine

ONNXRUNTIME: Final = Engine(
    id="onnxruntime",
    label="ONNX Runtime",
    probe_module=Path(__file__).parents[1] / "probe/engines/onnxruntime.py",
    wheel="onnxruntime",
    module="onnxruntime",
    # The last for the Python 3.9 of the root file systems.
    versions=("1.19.2",),
    settings={"arena": ("on", "off"), "optimization": ("on", "off")},
    model_format="onnx",
    model_suffix=".onnx",
    weights_suffix="",
    calls_blas=False,
    keeps_blobs=False,
    # The graph's optimization joins layers.
    layer_settings=("optimization=off",),
    install_hint="install it (pip install onnxruntime)",
    # Measured on the paper's networks.
    build_difference=0.10,
    # Its arena's message (onnxruntime/core/framework/bfc_arena.cc), and the C++ exception.
    refused_allocation=re.compile(
        r"Failed to allocate memory for requested buffer of size (\d+)|std::bad_alloc|MemoryError"
    ),
)
