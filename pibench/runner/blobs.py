"""Whole blobs that a run transferred, as an npz file for numpy."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pibench.errors import HostError
from pibench.records.schema import KeptBlobs

if TYPE_CHECKING:
    import numpy as np

    from pibench.targets.base import KeptBlob, Outcome


def dump_blobs(outcome: Outcome, stem: str, folder: Path) -> KeptBlobs | None:
    """Write the outcome's blobs into `folder`; return None if none were requested or none arrived.

    The file's name contains its SHA-256, so that other values never overwrite it.
    Raises HostError if it cannot be written.
    """
    from pibench.images.recipe import file_sha256  # noqa: PLC0415  (start-up time)

    if not outcome.kept:
        return None
    arrays = as_arrays(outcome.kept)
    partial = folder / f".{stem}.partial.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_npz(partial, arrays)
        sha256 = file_sha256(partial)
        path = folder / f"{stem}-{sha256[:12]}.npz"
        partial.rename(path)
    except OSError as error:
        raise HostError(
            f"{folder}: the blobs were not written: {error.strerror or error}",
            hint="give a folder on a disk with room: --blobs-dir",
        ) from error
    came = {blob.layer for blob in outcome.kept}
    return KeptBlobs(
        file=path.name,
        sha256=sha256,
        blobs=tuple(arrays),
        missing=tuple(layer for layer in outcome.job.keep if layer not in came),
    )


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays for `numpy.load`: the same bytes for the same arrays.

    `numpy.savez` takes names as keyword arguments, some of which it uses itself.
    """
    import numpy as np  # noqa: PLC0415  (start-up time)

    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            # Without a date, a member has that of 1980.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def as_arrays(blobs: tuple[KeptBlob, ...]) -> dict[str, np.ndarray]:
    """Return the blobs by the layer's name, with the blob's name where a layer wrote several."""
    tops = Counter(blob.layer for blob in blobs)
    return {
        blob.layer if tops[blob.layer] == 1 else f"{blob.layer}:{blob.name}": as_array(blob)
        for blob in blobs
    }


def as_array(blob: KeptBlob) -> np.ndarray:
    """Return one blob's values, float32."""
    import numpy as np  # noqa: PLC0415  (start-up time)

    return np.frombuffer(blob.content, dtype="<f4").reshape(blob.shape)
