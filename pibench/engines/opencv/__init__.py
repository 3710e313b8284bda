"""OpenCV's DNN module: an engine that reads Caffe's own files, and ONNX models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from pibench.engines.base import Engine
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.engines.caffe.caffe_pb2 import LayerParameter
    from pibench.engines.caffe.shapes import Shapes
    from pibench.engines.caffe.topology import Source
    from pibench.engines.formats import Contents

VERSIONS: Final = ("4.14.0.94", "4.8.1.78", "4.6.0.66", "4.5.1.48")
"""4.14 is the last that reads Caffe's files. Raspberry Pi OS 11 has 4.5.1, 12 has 4.6.0."""
_WINOGRAD: Final = (4, 7)


@dataclass(frozen=True, kw_only=True)
class OpenCVEngine(Engine):
    """OpenCV, which gets the network as Caffe's test phase runs it."""

    def having(self, given: Sequence[str]) -> Self:
        """Return OpenCV with settings; before 4.7 it has no Winograd to switch off."""
        found = super().having(given)
        version = tuple(map(int, self.wheel_version.split(".")))
        if ("winograd", "off") in found.chosen and version < _WINOGRAD:
            raise InvalidInputError(
                f"OpenCV {self.wheel_version} has no setting winograd",
                hint="leave it out: it is of 4.7 and later",
            )
        return found

    def check(self, found: Shapes, place: str) -> None:
        """Check that this version reads the network and computes what Caffe does."""
        from pibench.engines.opencv import importer  # noqa: PLC0415  (start-up time)

        importer.check(found.layers, place, self.wheel_version)

    def adapted(self, prototxt: str, place: str, *, as_it_is: bool = False) -> str:
        """Return the network as OpenCV's importer reads it: see `importer.adapted`."""
        from pibench.engines.opencv import importer  # noqa: PLC0415  (start-up time)

        return importer.adapted(prototxt, place, self.wheel_version, as_it_is=as_it_is)

    def difference(self, layer: LayerParameter) -> str:
        """Return what this version computes otherwise: see differences.toml."""
        from pibench.engines.opencv import importer  # noqa: PLC0415  (start-up time)

        effects = [one.effect for one in importer.differing(layer, self.wheel_version)]
        return f"OpenCV {self.wheel_version} {', '.join(effects)}" if effects else ""

    def values_inside(self, found: Shapes) -> dict[Source, tuple[str, int]]:
        """Return the layers by the names that OpenCV's importer gives them."""
        from pibench.engines.opencv import importer  # noqa: PLC0415  (start-up time)

        return importer.values_inside(found.layers)

    def check_file(self, contents: Contents, place: str) -> None:
        """Refuse an ONNX model that OpenCV reads otherwise: see `importer.check_onnx`."""
        from pibench.engines.opencv import importer  # noqa: PLC0415  (start-up time)

        importer.check_onnx(contents, place, self.wheel_version)


OPENCV: Final = OpenCVEngine(
    id="opencv",
    label="OpenCV",
    probe_module=Path(__file__).parents[2] / "probe/engines/opencv.py",
    wheel="opencv-python-headless",
    module="cv2",
    file_formats=("onnx",),
    versions=VERSIONS,
    # Winograd's transformed weights are kept beside the others, from 4.7 on.
    settings={"winograd": ("on", "off"), "fusion": ("on", "off")},
    calls_blas=False,
    keeps_blobs=False,
    # A fused layer has no values of its own.
    layer_settings=("fusion=off",),
    install_hint="install it (Debian: sudo apt-get install python3-opencv)",
    # Measured on the paper's networks: 3 to 10 MiB.
    build_difference=0.02,
    size_advice={
        "": (
            "it reads the file before it has the sizes of --input: export it with fixed sizes, or "
            "use --engine onnxruntime"
        )
    },
    refused_allocation=re.compile(r"Failed to allocate (\d+) bytes|std::bad_alloc|MemoryError"),
)
