"""Make a copy of a network with another batch or image size."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import sources, topology
from pibench.engines.caffe.shapes.contract import Shape, times
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from pibench.networks.network import Network

MAX_SIDE = 65_536

OtherParameters = dict[str, tuple[tuple[Shape, ...], tuple[Shape, ...]]]
"""Layers whose parameters have different shapes in two networks: their shapes in each."""


def parse(text: str) -> tuple[int, int]:
    """Parse height and width from text such as `229x229`; else raise InvalidInputError."""
    parts = text.lower().split("x")
    if len(parts) == 2 and all(part.isascii() and part.isdigit() for part in parts):
        height, width = int(parts[0][:9]), int(parts[1][:9])
        if 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE:
            return height, width
    raise InvalidInputError(
        f"{text!r} is not an input size", hint="give height x width, such as 229x229"
    )


def image_size(network: Network) -> tuple[int, int]:
    """Return height and width of the first input with four axes; else raise InvalidInputError."""
    size = sources.image_size(network.net)
    if size is None:
        raise _refused(
            network,
            "has no input with four axes, so its image size cannot be changed",
            hint="leave --input and --max-input out",
        )
    return size


def with_image_size(network: Network, height: int, width: int) -> Network:
    """Return the same network for images of that size.

    Inputs of the first image's size change with it. Inner products after it take as many weights as
    the new size needs: see `other_parameters`.

    Raises:
        InvalidInputError: No input has an image size, or Caffe would reject the network.
    """
    _ = image_size(network)
    changed = copy(network)
    sources.set_image_size(changed.net, height, width)
    _ = changed.shapes  # raises here what Caffe would abort on
    return changed


def with_batch(network: Network, batch: int) -> Network:
    """Return the same network for `batch` images at once.

    Raises:
        InvalidInputError: The network has no batch, its batch dimension is unknown, another number
            of images would change its parameters, or Caffe would reject it.
    """
    if {sources.batch_size(network.net, phase) for phase in topology.PHASES} == {batch}:
        return network
    changed = copy(network)
    why = sources.why_no_batch(network.net)
    if not why:
        sources.set_batch(changed.net, batch)
    try:
        _ = changed.shapes  # raises here what Caffe would abort on
    except InvalidInputError as refused:
        _ = network.shapes  # what Caffe rejects at any batch is not due to this one
        raise InvalidInputError(
            f"with batch {batch}: {refused.message}", hint=refused.hint
        ) from None
    if not why:
        # A file may have a batch that Caffe rejects: then no comparison is possible.
        with suppress(InvalidInputError):
            why = _first_of(other_parameters(network, changed))
    if why:
        raise _refused(network, f"batch {batch}: {why}", hint="leave --batch out")
    return changed


def other_parameters(network: Network, changed: Network) -> OtherParameters:
    """Find the layers whose parameters have another shape in the changed network.

    If there are any, weights of one network do not fit the other.

    Returns:
        By layer, the shapes of its parameters in `network` and in `changed`.
    """
    before, after = network.shapes.params, changed.shapes.params
    return {
        name: (before.get(name, ()), after.get(name, ()))
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    }


def _first_of(differing: OtherParameters) -> str:
    """Explain, by the first layer with other parameters, that this dimension is not the batch."""
    for name, (before, after) in differing.items():
        return (
            f"layer '{name}' would get parameters of {_listed(after)} instead of "
            f"{_listed(before)}: the first dimension is not a batch"
        )
    return ""


def _listed(shapes: tuple[Shape, ...]) -> str:
    return " and ".join(times(shape) for shape in shapes) or "no size"


def copy(network: Network) -> Network:
    """Return a network whose definition can be changed without changing `network`."""
    net = caffe.NetParameter()
    net.CopyFrom(network.net)
    return replace(network, net=net)


def _refused(network: Network, problem: str, *, hint: str) -> InvalidInputError:
    place = network.source if network.entry is None else network.name
    return InvalidInputError.at(place, None, problem, hint=hint)
