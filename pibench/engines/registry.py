"""The engines by name: pibench's own, and those of installed packages.

A package offers an engine as an entry point of the group `pibench.engines`:

    [project.entry-points."pibench.engines"]
    tengine = "my_package:TENGINE"
"""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata
from typing import Final

from pibench.engines.base import Engine
from pibench.engines.caffe import CAFFE
from pibench.engines.formats import FileFormat
from pibench.engines.litert import LITERT
from pibench.engines.ncnn import NCNN
from pibench.engines.onnxruntime import ONNXRUNTIME
from pibench.engines.opencv import OPENCV
from pibench.errors import InvalidInputError

GROUP: Final = "pibench.engines"
_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,30}\Z")
BUILT_IN: Final[tuple[Engine, ...]] = (CAFFE, OPENCV, ONNXRUNTIME, NCNN, LITERT)
_registered: dict[str, Engine] = {}


def register(engine: Engine) -> None:
    """Make an engine available in this process, under its id.

    Raises:
        InvalidInputError: The id is not valid, or another engine has it.
    """
    if not _ID.match(engine.id):
        raise InvalidInputError(
            f"an engine cannot be called {engine.id!r}",
            hint="use lower-case letters, digits and _",
        )
    if _registered.setdefault(engine.id, engine) != engine:
        raise InvalidInputError(
            f"there are two engines called {engine.id}", hint="rename or uninstall one of them"
        )


def names() -> list[str]:
    """Return the ids of all engines, Caffe's first."""
    _load_entry_points()
    return list(_registered)


def with_wheels() -> list[Engine]:
    """Return each version of pibench's own engines that its images get as wheels."""
    own = [engine for engine in BUILT_IN if engine.wheel]
    return [engine.at(version) for engine in own for version in engine.versions]


def engine_of(spec: str) -> Engine:
    """Return the engine that `spec` means: an id such as `opencv`, a version, settings.

    The whole form is `opencv==4.6.0:winograd=off`.

    Raises:
        InvalidInputError: There is none, or its package cannot be loaded.
    """
    named, *settings = spec.split(":")
    name, separator, version = named.partition("==")
    if name not in _registered:
        _load_entry_points()
    if name not in _registered:
        known, is_single, version = spec.partition("=")
        hint = f"the engines are: {', '.join(_registered)}"
        if is_single and known in _registered:
            hint = f"did you mean {known}=={version}?"
        raise InvalidInputError(f"there is no engine {name!r}", hint=hint)
    engine = _registered[name].at(version) if separator else _registered[name]
    return engine.having(settings) if settings else engine


def readers(form: FileFormat | None) -> list[Engine]:
    """Return the engines that read model files of a format; None is a network of Caffe.

    The first is the default for such a file.
    """
    _load_entry_points()
    if form is None:
        return [engine for engine in _registered.values() if engine.model_format is not None]
    found = [engine for engine in _registered.values() if form in engine.file_formats]
    # Those that get Caffe's own files were made for Caffe first.
    return sorted(found, key=lambda engine: engine.model_format == "caffe")


def spec_of(engine: str, recorded: str | None) -> str:
    """Return the engine of a record as `--engine` takes it.

    Args:
        engine: The record's `engine`.
        recorded: Its `engine_version`: a version and settings, such as `4.14.0, winograd=off`.
    """
    if engine == CAFFE.id or recorded is None:
        return engine
    return f"{engine}=={recorded.replace(', ', ':')}"


def label_of(spec: str) -> str:
    """Return the engine's name for messages; the id for an engine that is not installed here."""
    name = re.split("==|:", spec, maxsplit=1)[0]
    return _registered[name].label if name in _registered else name


def has_own_kernels(name: str) -> bool:
    """Return whether an engine is known to compute without a BLAS; False if it is unknown here."""
    return name in _registered and not _registered[name].calls_blas


def is_refused_allocation(name: str, message: str) -> bool:
    """Return whether an engine's last message reports a failed allocation, not a model error."""
    return bool(_known(name).refused_allocation.search(message))


def refused_bytes(name: str, message: str) -> int | None:
    """Return the size of the block in such a message; None if there is none."""
    return _known(name).refused_bytes(message)


def advice_for(name: str, message: str, *, open_sizes: bool = False) -> str | None:
    """Return what to do about a message with which an engine rejects a model; None if unknown.

    `open_sizes` is whether the model's file does not have all sizes of its inputs.
    """
    engine = _known(name)
    known = {**engine.advice, **(engine.size_advice if open_sizes else {})}
    return next((hint for part, hint in known.items() if part in message), None)


def build_difference(name: str) -> float:
    """Return the relative difference between the peaks of an engine's builds, 0 if unknown."""
    return _known(name).build_difference


def _known(name: str) -> Engine:
    """Return the engine; Caffe for one that is not installed, whose messages may be alike."""
    try:
        return engine_of(name)
    except InvalidInputError:
        return CAFFE


@cache
def _load_entry_points() -> None:
    for point in metadata.entry_points(group=GROUP):
        try:
            engine = point.load()
        except Exception as error:
            raise InvalidInputError(
                f"the engine {point.name} ({point.value}) cannot be loaded: {error}",
                hint="repair or uninstall its package",
            ) from error
        if not isinstance(engine, Engine):
            raise InvalidInputError(
                f"the engine {point.name} ({point.value}) is not a pibench.engines.base.Engine",
                hint="repair or uninstall its package",
            )
        register(engine)


for _engine in BUILT_IN:
    register(_engine)
