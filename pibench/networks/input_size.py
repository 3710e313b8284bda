"""Giving a network another batch or image size, as a network of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pibench.errors import InvalidInputError
from pibench.networks import caffe_pb2 as caffe
from pibench.networks import repair, topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pibench.networks.network import Network

MAX_SIDE = 65_536


def parse(text: str) -> tuple[int, int]:
    """Height and width of `229x229`. Raises InvalidInputError."""
    parts = text.lower().split("x")
    if len(parts) == 2 and all(part.isascii() and part.isdigit() for part in parts):
        height, width = int(parts[0][:9]), int(parts[1][:9])
        if 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE:
            return height, width
    raise InvalidInputError(
        f"{text!r} is no input size", hint="give height x width, such as 229x229"
    )


def image_size(network: Network) -> tuple[int, int]:
    """Height and width of the first input with four axes. Raises InvalidInputError."""
    for dims in _images(network.net):
        return dims[2], dims[3]
    raise _no_image(network)


def with_image_size(network: Network, height: int, width: int) -> Network:
    """The same network for images of that size. Raises InvalidInputError where none fits.

    Inputs of the first image's size change with it. Inner products behind it take as
    many weights as the new size needs: trained weights may no longer fit.
    """
    changed = copy(network)
    before = image_size(network)
    for shape in repair.input_shapes(changed.net):
        if tuple(shape.dim[2:]) == before:
            shape.dim[2:] = (height, width)
    for at in range(0, len(changed.net.input_dim), topology.INPUT_DIMS):
        if tuple(changed.net.input_dim[at + 2 : at + 4]) == before:
            changed.net.input_dim[at + 2 : at + 4] = (height, width)
    _ = changed.shapes  # refuses here what Caffe would abort on
    return changed


def with_batch(network: Network, batch: int) -> Network:
    """The same network for `batch` images at once. Raises InvalidInputError."""
    changed = copy(network)
    repair.set_batch(changed.net, batch)
    _ = changed.shapes
    return changed


def copy(network: Network) -> Network:
    """A network whose definition can be changed without changing `network`."""
    net = caffe.NetParameter()
    net.CopyFrom(network.net)
    return replace(network, net=net)


def _images(net: caffe.NetParameter) -> Iterator[list[int]]:
    for shape in repair.input_shapes(net):
        if len(shape.dim) == topology.INPUT_DIMS:
            yield list(shape.dim)
    for at in range(0, len(net.input_dim), topology.INPUT_DIMS):
        yield list(net.input_dim[at : at + topology.INPUT_DIMS])


def _no_image(network: Network) -> InvalidInputError:
    return InvalidInputError.at(
        network.source if network.entry is None else network.name,
        None,
        "has no input of four axes, so no image size to change",
        hint="leave --input and --max-input out",
    )
