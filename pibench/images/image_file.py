"""Images as one file: saved on a machine that has them, checked and loaded on one that does not.

The file is a compressed tar. Its first member is the manifest: format, pibench's version and
architecture, and for each image the cache's metadata, including its key and its digest. The
same images make the same bytes. A file is not trusted when it is loaded: every read has a
limit, no name or link points outside its image, and no image appears in the cache before all of
the file was read and each image was compared with its digest.
"""

from __future__ import annotations

import io
import platform
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from gzip import GzipFile
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pibench._version import __version__
from pibench.errors import HostError, InvalidInputError
from pibench.file_io import NO_PLACE, json_of
from pibench.images import store
from pibench.images.archive import add, compressed_tar_into, directory, link, member
from pibench.images.store import Image
from pibench.probe.unpack import UnpackError, extract, inside

FORMAT: Final = 1
MANIFEST: Final = "pibench-images.json"
# Of both roots and the VM's image, 1.47 GB: level 1 makes 519 MB in 24 s, level 6 makes 472 MB
# in 71 s, xz at its fastest 382 MB in 130 s.
_LEVEL: Final = 1
MOST_IMAGES: Final = 64
MOST_ENTRIES: Final = 200_000
"""Limit of files, folders and links in one image; the arm64 root has 9,697."""
MOST_IMAGE_BYTES: Final = 16 << 30
LONGEST_MANIFEST_BYTES: Final = 1 << 20
_HEADERS_BYTES: Final = 64 << 10
"""Limit of the headers of one member, and of the end of the archive."""
_AGAIN: Final = "give a file that pibench image save wrote; if it is one, copy it again"

Progress = Callable[[int, int], None]
"""Called with the bytes of images that are done and those of all."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class SavedImage(BaseModel):
    """An image in the manifest; the fields are those of `store.Image`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Annotated[str, Field(pattern=r"^[a-z0-9]+([-.][a-z0-9]+)*$", max_length=64)]
    key: Sha256
    created: Annotated[str, Field(max_length=40)]
    content_sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0, le=MOST_IMAGE_BYTES)]
    lock_sha256: Sha256
    entries: Annotated[int, Field(ge=0, le=MOST_ENTRIES)]

    def image(self) -> Image:
        """Return the image as the cache describes it, not in a folder yet."""
        datetime.fromisoformat(self.created)
        return Image(path=Path(), **self.model_dump(exclude={"entries"}))


class Manifest(BaseModel):
    """The first member of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    pibench_version: Annotated[str, Field(max_length=100)]
    architecture: Annotated[str, Field(max_length=100)]
    images: Annotated[list[SavedImage], Field(min_length=1, max_length=MOST_IMAGES)]


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The result for one image of a file.

    `expected_key` is what this pibench builds for the kind; None for an unknown kind.
    """

    kind: str
    key: str
    expected_key: str | None
    state: Literal["added", "present", "other"]
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Loading:
    """The results for all images of a file, and where they were made."""

    pibench_version: str
    architecture: str
    images: tuple[Loaded, ...]


def save(images: Sequence[Image], stream: IO[bytes], on_progress: Progress) -> Manifest:
    """Write images to a stream, which may be a pipe.

    Raises:
        HostError: an image differs from what was built, or was removed meanwhile.
    """
    images = sorted(images, key=store.name_of)
    for image in images:
        if not store.verify(image):
            raise HostError(
                f"the image {image.path} differs from what was built",
                hint=f"remove that folder and build it again: pibench image build {image.kind}",
            )
    paths = {store.name_of(image): sorted(image.content.rglob("*")) for image in images}
    manifest = Manifest(
        format=FORMAT,
        pibench_version=__version__,
        architecture=platform.machine(),
        images=[
            SavedImage(
                entries=len(paths[store.name_of(image)]),
                **{name: value for name, value in asdict(image).items() if name != "path"},
            )
            for image in images
        ],
    )
    text = manifest.model_dump_json(indent=1).encode() + b"\n"
    done, total = 0, sum(image.size_bytes for image in images)
    with compressed_tar_into(stream, level=_LEVEL) as tar:
        tar.addfile(member(MANIFEST, size_bytes=len(text)), io.BytesIO(text))
        for image in images:
            for path in paths[store.name_of(image)]:
                name = f"{store.name_of(image)}/{path.relative_to(image.content).as_posix()}"
                try:
                    done += _add(tar, path, name)
                except FileNotFoundError:
                    raise HostError(
                        f"the image {image.path} was removed during pibench image save",
                        hint="list the images: pibench image list",
                    ) from None
                # Otherwise every member that was written stays in memory.
                tar.members = []  # type: ignore[attr-defined]  # the stubs leave it out
                on_progress(done, total)
    return manifest


