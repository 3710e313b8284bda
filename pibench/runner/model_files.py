"""Files that pibench makes of a network for an engine: seeded weights, other formats."""

from __future__ import annotations

import atexit
import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from pibench import cache, file_io, settings
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pibench.engines.convert import Format
    from pibench.networks.network import Network

_MOST_KEPT_BYTES = 8 * 10**9
"""Weights, and converted networks, that the cache keeps of each; the paper's are 4 and 7 GB."""
_UNUSED_S = 86_400.0


def seeded_weights(network: Network, seed: int) -> Path:
    """Write a weights file of seeded random numbers for a network, once, into the cache.

    It is written to a temporary folder where the cache is not writable. Raises HostError
    where neither is possible.
    """
    from pibench.engines.caffe import caffemodel  # noqa: PLC0415  (start-up time)
    from pibench.images.recipe import file_sha256, fingerprint  # noqa: PLC0415  (start-up time)

    # Another release may draw other numbers.
    key = fingerprint([network.sha256, file_sha256(Path(caffemodel.__file__))])
    name = f"{network.slug}-{key[:16]}-seed{seed}.caffemodel"
    (path,) = _kept(
        "weights",
        [name],
        lambda folder: caffemodel.write_seeded(network.net, folder / name, seed),
        lambda path: caffemodel.check_weights(network.net, path),
    )
    return path


def converted(
    network: Network, weights: Path, to: Format, *, all_values: bool = False
) -> tuple[Path, ...]:
    """Write a network with weights in another format, once, into the cache.

    With `all_values` an engine gives the value of every layer from it.

    Returns:
        The paths of the files, the model first.

    Raises:
        InvalidInputError: The format cannot express a layer exactly.
        MissingExtraError: A package that writes the format is not installed.
        HostError: The files cannot be written.
    """
    from pibench.engines import convert  # noqa: PLC0415  (start-up time)
    from pibench.images.recipe import file_sha256, fingerprint  # noqa: PLC0415  (start-up time)

    writer = [file_sha256(path) for path in sorted(Path(convert.__file__).parent.glob("*.py"))]
    key = fingerprint([network.sha256, file_sha256(weights), writer])
    stem = f"{network.slug.replace('.', '-')}-{key[:16]}"
    # Any model of ncnn gives all of them.
    all_values = all_values and to == "onnx"
    if all_values:
        stem += "-values"
    found = network.shapes_under("inference")
    return _kept(
        "converted",
        [f"{stem}{ending}" for ending in convert.ENDINGS[to]],
        lambda folder: convert.convert(
            found, weights, to, folder / stem, path=network.place, all_values=all_values
        ),
    )


def _kept(
    kind: str,
    names: Sequence[str],
    write: Callable[[Path], object],
    check: Callable[[Path], object] = lambda _: None,
) -> tuple[Path, ...]:
    """Return files that `write` makes in a folder, from the cache or a folder of this process.

    `check` raises InvalidInputError for a file that has been damaged since: it is made again.

    Raises HostError where neither can be written.
    """
    folder = settings.cache_dir() / kind
    paths = tuple(folder / name for name in names)
    try:
        if paths[0].exists():
            check(paths[0])
            cache.mark_used(paths)
            return paths
    except InvalidInputError:
        with contextlib.suppress(OSError):
            paths[0].unlink()
    try:
        cache.make_folder(folder)
        with contextlib.suppress(OSError):
            # Another process drops them at the same time, or they are another user's.
            cache.drop_unused(folder, _MOST_KEPT_BYTES, _UNUSED_S)
        with cache.locked(folder / f"{names[0]}.lock"):
            if not paths[0].exists():
                cache.keep_all(paths, write)
        return paths
    except OSError:
        folder = _folder_of_this_process()
        paths = tuple(folder / name for name in names)
    try:
        if not paths[0].exists():
            write(folder)
    except OSError as error:
        for path in paths:
            path.unlink(missing_ok=True)
        raise file_io.host_error(error, paths[0]) from error
    return paths


@functools.cache
def _folder_of_this_process() -> Path:
    """Return a temporary folder that is removed when this process ends."""
    used = contextlib.ExitStack()
    atexit.register(used.close)
    from pibench.targets.sandbox import scratch  # noqa: PLC0415  (start-up time)

    return used.enter_context(scratch("weights"))
