"""The images that a study runs, looked at byte for byte before hours are spent on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from pibench.images import store
from pibench.images.build import Builder

USED: Final = {
    "vm": ("vm", "twin"),
    "container": ("sysroot", "twin"),
    "sysroot": ("sysroot", "twin"),
    "twin": ("twin",),
}
"""Kinds of image by target; the twin is asked for the peak of what is killed."""


def mend(targets: Iterable[str], tell: Callable[[str], None]) -> None:
    """Discard images in which a bit has changed since they were built; `tell` hears of it.

    The first cell that needs one builds it anew. What is not built yet is passed over.
    """
    builder = Builder()
    for kind in dict.fromkeys(kind for target in targets for kind in USED.get(target, ())):
        image = store.find(kind, builder.key(kind))
        if image is not None and not store.verify(image):
            store.discard(image)
            tell(f"the image {kind} was damaged on the disk: it is built anew")
