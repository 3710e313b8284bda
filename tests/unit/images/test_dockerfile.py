"""The recipe for `docker build` and that of our own images ask for the same packages."""

from __future__ import annotations

import re

from pibench.images.recipe import load_recipe
from pibench.settings import asset

DOCKERFILE = asset("docker/Dockerfile").read_text()


def test_the_packages_are_the_recipes() -> None:
    installed = re.search(r"apt-get install -y --no-install-recommends (.*?);", joined(), re.S)
    assert installed is not None
    assert tuple(installed[1].split()) == load_recipe().both


def test_the_suite_and_architecture_are_the_recipes() -> None:
    suite = load_recipe().suite
    assert f"FROM --platform=linux/arm64 debian:{suite}-slim" in DOCKERFILE
    assert f"$DEBIAN_MIRROR {suite} main" in DOCKERFILE


def joined() -> str:
    """The Dockerfile with its continued lines made one."""
    return re.sub(r"\s*\\\n\s*", " ", DOCKERFILE)