def _add(tar: tarfile.TarFile, path: Path, name: str) -> int:
    """Write one member; return the bytes of its content."""
    if path.is_symlink():
        tar.addfile(link(name, str(path.readlink())))
    elif path.is_dir():
        tar.addfile(directory(name))
    else:
        return add(tar, path, name).size
    return 0


def load(
    source: Path,
    stream: IO[bytes],
    expected_key: Callable[[str], str | None],
    on_progress: Progress,
) -> Loading:
    """Add the images in `stream` that this pibench can use to the cache: all of them, or none.

    `stream`, which may come through a pipe, is the content of `source`. `expected_key` returns what
    this pibench builds for a kind, None for an unknown one; `on_progress` is called as images are
    read.

    Returns:
        Which images were added, were present already, or need another pibench.

    Raises:
        InvalidInputError: the file is damaged, cut off, or not one that `save` wrote.
        HostError: the cache cannot be written or has no room.
    """
    with _problems_named(source):
        reader = _BoundedReader(GzipFile(fileobj=stream))
        with tarfile.open(fileobj=reader, mode="r|") as tar:  # type: ignore[call-overload]
            manifest = _read_manifest(source, tar, reader)
            wanted = {one.kind: expected_key(one.kind) for one in manifest.images}
            usable = [one for one in manifest.images if one.key == wanted[one.kind]]
            with store.receiving([one.image() for one in usable]) as coming:
                _check_room(coming)
                _read_images(source, tar, reader, manifest, coming, on_progress=on_progress)
    return Loading(
        pibench_version=manifest.pibench_version,
        architecture=manifest.architecture,
        images=tuple(
            Loaded(
                kind=one.kind,
                key=one.key,
                expected_key=wanted[one.kind],
                state=_state(one, usable, coming),
                size_bytes=one.size_bytes,
            )
            for one in manifest.images
        ),
    )


def _state(
    one: SavedImage, usable: Sequence[SavedImage], coming: dict[str, Image]
) -> Literal["added", "present", "other"]:
    if one not in usable:
        return "other"
    return "added" if store.name_of(one.image()) in coming else "present"


