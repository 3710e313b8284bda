"""Images in the user's cache, keyed by their inputs: each is either complete or absent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pibench import cache, file_io, settings, timings
from pibench.errors import HostError
from pibench.images.recipe import file_sha256

_MANIFEST = "manifest.json"
_PARTIAL = ".partial-"
_LEFT = "~"
"""Separates the name of an abandoned partial folder from the id of the process that found it."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """A built image: a folder that is complete, since its manifest is written last."""

    kind: str
    key: str
    path: Path
    created: str
    content_sha256: str
    size_bytes: int
    lock_sha256: str

    @property
    def content(self) -> Path:
        """The folder of the built files."""
        return self.path / "content"


class ContentChangedError(Exception):
    """An image's content does not match its digest; the argument is its name."""


def folder() -> Path:
    """Return the folder of all images."""
    return settings.cache_dir() / "images"


def find(kind: str, key: str) -> Image | None:
    """Return the image of that kind and key, or None if it is absent or incomplete."""
    return _read(folder() / _name(kind, key))


def name_of(image: Image) -> str:
    """Return the image's name in the cache: its kind and the beginning of its key."""
    return _name(image.kind, image.key)


def _name(kind: str, key: str) -> str:
    return f"{kind}-{key[:16]}"


def ensure(
    kind: str, key: str, lock_sha256: str, build: Callable[[Path, Path], None]
) -> tuple[Image, bool]:
    """Return the image, built by `build(content, work)` if missing, and whether it was built now.

    Two calls at once build once: the second waits. The image appears
    under its name in one rename, so an interrupted build leaves nothing that
    could be taken for an image.
    """
    image = find(kind, key)
    if image is not None:
        return image, False
    with _replacing(kind, key) as partial:
        image = find(kind, key)
        if image is not None:
            return image, False
        try:
            with timings.phase(f"image {kind}"):
                (partial / "content").mkdir(parents=True)
                (partial / "work").mkdir()
                build(partial / "content", partial / "work")
                shutil.rmtree(partial / "work")
                with timings.phase("digest"):
                    content_sha256, size_bytes = tree_sha256(partial / "content")
            built = Image(
                kind=kind,
                key=key,
                path=partial,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                content_sha256=content_sha256,
                size_bytes=size_bytes,
                lock_sha256=lock_sha256,
            )
            return _publish(built), True
        except OSError as error:
            fault = file_io.host_error(error, partial)
            raise HostError(
                f"the image {kind} could not be built: {fault.message}", hint=fault.hint
            ) from error


@contextlib.contextmanager
def receiving(images: Sequence[Image]) -> Iterator[dict[str, Image]]:
    """Add images that were built elsewhere to the cache, all of them or none.

    Args:
        images: the expected images; their paths are ignored.

    Yields:
        By name, those that are not in the cache yet. The block fills the folder `content` of
        each. When it ends without error, all are compared with their digests, and then appear.

    Raises:
        ContentChangedError: the content that the block wrote does not match an image's digest.
    """
    with contextlib.ExitStack() as stack:
        coming: dict[str, Image] = {}
        # In the order of their names, which every process keeps: an image's builder waits
        # for the lock of another only where that comes later (sysroot, then twin).
        for image in sorted(images, key=name_of):
            if find(image.kind, image.key) is None:
                partial = stack.enter_context(_replacing(image.kind, image.key))
                # Another process may have built it during the wait for its lock.
                if find(image.kind, image.key) is None:
                    (partial / "content").mkdir(parents=True)
                    coming[name_of(image)] = replace(image, path=partial)
        yield coming
        for image in coming.values():
            if tree_sha256(image.content) != (image.content_sha256, image.size_bytes):
                raise ContentChangedError(name_of(image))
        for image in coming.values():
            _publish(image)


@contextlib.contextmanager
def _replacing(kind: str, key: str) -> Iterator[Path]:
    """Yield a new folder to fill, while nobody else can build or remove that image."""
    base = folder()
    _make_folder(base)
    name = _name(kind, key)
    with _locked(base / f"{name}.lock"):
        partial = _sweep(base / f"{_PARTIAL}{name}")
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _publish(image: Image) -> Image:
    """Give a filled partial folder its manifest and its name, in one rename."""
    (image.path / _MANIFEST).write_text(
        json.dumps({k: v for k, v in asdict(image).items() if k != "path"}, indent=1) + "\n"
    )
    cache.share(image.path)
    place = folder() / name_of(image)
    # A folder without a manifest under the final name was tampered with.
    shutil.rmtree(place, ignore_errors=True)
    image.path.rename(place)
    return replace(image, path=place)


