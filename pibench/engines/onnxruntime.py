"""ONNX Runtime: an engine for ONNX models, and for what pibench converts to ONNX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pibench.engines.base import OTHER_SIZES, Engine

_TOO_NEW: Final = (
    "export it with opset 21 and IR version 10 at most: the version for the images' Python 3.9 "
    "reads no later ones"
)
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
    file_formats=("onnx",),
    model_suffix=".onnx",
    weights_suffix="",
    calls_blas=False,
    keeps_blobs=False,
    # The graph's optimization joins layers.
    layer_settings=("optimization=off",),
    install_hint="install it (pip install onnxruntime)",
    # NIN: 150 MiB for amd64, whose kernels want other layouts of weights, 89 for arm64.
    build_difference=0.42,
    advice={
        "max supported IR version": _TOO_NEW,
        "official support for domain": _TOO_NEW,
        "Could not find an implementation for": (
            "it has no such operator of this version and type: export it with opset 7 to 21"
        ),
    },
    size_advice={"while running": OTHER_SIZES},
    # Its arena's message (onnxruntime/core/framework/bfc_arena.cc), and the C++ exception.
    refused_allocation=re.compile(
        r"Failed to allocate memory for requested buffer of size (\d+)|std::bad_alloc|MemoryError"
    ),
)
