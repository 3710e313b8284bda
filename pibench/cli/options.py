"""Options that several commands share, each defined once: its name, its values, its help."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from pibench import devices, target_kinds

_TARGETS: Final = ("auto", *(kind.name for kind in target_kinds.built_in() if not kind.address))
LONGEST_S: Final = 10**7
"""The largest time limit of a run: four months, and within the range of system clocks."""

Machine = Literal["virt", "raspi3b"]
Compute = Literal["real", "memory-only"]
Protocol = Literal["caffe-time", "inference"]
Blas = Literal["openblas", "reference", "atlas"]
BLAS_NAMES: Final = ("openblas", "reference", "atlas")


def flag(*names: str, help: str, **more: Any) -> Any:  # noqa: A002  (Typer's own name for it)
    """Define an option without a value; its help line does not show `<bool>`."""
    return typer.Option(*names, help=help, metavar="", **more)


def finite(number: float | None) -> float | None:
    """Return a number that JSON can represent. Raises typer.BadParameter for infinity and NaN."""
    if number is not None and not isfinite(number):
        raise typer.BadParameter(f"{number} is no finite number")
    return number


def target_spec(text: str) -> str:
    """Validate a target as given on the command line.

    Raises:
        typer.BadParameter: for anything else.
    """
    if text in _TARGETS or target_kinds.kind_of_spec(text).installed:
        return text
    if (reason := target_kinds.failure(text)) is not None:
        raise typer.BadParameter(f"the plugin of target {text!r} cannot be loaded: {reason}")
    raise typer.BadParameter(f"{text!r} is none of auto, {', '.join(target_kinds.choices())}")


def _completions(incomplete: str) -> list[str]:
    schemes = (kind.scheme or kind.name for kind in target_kinds.installed())
    return [name for name in ("auto", *schemes) if name.startswith(incomplete)]


Specs = Annotated[
    list[str], typer.Argument(metavar="NETWORK|PROTOTXT...", help="Names or prototxt files.")
]
DeviceName = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", help=f"The device to judge for: {', '.join(devices.names())}."
    ),
]
TargetSpec = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="TARGET",
        parser=target_spec,
        autocompletion=_completions,
        help=f"Where to run: {', '.join(_TARGETS)} (the best that works here: auto).",
    ),
]
MachineName = Annotated[
    Machine | None,
    typer.Option(
        "--machine",
        help="The emulated machine of target vm. Default: virt.",
        metavar="virt|raspi3b",
        show_default=False,
    ),
]
Identity = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        metavar="FILE",
        help="The private key for an ssh:// target. Default: ssh's own choice.",
        show_default=False,
    ),
]
RemoteDir = Annotated[
    str | None,
    typer.Option(
        "--remote-dir",
        metavar="FOLDER",
        help="Where files lie on an ssh:// target. Default: ~/.cache/pibench there.",
        show_default=False,
    ),
]
ComputeName = Annotated[
    Compute | None,
    typer.Option(
        "--compute",
        metavar="real|memory-only",
        help="Default: memory-only where that serves, real elsewhere.",
        show_default=False,
    ),
]
ProtocolName = Annotated[
    Protocol,
    typer.Option(
        "--protocol",
        metavar="NAME",
        help="caffe-time: the paper's, forward and backward. inference: forward.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", min=0, max=2**32 - 1, help="Of the input, and of weights not given."
    ),
]
BlasName = Annotated[
    Blas,
    typer.Option(
        "--blas",
        metavar="|".join(BLAS_NAMES),
        help="What Caffe computes with.",
    ),
]
Batch = Annotated[
    int | None,
    typer.Option("--batch", metavar="N", help="Images per pass.", show_default=False),
]
ImageSize = Annotated[
    str | None,
    typer.Option("--input", metavar="HxW", help="Another image size.", show_default=False),
]
Repair = Annotated[bool, flag("--repair", help="Mend what stock Caffe would refuse, and say so.")]
RequireFit = Annotated[bool, flag("--require-fit", help="Exit with 1 unless every network fits.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        max=64,
        help="Networks at once. Default: one per core.",
        show_default=False,
    ),
]
CasesOut = Annotated[
    list[Path] | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        show_default=False,
        help="For CI: write a Markdown summary (.md) or JUnit test cases (.xml); may be repeated.",
    ),
]
EqualNan = Annotated[
    bool, flag("--equal-nan", help="NaN equals NaN, and an infinity that of its sign.")
]
Quiet = Annotated[bool, flag("--quiet", "-q", help="No progress.")]
AsJson = Annotated[bool, flag("--json", help="Print JSON instead of a table.")]
