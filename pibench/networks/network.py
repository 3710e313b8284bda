"""Load a network from the zoo or a file, check it and compute its properties."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pibench.engines.caffe import caffemodel, prototxt, shapes, sources
from pibench.engines.caffe import repair as repairing
from pibench.errors import InvalidInputError
from pibench.networks import catalog, input_size

if TYPE_CHECKING:
    from pibench.engines.caffe import caffe_pb2 as caffe
    from pibench.engines.caffe.shapes import Shapes
    from pibench.engines.caffe.topology import Phase
    from pibench.records.schema import Protocol

MAX_BATCH = 65536
LONGEST_NAME = 200
LONGEST_SLUG = 100


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
        return hashlib.sha256(self.prototxt.encode()).hexdigest()

    @cached_property
    def shapes(self) -> Shapes:
        """Return the shapes of all blobs and parameters in the test phase."""
        return shapes.infer(self.net, path=self._place)

    @property
    def _place(self) -> str:
        """Return the network's name in errors."""
        return self.source if self.entry is None else self.name

    @cached_property
    def training_shapes(self) -> Shapes:
        """Return the shapes of all blobs and parameters in the training phase (`caffe time`).

        Raises:
            InvalidInputError: Caffe would reject the network in that phase.
        """
        if any(layer.include or layer.exclude for layer in self.net.layer):
            return shapes.infer(self.net, path=self._place, phase="TRAIN")
        return self.shapes

    def check_training_phase(self) -> None:
        """Raise InvalidInputError if `caffe time` cannot run the network."""
        _ = self.training_shapes

    @property
    def parameter_count(self) -> int:
        """Return the number of elements of all parameters."""
        return self.shapes.parameter_count

    @cached_property
    def weights_file_bytes(self) -> int:
        """Return the size of its caffemodel; GoogleNet's includes the published training heads."""
        if self.entry is not None and self.entry.weights_arguments is not None:
            return caffemodel.file_size_bytes(self.entry.build_for_weights())
        return caffemodel.file_size_bytes(self.net)

    @property
    def batch(self) -> int:
        """Return the images per forward pass in the test phase (protocol inference)."""
        return self.batch_under("inference")

    def batch_under(self, protocol: Protocol) -> int:
        """Return the images per pass of a protocol; `caffe time` sets up the training phase."""
        phase: Phase = "TRAIN" if protocol == "caffe-time" else "TEST"
        return sources.batch_size(self.net, phase) or 1


def load(
    spec: str,
    *,
    weights: Path | None = None,
    batch: int | None = None,
    image: tuple[int, int] | None = None,
    repair: bool = False,
) -> Network:
    """Load and check a network of the zoo or a prototxt file.

    Args:
        spec: A name in the zoo, or a path: an existing file, a text with a separator, or one that
            ends in .prototxt.
        weights: A caffemodel for the network.
        batch: Replaces the batch size, in images.
        image: Replaces the images' height and width, in pixels.
        repair: Fix files made for other variants of Caffe.

    Raises:
        UnknownNetworkError: No network of the zoo and no file has this name.
        InvalidInputError: Stock Caffe could not set the network up.
    """
    loaded = _from_file(spec, repair=repair) if is_path(spec) else _from_zoo(spec)
    if batch is not None:
        if not 1 <= batch <= MAX_BATCH:
            raise InvalidInputError(f"batch {batch} is out of range", hint=f"give 1 to {MAX_BATCH}")
        loaded = input_size.with_batch(loaded, batch)
    if image is not None:
        own = input_size.image_size(loaded)
        loaded = input_size.with_image_size(loaded, *image)
        if image != own:
            loaded = replace(loaded, input_size="{}x{}".format(*image))
    _ = loaded.shapes  # raises here what Caffe would abort on
    if weights is not None:
        caffemodel.check_weights(loaded.net, weights)
        loaded = replace(loaded, weights=weights)
    return loaded


def is_path(spec: str) -> bool:
    """Return whether `spec` means a file rather than a name of the zoo."""
    if "/" in spec or "\\" in spec or spec.endswith((".prototxt", ".caffemodel", ".pbtxt")):
        return True
    try:
        return Path(spec).is_file()
    except (OSError, ValueError):
        # The text is too long for a file name, or has a NUL in it.
        return False


def _from_zoo(name: str) -> Network:
    entry = catalog.find(name)
    return Network(
        name=entry.name,
        slug=entry.slug,
        source="zoo",
        entry=entry,
        net=entry.build(),
        weights=None,
        repairs=(),
    )


def _from_file(path: str, *, repair: bool) -> Network:
    text = prototxt.read_text(path)
    repairs: list[str] = []
    if repair:
        net, repairs = repairing.repair_text(text, path)
    else:
        net = prototxt.parse(text, path)
    stem = Path(path).stem
    return Network(
        name=_label(net.name or stem),
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


def _label(name: str) -> str:
    """Return a name for records: of limited length, with bytes that are not text replaced."""
    text = name.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 3]}..."


def slug_of(name: str) -> str:
    """Return `name` in lower case with hyphens for all but letters, digits and dots."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:LONGEST_SLUG] or "network"


def export(
    name: str,
    directory: Path | str,
    *,
    weights: bool = False,
    seed: int = 0,
    batch: int | None = None,
    repair: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write SLUG.prototxt, and with `weights` SLUG.caffemodel, into `directory`.

    The weights are random, the same for the same seed, and the network's name in them states it.
    They have the size of the published file.

    Args:
        name: A name in the zoo, or the path of a prototxt.
        directory: The folder.
        weights: Write weights too.
        seed: The seed of the weights.
        batch: Replaces the batch size, in images.
        repair: Fix files made for other variants of Caffe.
        force: Overwrite existing files, which may be trained weights.

    Returns:
        The paths of the files.

    Raises:
        InvalidInputError: The network cannot be loaded, or a file exists already.
    """
    network = load(name, batch=batch, repair=repair)
    directory = Path(directory)
    text_path = directory / f"{network.slug}.prototxt"
    weights_path = directory / f"{network.slug}.caffemodel"
    written = [text_path, weights_path] if weights else [text_path]
    for path in written:
        if path.exists() and not force:
            raise InvalidInputError.at(
                path, None, "is there already", hint="name another directory, or add --force"
            )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        text_path.write_text(network.prototxt, encoding="utf-8")
        if weights:
            stored = network.entry.build_for_weights() if network.entry else network.net
            caffemodel.write_seeded(stored, weights_path, seed)
    except OSError as error:
        raise InvalidInputError.at(
            directory, None, f"cannot be written ({error.strerror})", hint="give another directory"
        ) from None
    return written
