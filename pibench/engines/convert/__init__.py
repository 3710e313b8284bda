"""Write a Caffe network and its weights as a file of another engine: ONNX, or ncnn's pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from pathlib import Path

    from pibench.engines.caffe.shapes import Shapes

Format = Literal["onnx", "ncnn"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


def convert(
    found: Shapes, weights: Path, to: Format, stem: Path, *, path: object = "network"
) -> tuple[Path, ...]:
    """Write `stem`.onnx, or `stem`.param and `stem`.bin.

    Args:
        found: The network in its test phase: `network.shapes_under("inference")`.
        weights: A caffemodel for the network.
        to: The format.
        stem: The path of the files without their ending.
        path: The network's name in errors.

    Returns:
        The paths of the files, the model first.

    Raises:
        InvalidInputError: The format cannot express a layer exactly.
        MissingExtraError: The package onnx is not installed.
    """
    raise NotImplementedError