def _sweep(partial: Path) -> Path:
    """Remove what killed builds of this name left; return the folder for a new build.

    This process has the lock of the name.
    The children of a killed build may still write into its folder: it is renamed, and the next
    build or prune removes the rest.
    """
    aside = partial.with_name(f"{partial.name}{_LEFT}{os.getpid()}")
    is_taken = False
    if partial.exists():
        try:
            partial.rename(aside)
        except PermissionError:
            # Another user's, in a folder where users can remove only their own entries.
            is_taken = True
    for leftover in partial.parent.glob(f"{partial.name}{_LEFT}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return aside if is_taken else partial


def images() -> Iterator[Image]:
    """Yield every complete image, by name."""
    for path in sorted(folder().glob("[!.]*-*")):
        image = _read(path)
        if image is not None:
            yield image


def verify(image: Image) -> bool:
    """Return whether the content is, byte for byte, what was built."""
    return tree_sha256(image.content)[0] == image.content_sha256


def discard_damaged(looked_at: Iterable[Image], *, by_size: bool = False) -> list[str]:
    """Discard images whose files have changed since they were built; return their kinds.

    Whoever needs one next builds it again. `by_size` reads no file, and finds those that are
    missing or cut.
    """
    damaged = []
    for image in looked_at:
        try:
            whole = _size_bytes(image.content) == image.size_bytes and (by_size or verify(image))
        except OSError:
            whole = False
        if not whole:
            damaged.append(image.kind)
            # In a cache that this user may not change, its owner has to.
            with contextlib.suppress(OSError):
                discard(image)
    return damaged


def discard(image: Image) -> None:
    """Remove an image, so the next user builds it again; current users keep its files."""
    (image.path / _MANIFEST).unlink(missing_ok=True)


def prune(keep: set[tuple[str, str]]) -> list[Path]:
    """Remove all images but those (kind, key), and the remains of interrupted builds.

    A build in progress keeps its partial folder: its lock is taken.
    """
    from filelock import Timeout  # noqa: PLC0415  (start-up time)

    removed: list[Path] = []
    kept_names = {_name(kind, key) for kind, key in keep}
    for path in sorted(folder().iterdir()) if folder().is_dir() else []:
        name = path.name.removeprefix(_PARTIAL).partition(_LEFT)[0]
        if not path.is_dir() or (name in kept_names and name == path.name):
            continue
        lock = cache.lock(folder() / f"{name}.lock")
        try:
            with lock.acquire(blocking=False):
                shutil.rmtree(path)
                removed.append(path)
        except Timeout:
            continue
    return removed


def tree_sha256(top: Path) -> tuple[str, int]:
    """Return a SHA-256 of names, links and contents below a folder, and the bytes of its files."""
    digest = hashlib.sha256()
    size_bytes = 0
    for path in sorted(top.rglob("*")):
        name = path.relative_to(top).as_posix()
        if path.is_symlink():
            digest.update(f"link {name} {path.readlink()}\n".encode())
        elif path.is_file():
            size_bytes += path.stat().st_size
            digest.update(f"file {name} {file_sha256(path)}\n".encode())
    return digest.hexdigest(), size_bytes


def _size_bytes(top: Path) -> int:
    """Return the bytes of the files below a folder, as of `tree_sha256`."""
    return sum(
        path.stat().st_size for path in top.rglob("*") if path.is_file() and not path.is_symlink()
    )


def _make_folder(base: Path) -> None:
    try:
        cache.make_folder(base)
        writable = os.access(base, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise HostError(
            f"the cache directory {base} cannot be written",
            hint="choose another one: PIBENCH_CACHE_DIR=DIR",
        )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Take the lock of an image within the block. Raises HostError where this user may not."""
    stack = contextlib.ExitStack()
    try:
        stack.enter_context(cache.locked(path))
    except OSError as error:
        raise file_io.host_error(error, path) from error
    with stack:
        yield


def _read(path: Path) -> Image | None:
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        found = Image(path=path, **json.loads((path / _MANIFEST).read_text()))
        named = (found.kind, found.key, found.created, found.content_sha256, found.lock_sha256)
        if all(isinstance(one, str) for one in named) and isinstance(found.size_bytes, int):
            return found
    return None


def as_json(image: Image) -> dict[str, object]:
    """Return the image as `pibench image list --json` prints it."""
    return {**asdict(image), "path": str(image.path)}