class _BoundedReader:
    """A stream with a read limit, which moves on as members are accepted.

    A header can claim any length for the description of the next member, and tarfile would
    read all of it into memory.
    """

    def __init__(self, stream: GzipFile) -> None:
        self._stream = stream
        self._position = 0
        self.limit = LONGEST_MANIFEST_BYTES + _HEADERS_BYTES

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes. Raises tarfile.ReadError beyond the limit."""
        chunk = self._stream.read(size)
        self._position += len(chunk)
        if self._position > self.limit:
            raise tarfile.ReadError("more than its headers describe")
        return chunk


def _read_manifest(source: Path, tar: tarfile.TarFile, reader: _BoundedReader) -> Manifest:
    first = tar.next()
    if first is None or first.name != MANIFEST or not _is_plain(first):
        raise _invalid(source, None, "is not an image file")
    if first.size > LONGEST_MANIFEST_BYTES:
        raise _invalid(source, MANIFEST, "is longer than an image file's manifest can be")
    content = tar.extractfile(first)
    assert content is not None  # noqa: S101
    value = json_of(content.read(), source, MANIFEST, hint=_AGAIN)
    reader.limit = tar.offset + _HEADERS_BYTES
    if isinstance(value, dict) and value.get("format") != FORMAT:
        raise InvalidInputError.at(
            source,
            MANIFEST,
            f"format {str(value.get('format'))[:20]}; this pibench {__version__} reads {FORMAT}",
            hint=f"use pibench {str(value.get('pibench_version'))[:40]}, which wrote it",
        )
    try:
        manifest = Manifest.model_validate(value)
        names = {store.name_of(one.image()) for one in manifest.images}
    except (ValidationError, ValueError) as error:
        raise _invalid(source, MANIFEST, f"is not a manifest of pibench: {_first(error)}") from None
    if len(names) != len(manifest.images):
        raise _invalid(source, MANIFEST, "names an image twice")
    return manifest


def _invalid(source: Path, where: str | None, problem: str) -> InvalidInputError:
    return InvalidInputError.at(source, where, problem, hint=_AGAIN)


def _first(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors(include_url=False, include_context=False)[0]
        return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"[:200]
    return str(error)[:200]


def _read_images(
    source: Path,
    tar: tarfile.TarFile,
    reader: _BoundedReader,
    manifest: Manifest,
    coming: dict[str, Image],
    *,
    on_progress: Progress,
) -> None:
    """Read to the end of the file; put each image in `coming` into its folder."""
    saved = {store.name_of(one.image()): one for one in manifest.images}
    bytes_left = {name: one.size_bytes for name, one in saved.items()}
    entries_left = {name: one.entries for name, one in saved.items()}
    total = sum(bytes_left.values())
    while (found := tar.next()) is not None:
        name, _, rest = found.name.partition("/")
        if name not in saved:
            raise _invalid(source, found.name[:200], "belongs to no image in the manifest")
        size_bytes = found.size if found.isreg() else 0
        bytes_left[name] -= size_bytes
        entries_left[name] -= 1
        if size_bytes < 0 or bytes_left[name] < 0 or entries_left[name] < 0:
            raise _invalid(source, found.name[:200], "exceeds the size in the manifest")
        reader.limit = tar.offset + _HEADERS_BYTES
        if name in coming:
            found.name = rest
            _place(tar, found, coming[name].content)
        # Otherwise every member that was read stays in memory.
        tar.members = []  # type: ignore[attr-defined]  # the stubs leave it out
        on_progress(total - sum(bytes_left.values()), total)
    # gzip's checksum is at its end.
    while reader.read(1 << 16):
        pass


def _place(tar: tarfile.TarFile, found: tarfile.TarInfo, content: Path) -> None:
    """Put one member into an image's folder, never through a link and never over a file."""
    if found.isreg() and not _is_plain(found):
        raise UnpackError(f"{found.name} is a sparse file")
    if found.issym() and found.linkname.startswith("/"):
        # A package's absolute link is meant within its root; pibench itself does not follow any.
        if PurePosixPath(found.name).parts[:1] != ("root",):
            raise UnpackError(f"the link {found.name} points outside its image")
        path = Path(inside(str(content), found.name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(found.linkname)
    else:
        extract(tar, found, str(content))


def _is_plain(found: tarfile.TarInfo) -> bool:
    return found.isreg() and not found.issparse()


def _check_room(coming: dict[str, Image]) -> None:
    needed = sum(image.size_bytes for image in coming.values())
    if not coming:
        return
    free = shutil.disk_usage(store.folder()).free
    if free < needed:
        raise HostError(
            f"{store.folder()} has {free / 1e6:.0f} MB free; the images take {needed / 1e6:.0f} MB",
            hint="make room, or choose another folder: PIBENCH_CACHE_DIR=DIR",
        )


@contextmanager
def _problems_named(source: Path) -> Iterator[None]:
    """Turn the errors of a damaged or hostile file into one line that names it."""
    try:
        yield
    except store.ContentChangedError as error:
        raise _invalid(source, str(error), "does not match the digest in the manifest") from None
    except (tarfile.TarError, UnpackError, EOFError, zlib.error, ValueError) as error:
        raise _invalid(
            source, None, f"is damaged, cut off, or not an image file: {error}"
        ) from None
    except OSError as error:
        # BadGzipFile has no number; a name or a duplicate file causes the others.
        if error.errno in (None, *NO_PLACE):
            why = f": {error.strerror}" if error.errno else ""
            raise _invalid(source, None, f"is not an image file, or is damaged{why}") from None
        raise HostError(
            f"{error.filename or store.folder()}: {error.strerror}",
            hint="check the free space and the permissions there, or set PIBENCH_CACHE_DIR",
        ) from error
