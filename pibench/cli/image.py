"""`pibench image`: build, list, verify, prune, lock."""

from __future__ import annotations

from typing import Annotated

import typer

from pibench.errors import EnvironmentFault, InvalidInputError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Kinds = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KIND...]", help="twin, sysroot, vm, carried. Default: all but carried."
    ),
]


@app.command()
def build(kinds: Kinds = None) -> None:
    """Build images that are not there yet.

    Example: pibench image build vm
    """
    from pibench.images.build import KINDS, Builder
    from pibench.images.store import Image

    wanted = kinds or [kind for kind in KINDS if kind != "carried"]
    for kind in wanted:
        if kind not in KINDS:
            raise InvalidInputError(
                f"there is no image called {kind}", hint=f"choose from {', '.join(KINDS)}"
            )
    builder = Builder(lambda step: typer.echo(step, err=True))
    makers = {
        "twin": builder.twin,
        "sysroot": builder.sysroot,
        "vm": builder.vm,
        "carried": builder.carried_image,
    }
    for kind in wanted:
        image: Image = makers[kind]()
        typer.echo(f"{kind} {image.key[:16]} {image.size_bytes / 1e6:.0f} MB {image.path}")


@app.command("list")
def list_images(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the images in the cache.

    Example: pibench image list --json
    """
    import json

    from pibench.images import store

    images = list(store.images())
    if as_json:
        typer.echo(json.dumps([store.as_json(image) for image in images], indent=2))
        return
    if not images:
        typer.echo("no images yet; build them: pibench image build", err=True)
        return
    current = _current_keys()
    typer.echo(f"{'kind':16} {'key':16} {'MB':>6}  {'built':25}  recipe")
    for image in images:
        state = "current" if (image.kind, image.key) in current else "outdated"
        typer.echo(
            f"{image.kind:16} {image.key[:16]} {image.size_bytes / 1e6:6.0f}  "
            f"{image.created}  {state}"
        )


@app.command()
def verify() -> None:
    """Check every image in the cache, byte for byte, against what was built.

    Example: pibench image verify
    """
    from pibench.images import store

    broken = []
    for image in store.images():
        whole = store.verify(image)
        typer.echo(f"{image.kind:12} {image.key[:16]} {'whole' if whole else 'CHANGED'}")
        if not whole:
            broken.append(image)
    if broken:
        raise EnvironmentFault(
            f"{len(broken)} image(s) are not what was built, the first is {broken[0].path}",
            hint="remove them and build anew: pibench image prune --all; pibench image build",
        )


@app.command()
def prune(
    everything: Annotated[
        bool, typer.Option("--all", help="Remove the current images too.")
    ] = False,
) -> None:
    """Remove images that the current recipe no longer makes, and what broken builds left.

    Example: pibench image prune
    """
    from pibench.images import store

    removed = store.prune(set() if everything else _current_keys())
    for path in removed:
        typer.echo(f"removed {path}")
    if not removed:
        typer.echo("nothing to remove", err=True)


def _current_keys() -> set[tuple[str, str]]:
    """Kind and key of every image that today's recipes make."""
    from pibench.images import other_blas
    from pibench.images.build import KINDS, Builder
    from pibench.images.counter import API_VERSIONS

    builder = Builder()
    counters = (f"counter-{api}" for api in API_VERSIONS)
    kinds = (*KINDS, "blas-arm64", "blas-amd64", *other_blas.kinds(), *counters)
    return {(kind, builder.key(kind)) for kind in kinds}


@app.command()
def lock() -> None:
    """Pin the package versions that the mirror holds now (for maintainers).

    Writes docker/rootfs.lock.json and docker/blas.lock.json of a checkout.

    Example: pibench image lock
    """
    import tempfile
    from pathlib import Path

    from pibench.images import other_blas
    from pibench.images.recipe import ARCHITECTURES, ROOTFS_LOCK, load_recipe, write_lock
    from pibench.images.rootfs import resolve

    recipe = load_recipe()
    for name, alone in ((ROOTFS_LOCK, ()), (other_blas.LOCK, other_blas.packages())):
        packages = {}
        for architecture in ARCHITECTURES:
            typer.echo(f"fetching the packages of {name} for {architecture}", err=True)
            with tempfile.TemporaryDirectory(prefix="pibench-lock-") as work:
                packages[architecture] = resolve(recipe, architecture, Path(work), alone=alone)
        typer.echo(f"wrote {write_lock(packages, name)}")
