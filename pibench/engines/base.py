"""What an engine is: the program that runs a network, as the rest of pibench knows it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal, Self

from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pibench.engines.caffe.caffe_pb2 import LayerParameter
    from pibench.engines.caffe.shapes import Shapes
    from pibench.engines.caffe.topology import Source
    from pibench.engines.formats import Contents, FileFormat

Protocol = Literal["caffe-time", "inference"]
"""What is run: forward and backward as the paper does, or forward passes alone."""
Compute = Literal["real", "memory-only"]
"""Whether the engine computes, or only touches the memory that it would."""
ModelFormat = Literal["caffe", "onnx", "ncnn"]
PROGRAM: Final = "{program}"
"""Stands for the engine's program, with what a target needs to start it, in a command."""
PYTHON: Final = "{python}"
"""Stands for the target's Python in a command."""
OTHER_SIZES: Final = "these may not be sizes that it was made for: give others with --input"
"""The advice where a model whose file leaves sizes open does not run."""
LAYER_RTOL: Final = 1e-5
"""Builds of Caffe differ by at most a fifth of it (docs/outputs.md), other engines by a third."""
BAD_ALLOC: Final = re.compile(r"std::bad_alloc|MemoryError|[Cc]annot allocate memory")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine: its files, its program, and how its messages are understood.

    A second engine is an instance of this class, or of a subclass, and a probe module.

    Attributes:
        id: The name for `--engine` and in records: lower-case letters, digits and `_`.
        label: The name in messages.
        probe_module: The module that the probe loads in the target to start the engine and to
            read its log: see pibench/probe/engines/__init__.py for its functions. It imports
            only the probe and the standard library of Python 3.5.
        program: The path of its program in pibench's root file systems, such as
            `usr/bin/caffe`; the last part is the program's name on a machine that has its own.
            None for an engine that is a module of the target's Python.
        packages: Its Debian packages in pibench's images; empty if the images lack it.
        wheel: Its project in the Python package index, which pibench's images get beside the root
            file systems: see pibench/images/wheels.py. None if the images lack it.
        module: The module of Python to import, for an engine without a program.
        versions: The versions of the wheel that can be asked for; the first is the default.
        version: The version that was asked for; None for any.
        settings: The values of each of its settings that change what a network takes, the
            default first: `--engine NAME:SETTING=VALUE`.
        chosen: The settings that were asked for, with their values, in the order of `settings`.
        model_format: The format in which it gets a network of Caffe: prototxt and caffemodel, or
            what pibench/engines/convert writes of them. None if it runs no such network.
        file_formats: The formats of users' own model files that it reads.
        build_difference: The largest relative difference between the peaks of its builds for
            amd64 and arm64. The twin does not decide closer to the limit than this.
        install_hint: How to install it on a machine of one's own.
        protocols: The protocols that it can run; the first is its default.
        computes: The kinds of compute that it can do; memory-only needs OpenBLAS.
        calls_blas: Whether a BLAS computes for it, which can be another one than OpenBLAS.
        keeps_blobs: Whether it prints the blobs of the layers that a run is to keep.
        layer_settings: The settings, each as `NAME=VALUE`, with which it has the values of every
            layer, for `RunOptions.layer_values`; None if it cannot give them.
        layer_rtol: The tolerance with which `pibench bisect` compares its layers with others', a
            fraction of a blob's Euclidean norm.
        model_suffix: The ending of a model file's name.
        weights_suffix: The ending of a weights file's name.
        processes: The names of its processes in the kernel's log.
        advice: What to do about a message with which it rejects a model, by a part of the message.
        size_advice: The same for a model whose file does not have all sizes of its inputs.
        refused_allocation: Finds, in the message with which it ends, that it was refused
            memory. The first group, if any, is the size in bytes.
    """

    id: str
    label: str
    probe_module: Path
    program: str | None = None
    packages: tuple[str, ...] = ()
    wheel: str | None = None
    module: str | None = None
    versions: tuple[str, ...] = ()
    version: str | None = None
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    chosen: tuple[tuple[str, str], ...] = ()
    model_format: ModelFormat | None = "caffe"
    file_formats: tuple[FileFormat, ...] = ()
    build_difference: float = 0.0
    install_hint: str = ""
    protocols: tuple[Protocol, ...] = ("inference",)
    computes: tuple[Compute, ...] = ("real",)
    calls_blas: bool = True
    keeps_blobs: bool = True
    layer_settings: tuple[str, ...] | None = None
    layer_rtol: float = LAYER_RTOL
    model_suffix: str = ".prototxt"
    weights_suffix: str = ".caffemodel"
    processes: tuple[str, ...] = ("python3",)
    advice: Mapping[str, str] = field(default_factory=dict)
    size_advice: Mapping[str, str] = field(default_factory=dict)
    refused_allocation: re.Pattern[str] = BAD_ALLOC

    @property
    def program_name(self) -> str | None:
        """The program's name on a machine that has the engine installed."""
        return PurePosixPath(self.program).name if self.program else None

    @property
    def is_in_images(self) -> bool:
        """Whether pibench's images have it, in the root or beside it."""
        return bool(self.packages or self.wheel)

    @property
    def spec(self) -> str:
        """The engine as `--engine` takes it, with the version and the settings asked for."""
        version = "" if self.version is None else f"=={self.version}"
        return "".join([self.id, version, *(f":{name}={value}" for name, value in self.chosen)])

    @property
    def resolved(self) -> str:
        """The engine with the version that runs in pibench's images, and the settings asked for."""
        version = f"=={self.wheel_version}" if self.versions else ""
        return "".join([self.id, version, *(f":{name}={value}" for name, value in self.chosen)])

    @property
    def title(self) -> str:
        """The engine for people: its name, version and the settings asked for."""
        version = [self.wheel_version] if self.versions else []
        return ", ".join([" ".join([self.label, *version]), *map("=".join, self.chosen)])

    def reads(self, form: FileFormat | None) -> bool:
        """Return whether it reads files of a format; None is that of Caffe's networks."""
        return form in self.file_formats or (form is None and self.model_format is not None)

    @property
    def one_image(self) -> bool:
        """Whether its format has no batch."""
        return self.model_format == "ncnn"

    @property
    def wheel_version(self) -> str:
        """The version of its wheel that runs in pibench's images."""
        return self.version or self.versions[0]

    def at(self, version: str) -> Self:
        """Return the engine at a version; `4.6` stands for the newest that begins so.

        Raises:
            InvalidInputError: pibench has no such version.
        """
        for known in self.versions:
            if known == version or known.startswith(f"{version}."):
                return replace(self, version=known)
        have = ", ".join(self.versions)
        raise InvalidInputError(
            f"there is no version {version!r} of {self.label} here",
            hint=f"its versions are: {have}" if have else f"use --engine {self.id}",
        )

    def having(self, given: Sequence[str]) -> Self:
        """Return the engine with settings, each as `NAME=VALUE`.

        Raises:
            InvalidInputError: It has no such setting or value.
        """
        asked = dict(self.chosen)
        for text in given:
            name, _, value = text.partition("=")
            if value not in self.settings.get(name, ()):
                known = [f"{one}={'|'.join(values)}" for one, values in self.settings.items()]
                raise InvalidInputError(
                    f"{self.label} has no setting {text!r}",
                    hint=f"its settings are: {', '.join(known)}" if known else "leave it out",
                )
            asked[name] = value
        chosen = [(name, asked[name]) for name in self.settings if name in asked]
        # A default is as if it was not asked for.
        return replace(
            self, chosen=tuple(one for one in chosen if one[1] != self.settings[one[0]][0])
        )

    def recorded(self, version: str | None) -> str | None:
        """Return the version that it reports of itself with the settings, as records have it."""
        return ", ".join([version, *map("=".join, self.chosen)]) if version else version

    def made(self, engine: str, recorded: str | None) -> bool:
        """Return whether a record with these two fields is of this engine, as asked for."""
        version, *chosen = (recorded or "").split(", ")
        return (
            engine == self.id
            and chosen == ["=".join(one) for one in self.chosen]
            and (not self.wheel or (bool(version) and self.wheel_version.startswith(version)))
        )

    def trials(self, protocols: Iterable[Protocol]) -> list[list[str]]:  # noqa: ARG002
        """Return short commands that all succeed where the engine can run these protocols.

        In a command, PROGRAM and PYTHON stand for the engine's program and the target's Python.
        """
        if self.module is None:
            return [[PROGRAM if self.program else PYTHON, "--version"]]
        code = f"import {self.module} as module"
        if self.version is not None:
            # A wheel's version may have one number more than the module reports.
            code += (
                f"; found = module.__version__; {self.version!r}.startswith(found) or exit(found)"
            )
        return [[PYTHON, "-c", code]]

    def check(self, found: Shapes, place: str) -> None:
        """Check that the engine computes what Caffe does.

        Args:
            found: The network in its test phase.
            place: Its name in errors.

        Raises:
            InvalidInputError: It computes something else, or has no equal of a layer.
        """

    def adapted(self, prototxt: str, place: str, *, as_it_is: bool = False) -> str:  # noqa: ARG002
        """Return a network's prototxt as the engine reads it.

        Args:
            prototxt: The network.
            place: Its name in errors.
            as_it_is: Accept what the engine computes otherwise than Caffe.

        Raises:
            InvalidInputError: The engine would compute something else than Caffe, or cannot read
                a layer.
        """
        return prototxt

    def check_file(self, contents: Contents, place: str) -> None:
        """Check that the engine computes what a user's model file means.

        Args:
            contents: What the file declares.
            place: Its name in errors.

        Raises:
            InvalidInputError: It would compute something else, or cannot read the file.
        """

    def difference(self, layer: LayerParameter) -> str:  # noqa: ARG002
        """Return what the engine is known to compute otherwise for a layer; empty if nothing."""
        return ""

    def values_inside(self, found: Shapes) -> dict[Source, tuple[str, int]]:
        """Return the engine's layer, and the number of its top, for each blob that a layer writes.

        It is for engines that read Caffe's files; layers of type Input are left out.
        """
        return {
            (position, top): (layer.name, top)
            for position, layer in enumerate(found.layers)
            for top in range(len(layer.top))
            if layer.type != "Input"
        }

    def write_model(self, prototxt: str, path: Path) -> None:
        """Write the network to `path`, in the engine's own format."""
        path.write_text(prototxt, encoding="utf-8")

    def refused_bytes(self, message: str) -> int | None:
        """Return the size of the block that was refused; None if none was, or it is unknown."""
        found = self.refused_allocation.search(message)
        return int(found[1]) if found and found.re.groups and found[1] else None
