"""Load a network from the zoo or a file, check it, change its sizes, compute its properties."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections import defaultdict
from contextlib import ExitStack, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pibench.engines import formats
from pibench.engines.caffe import caffemodel, forks, prototxt, shapes, topology
from pibench.engines.caffe import repair as repairing
from pibench.engines.caffe.shapes import Shape, Shapes, times
from pibench.errors import InvalidInputError, NoSourceError
from pibench.file_io import is_standard_input, size_bytes, writing_whole
from pibench.networks import catalog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pibench.engines.base import Protocol
    from pibench.engines.caffe import Repair
    from pibench.engines.caffe import caffe_pb2 as caffe
    from pibench.engines.caffe.topology import Phase

MAX_BATCH = 65_536
MAX_SIDE = 65_536
LONGEST_NAME = 200
LONGEST_SLUG = 100
MOST_NAMED = 5
"""Files of a folder that an error lists."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

OtherParameters = dict[str, tuple[tuple[Shape, ...], tuple[Shape, ...]]]
"""Layers whose parameters have different shapes in two networks: their shapes in each."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network that stock Caffe can set up, and its origin."""

    name: str
    slug: str
    """A name for file names: letters, digits, dots and hyphens."""
    source: str
    """"zoo", or the path of the prototxt."""
    entry: catalog.ZooEntry | None
    """The catalogue's entry for a network of the zoo."""
    net: caffe.NetParameter
    weights: Path | None
    """A caffemodel that was checked to belong to the network."""
    repairs: tuple[str, ...]
    """What was changed in the file, one sentence each."""
    input_size: str | None = None
    """Height and width of its images as `229x229`; None if they are the network's own."""
    known_sha256: str | None = None
    """The hash of the prototxt text, for a network of the zoo that is as its builder makes it."""

    def __repr__(self) -> str:
        weights = "" if self.weights is None else f", weights {self.weights}"
        return f"<{self.name}, {self.source}: {len(self.net.layer)} layers{weights}>"

    @cached_property
    def fork_layers(self) -> tuple[str, ...]:
        """Return a remark for each layer type that stock Caffe lacks and pibench implements."""
        labels = (
            f"{layer.type}: {label}" for layer in self.net.layer if (label := forks.label(layer))
        )
        return tuple(dict.fromkeys(labels))

    @cached_property
    def assumptions(self) -> tuple[str, ...]:
        """Return a remark for each layer whose shapes are not known from the network alone."""
        remarks = {
            "Filter": "at most: all items pass, fewer take less",
            "Python": "its shapes are those given; memory and time of its code are not included",
        }
        return tuple(
            f"{topology.type_of(layer)} layer '{layer.name}': {remarks[layer.type]}"
            for layer in self.net.layer
            if layer.type == "Filter" or (layer.type == "Python" and layer.input_param.shape)
        )

    @property
    def recorded_source(self) -> str:
        """Return the source as records have it; see `recorded`."""
        return "zoo" if self.entry is not None else recorded(self.source)

    @property
    def paper_row(self) -> int | None:
        """Return the row among the paper's 15 that ran."""
        return self.entry.paper_row if self.entry else None

    @cached_property
    def prototxt(self) -> str:
        """Return the network as text."""
        return prototxt.write(self.net)

    @property
    def sha256(self) -> str:
        """Return the hash of the prototxt text; it is the same on every machine."""
        return self.known_sha256 or hashlib.sha256(self.prototxt.encode()).hexdigest()

    @cached_property
    def shapes(self) -> Shapes:
        """Return the shapes of all blobs and parameters in the test phase.

        They are those of the training phase where Caffe can set up only that one.
        """
        try:
            return self._test_shapes
        except NoSourceError:
            return self.training_shapes
        except InvalidInputError:
            with suppress(InvalidInputError):
                return self.training_shapes
            raise

    @cached_property
    def _test_shapes(self) -> Shapes:
        return shapes.infer(self.net, path=self.place)

    @property
    def place(self) -> str:
        """Return the network's name in errors."""
        return prototxt.place(self.source) if self.entry is None else self.name

    @cached_property
    def training_shapes(self) -> Shapes:
        """Return the shapes of all blobs and parameters in the training phase (`caffe time`).

        Raises:
            InvalidInputError: Caffe would reject the network in that phase.
        """
        if any(layer.include or layer.exclude for layer in self.net.layer):
            return shapes.infer(self.net, path=self.place, phase="TRAIN")
        return self._test_shapes

    def shapes_under(self, protocol: Protocol) -> Shapes:
        """Return the shapes in the phase that a protocol sets up: `caffe time` the training phase.

        Raises:
            InvalidInputError: Caffe would reject the network in that phase.
        """
        if protocol == "caffe-time":
            return self.training_shapes
        found = self._test_shapes
        for position, filled in found.unfilled():
            if found.weights[position] != found.weights[filled]:
                raise InvalidInputError.at(
                    self.place,
                    topology.place(found.layers[position]),
                    "an earlier layer has this name and other parameters, and Caffe copies weights "
                    "by name",
                    hint="rename one of them",
                )
        return found

    def runs_under(self, protocol: Protocol) -> bool:
        """Return whether Caffe can set the network up under a protocol."""
        with suppress(InvalidInputError):
            return bool(self.shapes_under(protocol).layers)
        return False

    @property
    def parameter_count(self) -> int:
        """Return the number of elements of all parameters."""
        return self.shapes.parameter_count

    @cached_property
    def weights_file_bytes(self) -> int:
        """Return the size of its caffemodel; GoogleNet's includes the published training heads."""
        if self.entry is not None and self.entry.weights_arguments is not None:
            return caffemodel.file_size_bytes(self.entry.build_for_weights())
        return caffemodel.file_size_bytes(self.net, self.shapes.phase)

    @property
    def batch(self) -> int:
        """Return the images per forward pass in the test phase (protocol inference)."""
        return self.batch_under("inference")

    def batch_under(self, protocol: Protocol) -> int:
        """Return the images per pass of a protocol; `caffe time` sets up the training phase."""
        phase: Phase = "TRAIN" if protocol == "caffe-time" else "TEST"
        return topology.batch_size(self.net, phase) or 1

    def image_size(self) -> tuple[int, int]:
        """Return height and width of the first input with four axes.

        Raises:
            InvalidInputError: There is none, or Caffe would reject the network.
        """
        size = topology.image_size(self.net)
        if size is None:
            _ = self.shapes  # a source that Caffe cannot read is the reason, where there is one
            raise InvalidInputError.at(
                self.place,
                None,
                "has no input with four axes, so its image size cannot be changed",
                hint="leave --input and --max-input out",
            )
        return size

    def with_image_size(self, height: int, width: int) -> Network:
        """Return the same network for images of that size.

        Inputs of the first image's size change with it. Inner products after it take as many
        weights as the new size needs: see `other_parameters`.

        Raises:
            InvalidInputError: No input has an image size, or Caffe would reject the network.
        """
        _ = self.image_size()
        changed = self.copy()
        topology.set_image_size(changed.net, height, width)
        _ = changed.shapes  # raises here what Caffe would abort on
        return changed

    def with_batch(self, batch: int) -> Network:
        """Return the same network for `batch` images at once.

        Raises:
            InvalidInputError: The network has no batch, its batch dimension is unknown, another
                number of images would change its parameters, or Caffe would reject it.
        """
        if {topology.batch_size(self.net, phase) for phase in topology.PHASES} == {batch}:
            return self
        changed = self.copy()
        why = topology.why_no_batch(self.net)
        if not why:
            topology.set_batch(changed.net, batch)
        try:
            _ = changed.shapes  # raises here what Caffe would abort on
        except InvalidInputError as refused:
            _ = self.shapes  # what Caffe rejects at any batch is not due to this one
            raise InvalidInputError(
                f"with batch {batch}: {refused.message}", hint=refused.hint
            ) from None
        if not why:
            # A file may have a batch that Caffe rejects: then no comparison is possible.
            with suppress(InvalidInputError):
                why = _why_no_batch(self.other_parameters(changed))
        if why:
            raise InvalidInputError.at(
                self.place, None, f"batch {batch}: {why}", hint="leave --batch out"
            )
        return changed

    def other_parameters(self, changed: Network) -> OtherParameters:
        """Find the layers whose parameters have another shape in the changed network.

        If there are any, weights of one network do not fit the other.

        Returns:
            By layer, the shapes of its parameters in this network and in `changed`.
        """
        before, after = self.shapes.params, changed.shapes.params
        return {
            name: (before.get(name, ()), after.get(name, ()))
            for name in {**before, **after}
            if before.get(name) != after.get(name)
        }

    def copy(self) -> Network:
        """Return a network whose definition can be changed without changing this one."""
        return replace(self, net=deepcopy(self.net), known_sha256=None)


