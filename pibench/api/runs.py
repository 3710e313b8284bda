"""Run networks, here or on a board that a bundle is carried to."""

# ruff: noqa: PLC0415  (start-up time: see pibench/api/__init__.py)

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Unpack

    from pibench.bundle.kit import Kit
    from pibench.networks.model_file import Runnable
    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.records.store import RecordStore
    from pibench.runner.options import RunKeywords, RunOptions
    from pibench.targets.base import Progress


def run(
    these: Runnable | str | Path | Sequence[Runnable | str | Path],
    *,
    out: Path | str | None = None,
    on_record: Callable[[Record], None] = lambda _: None,
    **options: Unpack[RunKeywords],
) -> list[Record]:
    """Run one or more networks on a target and return their records in the given order.

    Args:
        these: Networks, names in the zoo, paths of prototxts or of `.onnx` and `.tflite` files; a
            single one is accepted too.
        out: A file to which each record is appended as soon as it is made.
        on_record: Called with each record as soon as it is made.
        options: The fields of `pibench.runner.options.RunOptions`. `weights`, `batch`,
            `input_size`, `shapes` and `repair` apply to names and paths.
    """
    from pibench.engines.registry import engine_of
    from pibench.records.store import RecordStore
    from pibench.runner.options import RunOptions, default_engine

    these = several(these)
    if "engine" not in options and (files := other_model_files(these)):
        options["engine"] = default_engine(files)
    if "engine" in options:
        options.setdefault("protocol", engine_of(options["engine"]).protocols[0])
    store = RecordStore(out) if out is not None else None
    if store is not None:
        store.prepare()
    chosen = RunOptions(**options)
    return run_all(_runnable(these, chosen), choose(chosen), store=store, on_record=on_record)


def run_all(
    loaded: Sequence[Runnable],
    options: RunOptions,
    *,
    store: RecordStore | None = None,
    on_record: Callable[[Record], None] = lambda _: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    log: Callable[[str], None] = lambda _: None,
) -> list[Record]:
    """Run loaded networks with given options, as `run` does.

    Args:
        loaded: The networks.
        options: The options; their target must not be `auto` (see `choose`).
        store: Where each record is appended.
        on_record: Called with each record as soon as it is made.
        on_progress: Called with each progress report of the target.
        log: Called with a line about each one-time step, such as building an image.

    Raises:
        InvalidInputError: A network or an option cannot be used.
        HostError: The target does not work here, or an image is damaged.
    """
    from pibench.errors import HostError
    from pibench.images import store as images
    from pibench.images.build import Builder
    from pibench.runner.reference import Reference
    from pibench.runner.runner import Runner
    from pibench.target_kinds import kind_of

    builder = Builder(log)
    target = options.make_target(builder)
    runner = Runner(
        target=target,
        options=options,
        store=store,
        reference=Reference(builder) if kind_of(target.name).cut_short else None,
        on_record=on_record,
        on_progress=on_progress,
    )
    try:
        records = runner.run(loaded)
    except HostError as error:
        if damaged := images.discard_damaged(images.images(), by_size=True):
            raise HostError(
                f"damaged on the disk: the image {' and '.join(damaged)} ({error.message})",
                hint="run it again, which builds a new one; who owns a read-only cache: "
                "pibench image prune --all",
            ) from error
        raise
    if any(map(_may_be_of_a_damaged_image, records)):
        for kind in images.discard_damaged(images.images()):
            warnings.warn(
                f"the image {kind} was damaged on the disk: run it again, which builds a new one",
                stacklevel=2,
            )
    return records


def _may_be_of_a_damaged_image(record: Record) -> bool:
    """Return whether the process died of something that neither it nor the kernel explains."""
    return record.verdict == "inconclusive" and not (
        record.evidence.fatal_message or record.evidence.timed_out
    )


def choose(options: RunOptions, log: Callable[[str], None] = lambda _: None) -> RunOptions:
    """Replace the target `auto` by a target that works here, and report the reason to `log`."""
    if options.target != "auto":
        return options
    from pibench import diagnosis

    chosen = diagnosis.choose(options.profile, options.compute)
    log(f"target {chosen.target}: {chosen.reason}")
    return replace(options, target=chosen.target)


def bundle(
    these: Network | str | Path | Sequence[Network | str | Path],
    out: Path | str,
    *,
    with_caffe: bool = False,
    log: Callable[[str], None] = lambda _: None,
    **options: Unpack[RunKeywords],
) -> Kit:
    """Pack one or more networks into a .tar.gz that a board runs with `python3 run.py`.

    Args:
        these: Networks, names in the zoo or paths of prototxts.
        out: The archive to write.
        with_caffe: Include a root file system with Caffe.
        log: Called with a line about each one-time step, such as building an image.
        options: Those of `run` that apply on a board: device, protocol, repeats, threads,
            timeout_s, seed, and those to read networks.
    """
    from pibench.bundle.kit import write_kit
    from pibench.images.build import Builder
    from pibench.runner.options import RunOptions

    builder = Builder(log)
    root = builder.carried() if with_caffe else None
    chosen = RunOptions(**options)
    return write_kit(_networks(these, chosen), chosen, Path(out), root=root, builder=builder)


def import_results(
    path: Path | str, *, kit: Path | str | None = None, out: Path | str | None = None
) -> list[Record]:
    """Return the records of a board's results.

    Args:
        path: The results.
        kit: The bundle they came from; required if it was not made on this machine.
        out: A record file; records that it does not have yet are appended.
    """
    from pibench.bundle.results import import_results as imported
    from pibench.records.store import RecordStore

    store = RecordStore(out) if out is not None else None
    return list(imported(Path(path), kit=Path(kit) if kit else None, store=store).records)


def _networks(
    these: Network | str | Path | Sequence[Network | str | Path], options: RunOptions
) -> list[Network]:
    from pibench.networks.network import Network

    several = [these] if isinstance(these, (str, Path, Network)) else these
    return [one if isinstance(one, Network) else options.load(one) for one in several]


def _runnable(
    these: Runnable | str | Path | Sequence[Runnable | str | Path], options: RunOptions
) -> list[Runnable]:
    return [
        options.load_any(one) if isinstance(one, (str, Path)) else one for one in several(these)
    ]


def several(
    these: Runnable | str | Path | Sequence[Runnable | str | Path],
) -> Sequence[Runnable | str | Path]:
    """Return one or more networks as a list; a str is iterable too, of characters."""
    from pibench.networks.model_file import ModelFile
    from pibench.networks.network import Network

    return [these] if isinstance(these, (str, Path, Network, ModelFile)) else list(these)


def other_model_files(
    these: Runnable | str | Path | Sequence[Runnable | str | Path],
) -> list[str | Path]:
    """Return the paths of model files, loaded ones too, that are not of Caffe."""
    from pibench.engines.formats import format_of

    paths = [one if isinstance(one, (str, Path)) else one.source for one in several(these)]
    return paths if any(map(format_of, paths)) else []
