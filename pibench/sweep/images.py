"""Verify the images of a study byte for byte before a run of hours."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pibench.images import store
from pibench.images.build import Builder
from pibench.target_kinds import kind_of_spec


def mend(targets: Iterable[str], tell: Callable[[str], None]) -> None:
    """Discard images that have changed since they were built, and report each to `tell`.

    The first cell that needs such an image builds it again. Images not built yet are skipped.
    """
    builder = Builder()
    for kind in dict.fromkeys(kind for target in targets for kind in kind_of_spec(target).images):
        image = store.find(kind, builder.key(kind))
        if image is not None and not store.verify(image):
            store.discard(image)
            tell(f"the image {kind} was damaged on the disk: it is built anew")