def _why_no_batch(differing: OtherParameters) -> str:
    """Explain, by the first layer with other parameters, that this dimension is not the batch."""
    for name, (before, after) in differing.items():
        return (
            f"layer '{name}' would get parameters of {_listed(after)} instead of "
            f"{_listed(before)}: the first dimension is not a batch"
        )
    return ""


def _listed(parameters: tuple[Shape, ...]) -> str:
    return " and ".join(map(times, parameters)) or "no size"


def parse_image_size(text: str) -> tuple[int, int]:
    """Parse height and width from text such as `229x229`; else raise InvalidInputError."""
    parts = text.lower().split("x")
    if len(parts) == 2 and all(part.isascii() and part.isdigit() for part in parts):
        height, width = int(parts[0][:9]), int(parts[1][:9])
        if 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE:
            return height, width
    raise InvalidInputError(
        f"{text!r} is not an input size", hint="give height x width, such as 229x229"
    )


def load(
    spec: str,
    *,
    weights: Path | None = None,
    batch: int | None = None,
    image: tuple[int, int] | None = None,
    repair: Repair = False,
    python_shapes: Sequence[str] = (),
) -> Network:
    """Load and check a network of the zoo or a prototxt file.

    Args:
        spec: A name in the zoo, or a path: an existing file, a text with a separator, one that
            ends in .prototxt, a folder with one network, or "-" for standard input.
        weights: A caffemodel for the network.
        batch: Replaces the batch size, in images.
        image: Replaces the images' height and width, in pixels.
        repair: Fix files made for other variants of Caffe; "paper" as the paper did.
        python_shapes: The shapes of Python layers' tops, such as data=1x3x224x224.

    Raises:
        UnknownNetworkError: No network of the zoo and no file has this name.
        InvalidInputError: Stock Caffe could not set the network up.
    """
    if (form := formats.format_of(spec)) is not None:
        size_bytes(Path(spec), "model file")
        raise InvalidInputError.at(
            spec, None,
            f"{formats.article(form)}, and this is for networks of Caffe alone",
            hint=f"pibench run {shlex.quote(spec)} measures its memory and its time",
        )  # fmt: skip
    if is_path(spec):
        path, beside = files_of(spec)
        weights = weights or beside
        opaque = [text.rpartition("=")[0] for text in python_shapes]
        loaded = _from_file(path, repair=repair, image=image, opaque=opaque)
    else:
        loaded = from_zoo(spec)
    if python_shapes:
        loaded = _with_python_shapes(loaded, python_shapes)
    if batch is not None:
        if not 1 <= batch <= MAX_BATCH:
            raise InvalidInputError(f"batch {batch} is out of range", hint=f"give 1 to {MAX_BATCH}")
        loaded = loaded.with_batch(batch)
    if image is not None:
        own = loaded.image_size()
        if python_shapes and image != own:
            raise InvalidInputError(
                f"--input {image[0]}x{image[1]}: the shapes given with --shape are for images of "
                f"{own[0]}x{own[1]}",
                hint="leave --input out, or write the size into the network's file",
            )
        loaded = loaded.with_image_size(*image)
        if image != own:
            loaded = replace(loaded, input_size="{}x{}".format(*image))
    _ = loaded.shapes  # raises here what Caffe would abort on
    if weights is not None:
        caffemodel.check_weights(loaded.net, weights, loaded.shapes.phase)
        loaded = replace(loaded, weights=weights)
    return loaded


