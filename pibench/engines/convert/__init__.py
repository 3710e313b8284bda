"""Write a Caffe network and its weights as a file of another engine: ONNX, or ncnn's pair."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from pibench.engines.caffe import topology
from pibench.engines.convert import graph as graphs
from pibench.errors import InvalidInputError, extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pibench.engines.caffe.shapes import Shapes

Format = Literal["onnx", "ncnn"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
ENDINGS: Final[dict[Format, tuple[str, ...]]] = {"onnx": (".onnx",), "ncnn": (".param", ".bin")}
"""The endings of a format's files, the model's first."""
_BATCH: Final = "images, where one is the most"
LABELS: Final[dict[Format, str]] = {"onnx": "ONNX", "ncnn": "ncnn"}


def convert(
    found: Shapes,
    weights: Path,
    to: Format,
    stem: Path,
    *,
    path: object = "network",
    all_values: bool = False,
) -> tuple[Path, ...]:
    """Write `stem`.onnx, or `stem`.param and `stem`.bin.

    Args:
        found: The network in its test phase: `network.shapes_under("inference")`.
        weights: A caffemodel for the network.
        to: The format.
        stem: The path of the files without their ending.
        path: The network's name in errors.
        all_values: Make every value an output of an ONNX model; any file of ncnn gives them all.

    Returns:
        The paths of the files, the model first.

    Raises:
        InvalidInputError: The format cannot express a layer exactly.
        MissingExtraError: The package numpy, or onnx, is not installed.
    """
    with extra("engines"):
        import_module("numpy")
    _check_names(found, path)
    graph = graphs.build(found, weights)
    with _explained(to, path):
        if to == "onnx":
            from pibench.engines.convert import onnx_file  # noqa: PLC0415  (an extra)

            return onnx_file.write(graph, stem, all_values=all_values)
        from pibench.engines.convert import ncnn_files  # noqa: PLC0415

        return ncnn_files.write(graph, stem)


def check(found: Shapes, *, path: object = "network") -> None:
    """Check that ncnn's format can express a network; its weights do not matter.

    Raises:
        InvalidInputError: It cannot express a layer exactly.
    """
    from pibench.engines.convert import ncnn_files  # noqa: PLC0415

    _check_names(found, path)
    with _explained("ncnn", path):
        ncnn_files.check(graphs.build(found, None, stand_ins=True))


def _check_names(found: Shapes, path: object) -> None:
    for position, _ in found.unfilled():
        raise InvalidInputError.at(
            str(path), topology.place(found.layers[position]),
            "an earlier layer has this name, so that no weights file fills it",
            hint="rename one of them",
        )  # fmt: skip


@contextmanager
def _explained(to: Format, path: object) -> Iterator[None]:
    """Turn what a format cannot express into an error that names the layer."""
    try:
        yield
    except graphs.Inexact as inexact:
        layer = inexact.node.layer
        what = " ".join(filter(None, (layer.type, str(inexact))))
        raise InvalidInputError.at(
            str(path), topology.place(layer), f"{LABELS[to]} has no exact equal of {what}",
            hint="use --batch 1"
            if _BATCH in str(inexact) and layer.type == "Input"
            else "replace the layer, or use "
            + ("--engine onnxruntime or opencv" if to == "ncnn" else "--engine opencv or caffe"),
        ) from None  # fmt: skip


def ends(found: Shapes, to: Format) -> tuple[dict[str, str], dict[str, str]]:
    """Return the names of inputs and outputs in the files of `convert`, by Caffe's blob.

    Inputs are in the network's order, outputs sorted by blob as in Caffe and in the ONNX model. An
    input that no layer reads is an output too.
    """
    graph = graphs.build(found, None)
    if to == "ncnn":
        from pibench.engines.convert import ncnn_files  # noqa: PLC0415

        return ncnn_files.ends(graph)
    values = {blob: value for blob, (value, _) in graph.outputs.items()}
    return {blob: blob for blob in graph.inputs}, values


def values(found: Shapes, to: Format) -> dict[topology.Source, str]:
    """Return the name in the files of `convert` of each blob that a layer writes.

    A layer that does nothing has the name of its bottom. Blobs that the files lack are left out.
    """
    graph = graphs.build(found, None)
    if to == "ncnn":
        from pibench.engines.convert import ncnn_files  # noqa: PLC0415

        return ncnn_files.values(graph)
    return graph.values


def stem_of(file: Path, to: Format, *, force: bool) -> Path:
    """Return the path of the files without their ending, which `file` may have.

    Raises:
        InvalidInputError: A file exists already and `force` is not set.
    """
    stem = file.with_suffix("") if file.suffix in ENDINGS[to] else file
    for ending in ENDINGS[to]:
        path = stem.with_name(stem.name + ending)
        if path.exists() and not force:
            raise InvalidInputError.at(
                path, None, "is there already", hint="name another file, or add --force"
            )
    return stem
