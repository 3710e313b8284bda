"""`pibench image`: build, list, verify, prune, save, load, lock."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pibench.cli import options as opt
from pibench.cli.output import Progress, for_terminal, print_json, print_line
from pibench.errors import ExitCode, HostError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pibench.images.image_file import Loaded, Loading, Manifest, SavedImage
    from pibench.images.store import Image

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Kinds = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KIND...]",
        help="twin, sysroot, vm, carried, blas-arm64, blas-amd64, another BLAS, such as "
        "atlas-blas-arm64, or an engine, such as opencv-4.6.0.66-arm64. Default: the first three, "
        "and blas where a compiler is.",
    ),
]


@app.command()
def build(kinds: Kinds = None) -> None:
    """Build images that do not exist yet.

    Example: pibench image build vm
    """
    from pibench.images.build import BLAS_KINDS, KINDS, Builder
    from pibench.images.build import kinds as all_kinds

    known = all_kinds()
    for kind in kinds or ():
        if kind not in known:
            raise InvalidInputError(
                f"there is no image called {kind}", hint=f"choose from {', '.join(known)}"
            )
    builder = Builder(lambda step: typer.echo(step, err=True))
    for kind in kinds or [kind for kind in (*KINDS, *BLAS_KINDS) if kind != "carried"]:
        try:
            image = builder.image(kind)
        except HostError as error:
            if kinds or kind not in BLAS_KINDS:
                raise
            typer.echo(f"without {kind}: {error.line()}", err=True)
            continue
        typer.echo(f"{kind} {image.key[:16]} {image.size_bytes / 1e6:.0f} MB {image.path}")


@app.command("list")
def list_images(as_json: opt.AsJson = False) -> None:
    """List the images in the cache.

    Example: pibench image list --json
    """
    from pibench.images import store

    images = list(store.images())
    if as_json:
        print_json([store.as_json(image) for image in images])
        return
    if not images:
        typer.echo("no images yet; build them: pibench image build", err=True)
        return
    current = _current_keys()
    typer.echo(f"{'kind':26} {'key':16} {'MB':>6}  {'built (UTC)':16}  recipe")
    for image in images:
        state = "current" if (image.kind, image.key) in current else "outdated"
        typer.echo(
            f"{image.kind:26} {image.key[:16]} {image.size_bytes / 1e6:6.0f}  "
            f"{image.created[:16].replace('T', ' ')}  {state}"
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
        typer.echo(f"{image.kind:26} {image.key[:16]} {'whole' if whole else 'CHANGED'}")
        if not whole:
            broken.append(image)
    if broken:
        raise HostError(
            f"{len(broken)} image(s) differ from what was built, the first is {broken[0].path}",
            hint="remove them and build again: pibench image prune --all; pibench image build",
        )


@app.command()
def prune(
    everything: bool = typer.Option(False, "--all", help="Remove the current images too."),
) -> None:
    """Remove images that the current recipe does not produce, and leftovers of failed builds.

    Example: pibench image prune
    """
    from pibench.images import store

    removed = store.prune(set() if everything else _current_keys())
    for path in removed:
        print_line(f"removed {path}")
    if not removed:
        typer.echo("nothing to remove", err=True)


@app.command()
def save(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to write; - is standard output.")
    ],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            help="Kinds as `image list` has them, or KIND-KEY. Default: all current ones, "
            "without counters: they are made for this machine's QEMU.",
        ),
    ] = None,
    quiet: opt.Quiet = False,
    as_json: opt.AsJson = False,
) -> None:
    """Save images as one file, for a machine that cannot build them.

    The same images give the same file. Exit codes: 0 saved, 2 no such image, 3 the environment.

    Example: pibench image save images.tar.gz twin vm blas-arm64
    """
    from pibench.file_io import writing_whole
    from pibench.images import image_file, store

    to_pipe = str(file) == "-"
    if to_pipe and (as_json or sys.stdout.isatty()):
        raise InvalidInputError(
            "images cannot go to standard output: it is a terminal, or --json goes there",
            hint="name a file, or redirect the output",
        )
    if not to_pipe and not file.suffix and file.name in {image.kind for image in store.images()}:
        raise InvalidInputError(
            f"{file} is the name of an image; the file to write comes first",
            hint=f"pibench image save images.tar.gz {file}",
        )
    images = _chosen(names or [])
    total_mb = sum(image.size_bytes for image in images) // 10**6
    with Progress(total_mb, quiet=quiet) as progress:
        progress.log(f"saving {', '.join(image.kind for image in images)}: {total_mb} MB")
        try:
            with writing_whole(Path("/dev/stdout") if to_pipe else file) as stream:
                manifest = image_file.save(images, stream, _in_megabytes(progress))
        except BrokenPipeError:
            # Unlike a table cut by `| head`, a partial archive is useless.
            raise HostError(
                "standard output: its reader ended before it read all images",
                hint="look at what that reader reported",
            ) from None
    if as_json:
        print_json({"file": str(file), **manifest.model_dump()})
    elif not to_pipe:
        _print_saved(file, manifest)


@app.command()
def load(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file of `image save`; - is standard input.")
    ],
    quiet: opt.Quiet = False,
    as_json: opt.AsJson = False,
) -> None:
    """Load saved images into the cache: all that this pibench can use, or nothing.

    Exit codes: 0 the cache has all images of the file, 1 some are for another pibench and were
    left out, 2 the file is damaged or does not contain images, 3 the environment.

    Example: pibench image load images.tar.gz
    """
    from dataclasses import asdict

    from pibench import file_io
    from pibench.images import image_file

    source = Path("/dev/stdin") if str(file) == "-" else file
    with (
        file_io.open_input(source, hint="give a file of pibench image save") as stream,
        Progress(0, quiet=quiet) as progress,
    ):
        progress.log(f"loading {source}")
        loading = image_file.load(
            source, stream, dict(_current_keys()).get, _in_megabytes(progress)
        )
    if as_json:
        print_json({"file": str(file), **asdict(loading)})
    else:
        for one in loading.images:
            typer.echo(for_terminal(_outcome(one, loading), sys.stdout))
    if any(one.state == "other" for one in loading.images):
        raise typer.Exit(ExitCode.DISAGREEMENT)


def _chosen(names: list[str]) -> list[Image]:
    """Return the images to save. Raises InvalidInputError for an unknown name."""
    from pibench.images import store

    there = list(store.images())
    current = _current_keys()
    usable = [image for image in there if (image.kind, image.key) in current]
    if not names:
        # Others are of this machine: they fit its C library, or its QEMU.
        chosen = [image for image in usable if not image.kind.startswith(("counter-", "boot"))]
        if not chosen:
            raise HostError(
                "the cache has no current images to save", hint="build them: pibench image build"
            )
        return chosen
    found = []
    for name in dict.fromkeys(names):
        # An outdated image must be named explicitly: pibench runs another image of its kind.
        matching = [image for image in usable if image.kind == name]
        matching += [image for image in there if store.name_of(image) == name]
        if not matching:
            have = ", ".join(store.name_of(image) for image in there) or "nothing"
            raise InvalidInputError(
                f"the cache has no current image called {name}",
                hint=f"it has {have}; build others: pibench image build",
            )
        found += [image for image in matching if image not in found]
    return found


def _in_megabytes(progress: Progress) -> Callable[[int, int], None]:
    return lambda done, total: progress.show(done // 10**6, total // 10**6)


def _print_saved(file: Path, manifest: Manifest) -> None:
    for one in manifest.images:
        typer.echo(_described(one))
    if file.is_file():
        print_line(f"wrote {file}, {file.stat().st_size / 1e6:.0f} MB")


def _described(one: Loaded | SavedImage) -> str:
    return f"{one.kind:26} {one.key[:16]} {one.size_bytes / 1e6:6.0f} MB"


def _outcome(one: Loaded, loading: Loading) -> str:
    """Describe the result for one image on a line."""
    from pibench._version import __version__

    if one.state != "other":
        return f"{_described(one)}  {'added' if one.state == 'added' else 'there already'}"
    expected = f"builds key {one.expected_key[:16]}" if one.expected_key else "has no such image"
    return (
        f"{_described(one)}  not loaded: the file, of pibench {loading.pibench_version} on "
        f"{loading.architecture}, has key {one.key[:16]}; this pibench {__version__} {expected}"
    )


def _current_keys() -> set[tuple[str, str]]:
    """Return kind and key of every image that the current recipes produce."""
    from pibench.images.build import API_VERSIONS, Builder, kinds
    from pibench.targets.vm import snapshot

    builder = Builder()
    counters = (f"counter-{api}" for api in API_VERSIONS)
    current = {(kind, builder.key(kind)) for kind in (*kinds(), *counters)}
    return current | snapshot.current(builder.key("vm"))


@app.command()
def lock() -> None:
    """Pin the package versions that the mirror currently offers (for maintainers).

    Writes the files docker/*.lock.json of a checkout.

    Example: pibench image lock
    """
    import tempfile

    from pibench.images import blas, layers, wheels
    from pibench.images.recipe import ARCHITECTURES, ROOTFS_LOCK, load_recipe, write_lock
    from pibench.images.rootfs import resolve

    recipe = load_recipe()
    locks = {ROOTFS_LOCK: (), blas.LOCK: blas.packages(), layers.LOCK: layers.packages()}
    for name, alone in locks.items():
        packages = {}
        for architecture in ARCHITECTURES:
            typer.echo(f"fetching the packages of {name} for {architecture}", err=True)
            with tempfile.TemporaryDirectory(prefix="pibench-lock-") as work:
                date, packages[architecture] = resolve(
                    recipe, architecture, Path(work), alone=alone
                )
        typer.echo(f"wrote {write_lock(packages, date, name)}")
    typer.echo("fetching the wheels of the engines", err=True)
    with tempfile.TemporaryDirectory(prefix="pibench-lock-") as work:
        typer.echo(f"wrote {wheels.write_lock(wheels.resolve(Path(work)))}")