def _with_python_shapes(network: Network, texts: Sequence[str]) -> Network:
    """Return the network with a shape for each top of its Python layers, and of unknown ones.

    A layer that neither stock Caffe nor pibench has becomes a Python layer, whose code is as
    unknown.
    """
    changed = network.copy()
    layers = defaultdict(list)
    for layer in changed.net.layer:
        if not shapes.has_rule(layer):
            layer.ClearField("input_param")
            # Each phase can have one of the same name.
            layers[layer.name].append(layer)
    for text in texts:
        name, _, sizes = text.rpartition("=")
        if not re.fullmatch(r"[1-9]\d{0,9}(x[1-9]\d{0,9})*", sizes, re.ASCII):
            raise InvalidInputError(
                f"--shape {text!r} is not a layer and a shape", hint="give NAME=1x3x224x224"
            )
        if name not in layers:
            known = ", ".join(map(repr, layers)) or "none"
            raise InvalidInputError.at(
                network.place,
                None,
                f"--shape {text}: it has no Python or unknown layer {name!r}",
                hint=f"those here: {known}",
            )
        for layer in layers[name]:
            if layer.type != "Python":
                layer.python_param.CopyFrom(type(layer.python_param)(layer=layer.type))
                layer.type = "Python"
            layer.input_param.shape.add(dim=map(int, sizes.split("x")))
    return changed


def is_path(spec: str) -> bool:
    """Return whether `spec` means a file rather than a name of the zoo."""
    if "/" in spec or "\\" in spec or spec.endswith((".prototxt", ".caffemodel", ".pbtxt")):
        return True
    if is_standard_input(spec):
        return True
    try:
        return Path(spec).is_file() or (Path(spec).is_dir() and not catalog.knows(spec))
    except (OSError, ValueError):
        # The text is too long for a file name, or has a NUL in it.
        return False


