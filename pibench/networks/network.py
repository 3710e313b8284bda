"""A network ready to be run: loaded from the zoo or a file, checked, its facts at hand."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pibench.errors import InvalidInputError
from pibench.networks import caffemodel, catalog, input_size, prototxt, shapes, sources
from pibench.networks import repair as mending

if TYPE_CHECKING:
    from pibench.networks import caffe_pb2 as caffe
    from pibench.networks.shapes import Shapes
    from pibench.networks.topology import Phase
    from pibench.records.schema import Protocol

MAX_BATCH = 65536
LONGEST_NAME = 200
LONGEST_SLUG = 100


@dataclass(frozen=True, eq=False)
class Network:
    """A network that stock Caffe can set up, and where it comes from."""

    name: str
    slug: str
    """A name fit for files: letters, digits, dots and hyphens."""
    source: str
    """"zoo", or the path of the prototxt."""
    entry: catalog.ZooEntry | None
    """The catalogue's entry for a network of the zoo."""
    net: caffe.NetParameter
    weights: Path | None
    """A caffemodel that has been checked to belong to it."""
    repairs: tuple[str, ...]
    """What was changed in the file, one sentence each."""
    input_size: str | None = None
    """Height and width of its images as `229x229`; None where they are its own."""

    @property
    def recorded_source(self) -> str:
        """The source as records have it; see `recorded`."""
        return "zoo" if self.entry is not None else recorded(self.source)

    @property
    def paper_row(self) -> int | None:
        """Row among the paper's 15 that ran."""
        return self.entry.paper_row if self.entry else None

    @cached_property
    def prototxt(self) -> str:
        """The network as text."""
        return prototxt.write(self.net)

    @property
    def sha256(self) -> str:
        """Hash of the prototxt text: the same network has the same everywhere."""
        return hashlib.sha256(self.prototxt.encode()).hexdigest()

    @cached_property
    def shapes(self) -> Shapes:
        """Shapes of all blobs and parameters in the test phase."""
        return shapes.infer(self.net, path=self._place)

    @property
    def _place(self) -> str:
        """What errors call it."""
        return self.source if self.entry is None else self.name

    @cached_property
    def training_shapes(self) -> Shapes:
        """Shapes of all blobs and parameters in the training phase, which `caffe time` sets up.

        Raises InvalidInputError as `load` does for the test phase.
        """
        if any(layer.include or layer.exclude for layer in self.net.layer):
            return shapes.infer(self.net, path=self._place, phase="TRAIN")
        return self.shapes

    def check_training_phase(self) -> None:
        """Make sure that `caffe time` can run it. Raises InvalidInputError."""
        _ = self.training_shapes

    @property
    def parameter_count(self) -> int:
        """Elements of all parameters."""
        return self.shapes.parameter_count

    @cached_property
    def weights_file_bytes(self) -> int:
        """Size of its caffemodel; for GoogleNet with the training heads of the published one."""
        if self.entry is not None and self.entry.weights_arguments is not None:
            return caffemodel.file_size_bytes(self.entry.build_for_weights())
        return caffemodel.file_size_bytes(self.net)

    @property
    def batch(self) -> int:
        """Images per forward pass in the test phase, which protocol inference sets up."""
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
    """The network that `spec` names: one of the zoo, or a prototxt file.

    `spec` is a path when such a file exists, when it holds a separator, or when it ends
    in .prototxt. `batch` replaces the batch size, `image` the images' height and width,
    `repair` mends files made for other Caffes. Raises UnknownNetworkError, and
    InvalidInputError for anything that stock Caffe could not set up.
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
    _ = loaded.shapes  # refuses here what Caffe would abort on
    if weights is not None:
        caffemodel.check_weights(loaded.net, weights)
        loaded = replace(loaded, weights=weights)
    return loaded


def is_path(spec: str) -> bool:
    """Whether `spec` means a file rather than a name of the zoo."""
    if "/" in spec or "\\" in spec or spec.endswith((".prototxt", ".caffemodel", ".pbtxt")):
        return True
    try:
        return Path(spec).is_file()
    except (OSError, ValueError):
        # Too long for a file name, or with a NUL in it.
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
        net, repairs = mending.repair_text(text, path)
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
    """The path of a prototxt as records take it: as it was given, or shorter.

    A path into the working directory starts there: whoever reads a record needs to tell files
    apart, and not to know where this user's folders are.
    """
    given = Path(path)
    with suppress(ValueError, OSError):
        given = given.relative_to(Path.cwd()) if given.is_absolute() else given
    text = str(given).encode("utf-8", "replace").decode("utf-8")
    if len(text) > LONGEST_NAME:
        return f"...{text[3 - LONGEST_NAME :]}"
    return "./zoo" if text == "zoo" else text


def _label(name: str) -> str:
    """A name as records take it: bytes that are no text replaced, and of bearable length."""
    text = name.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 3]}..."


def slug_of(name: str) -> str:
    """`name` in lower case with hyphens for all but letters, digits and dots."""
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
    """Write SLUG.prototxt, and with `weights` SLUG.caffemodel, into `directory`; the paths.

    What is there already is written over only with `force`: it may be somebody's
    trained weights.

    The weights are random, the same for the same seed, and say so in their name; they
    have the size of the published file. Raises InvalidInputError.
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