def files_of(path: str) -> tuple[str, Path | None]:
    """Return the prototxt that a path means, and the weights beside it: a folder's only ones.

    Raises:
        InvalidInputError: The path is a URL, or a folder with another number of either.
    """
    if _URL.match(path):
        hint = "download it, and name the file"
        if path.startswith("ssh://"):
            hint = f"a board is a target: --target {path}"
        raise InvalidInputError.at(path, None, "is a URL", hint=hint)
    if not os.path.isdir(path):  # noqa: PTH112  (also for a name that no file can have)
        return path, None
    found = {kind: sorted(Path(path).glob(f"*.{kind}")) for kind in ("prototxt", "caffemodel")}
    for kind, files in found.items():
        if len(files) > 1:
            names = ", ".join(file.name for file in files[:MOST_NAMED])
            more = f" and {len(files) - MOST_NAMED} more" if len(files) > MOST_NAMED else ""
            raise InvalidInputError.at(
                path, None, f"a directory with several {kind}s: {names}{more}",
                hint="name one prototxt" + ("" if kind == "prototxt" else ", and --weights"),
            )  # fmt: skip
    if not found["prototxt"]:
        raise InvalidInputError.at(
            path, None, "a directory without a prototxt", hint="name the network's file"
        )
    return str(found["prototxt"][0]), next(iter(found["caffemodel"]), None)


def from_zoo(name: str) -> Network:
    """Build a network of the zoo.

    Raises:
        InvalidInputError: The zoo has none of this name.
    """
    entry = catalog.find(name)
    return Network(
        name=entry.name,
        slug=entry.slug,
        source="zoo",
        entry=entry,
        net=entry.build(),
        weights=None,
        repairs=(),
        known_sha256=catalog.known_sha256(entry.slug),
    )


def _from_file(
    path: str, *, repair: Repair, image: tuple[int, int] | None, opaque: Sequence[str]
) -> Network:
    text, place = prototxt.read_text(path), prototxt.place(path)
    repairs: list[str] = []
    if repair:
        net, repairs = repairing.repair_text(
            text, place, image=image, as_paper=repair == "paper", opaque=opaque
        )
    else:
        net = prototxt.parse(text, place, opaque=opaque)
    stem = place if is_standard_input(path) else Path(path).stem
    return Network(
        name=label(net.name or stem),
        slug=slug_of(stem),
        source=path,
        entry=None,
        net=net,
        weights=None,
        repairs=tuple(repairs),
    )


def recorded(path: str) -> str:
    """Return the path of a prototxt for records: as it was given, or shortened.

    A path into the working directory is made relative to it: readers of a record need to
    distinguish files, but not to know this user's folders.
    """
    given = Path(path)
    with suppress(ValueError, OSError):
        given = given.relative_to(Path.cwd()) if given.is_absolute() else given
    text = str(given).encode("utf-8", "replace").decode("utf-8")
    if len(text) > LONGEST_NAME:
        return f"...{text[3 - LONGEST_NAME :]}"
    return "./zoo" if text == "zoo" else text


def label(name: str) -> str:
    """Return a name for records: of limited length, with bytes that are not text replaced."""
    text = name.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 3]}..."


def slug_of(name: str) -> str:
    """Return `name` in lower case with hyphens for all but letters, digits and dots."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:LONGEST_SLUG] or "network"


def write_network(
    network: Network,
    directory: Path | str,
    *,
    weights: bool = False,
    seed: int = 0,
    resized: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write SLUG.prototxt, and with `weights` SLUG.caffemodel, into `directory`; return the paths.

    The weights are random, the same for the same seed, and the network's name in them states it.
    They have the size of the published file, unless the network is `resized` for other images.
    `force` overwrites existing files, which may be trained weights.

    Raises:
        InvalidInputError: A file exists already.
    """
    pieces = None
    if weights:
        published = None if resized else network.entry
        stored = published.build_for_weights() if published else network.net
        pieces = caffemodel.seeded_pieces(stored, seed, network.shapes.phase)
    return write_files(Path(directory), network.slug, network.prototxt, pieces, force=force)


def write_files(
    directory: Path,
    slug: str,
    text: str,
    weights: Iterable[bytes] | None,
    *,
    force: bool,
) -> list[Path]:
    """Write SLUG.prototxt, and SLUG.caffemodel from pieces of `weights`; return the paths.

    Neither is changed before both are complete.

    Raises:
        InvalidInputError: A file exists already and `force` is not set.
        HostError: A file cannot be written.
    """
    text_path, weights_path = directory / f"{slug}.prototxt", directory / f"{slug}.caffemodel"
    written = [text_path] if weights is None else [text_path, weights_path]
    for path in written:
        if path.exists() and not force:
            raise InvalidInputError.at(
                path, None, "is there already", hint="name another directory, or add --force"
            )
    with ExitStack() as files:
        files.enter_context(writing_whole(text_path)).write(text.encode())
        if weights is not None:
            files.enter_context(writing_whole(weights_path)).writelines(weights)
    return written
