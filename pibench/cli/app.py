"""`pibench` and its commands."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pibench.cli import image, latency, networks
from pibench.errors import EnvironmentFault, InterruptedByUserError


class Commands(TyperGroup):
    """Commands whose interruption is said in our words, and no fault where a reader has gone."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise InterruptedByUserError("interrupted", hint="what was recorded is kept") from None
        except BrokenPipeError:
            # `| head` has read enough. Python would complain once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None
        except OSError as error:
            # A full disk, say, in whatever file it hit.
            place = f"{error.filename}: " if error.filename else ""
            raise EnvironmentFault(
                f"{place}{error.strerror or error}",
                hint="check the space and rights there; TMPDIR names another temporary folder",
            ) from error


app = typer.Typer(
    name="pibench",
    cls=Commands,
    help="Run, measure and cross-check Caffe networks for a Raspberry Pi 3, "
    "with or without the board.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(networks.app, name="networks", help="The networks of the paper, and their files.")
app.add_typer(image.app, name="image", help="The images that emulated targets run.")


class TargetName(StrEnum):
    """Where networks run."""

    AUTO = "auto"
    VM = "vm"
    CONTAINER = "container"
    SYSROOT = "sysroot"
    TWIN = "twin"
    NATIVE = "native"


class MachineName(StrEnum):
    """The emulated machine of target vm."""

    VIRT = "virt"
    RASPI3B = "raspi3b"


class ComputeName(StrEnum):
    """Whether the arithmetic is done, or only the memory touched."""

    REAL = "real"
    MEMORY_ONLY = "memory-only"


class ProtocolName(StrEnum):
    """What is run of a network."""

    CAFFE_TIME = "caffe-time"
    INFERENCE = "inference"


Target = Annotated[TargetName, typer.Option(help="Where to run. auto: the best that works here.")]
Machine = Annotated[
    MachineName | None,
    typer.Option(help="The emulated machine of target vm. Default: virt.", show_default=False),
]
Compute = Annotated[
    ComputeName | None,
    typer.Option(
        help="Default: memory-only where that serves, real elsewhere.", show_default=False
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1, max=64, help="Networks at once. Default: one per core.", show_default=False
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _version(wanted: bool) -> None:
    if wanted:
        from pibench import __version__

        typer.echo(f"pibench {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    _version_flag: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    specs: Annotated[
        list[str], typer.Argument(metavar="NETWORK|PROTOTXT...", help="Names or prototxt files.")
    ],
    weights: Annotated[
        Path | None, typer.Option(help="The network's .caffemodel (one network only).")
    ] = None,
    device: Annotated[str, typer.Option(help="The device to judge for.")] = "rpi3b",
    target: Target = TargetName.VM,
    machine: Machine = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(help="caffe-time: the paper's, forward and backward. inference: forward."),
    ] = ProtocolName.CAFFE_TIME,
    batch: Annotated[int | None, typer.Option(help="Images per pass.", show_default=False)] = None,
    compute: Compute = None,
    repeats: Annotated[int, typer.Option(min=1, max=10000, help="Timed inference passes.")] = 5,
    threads: Annotated[
        int | None, typer.Option(min=1, max=64, help="BLAS threads. Default: the device's cores.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=1, help="Seconds that one network may take.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Append the records to this file (JSON lines).")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what stock Caffe would refuse, and say so.")
    ] = False,
    require_fit: Annotated[
        bool, typer.Option("--require-fit", help="Exit with 1 unless every network fits.")
    ] = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run networks on a target and say whether they fit the device.

    Exit codes: 0 ran (fit or not), 1 --require-fit failed, 2 invalid input,
    3 the environment, 4 inconclusive.

    Example: pibench run MobileNet my/model.prototxt --json
    """
    from pibench.cli.running import Options, run_networks

    raise typer.Exit(
        run_networks(
            specs,
            Options(
                device=device,
                target=target.value,
                machine=machine.value if machine else None,
                protocol=protocol.value,
                compute=compute.value if compute else None,
                repeats=repeats,
                threads=threads,
                timeout_s=timeout,
                jobs=jobs,
                quiet=quiet,
            ),
            weights=weights,
            batch=batch,
            repair=repair,
            out=out,
            require_fit=require_fit,
            as_json=as_json,
        )
    )


@app.command()
def plan(
    specs: Annotated[
        list[str], typer.Argument(metavar="NETWORK|PROTOTXT...", help="Names or prototxt files.")
    ],
    device: Annotated[str, typer.Option(help="The device to judge for.")] = "rpi3b",
    protocol: Annotated[
        ProtocolName,
        typer.Option(help="caffe-time: the paper's, forward and backward. inference: forward."),
    ] = ProtocolName.CAFFE_TIME,
    batch: Annotated[int | None, typer.Option(help="Images per pass.", show_default=False)] = None,
    size: Annotated[
        str | None,
        typer.Option("--input", metavar="HxW", help="Another image size.", show_default=False),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what stock Caffe would refuse, and say so.")
    ] = False,
    max_batch: Annotated[
        bool, typer.Option("--max-batch", help="Search the largest batch that fits.")
    ] = False,
    max_input: Annotated[
        bool, typer.Option("--max-input", help="Search the largest image that fits.")
    ] = False,
    what_if: Annotated[
        bool, typer.Option("--what-if", help="What changes would save; one network always says.")
    ] = False,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="With --json: what is resident at every step.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write memory over layers to this SVG file.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Run the networks too, and compare.")
    ] = False,
    target: Annotated[
        TargetName | None,
        typer.Option(
            help="Where --check runs (default: twin); twin alone plans for it, not the device.",
            show_default=False,
        ),
    ] = None,
    require_fit: Annotated[
        bool, typer.Option("--require-fit", help="Exit with 1 unless every network fits.")
    ] = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Plan the peak memory of networks from their prototxt; nothing is run.

    Example: pibench plan my/deploy.prototxt --protocol inference --max-batch
    """
    from pibench.cli.planning import Wishes, check_plans, plan_networks

    wishes = Wishes(
        device=device,
        target=target.value if target else None,
        protocol=protocol.value,
        batch=batch,
        size=size,
        repair=repair,
        max_batch=max_batch,
        max_input=max_input,
        timeline=timeline,
        what_if=what_if,
        plot=plot,
        as_json=as_json,
        require_fit=require_fit,
    )
    if check:
        code = check_plans(specs, wishes, jobs=jobs, quiet=quiet)
    else:
        code = plan_networks(specs, wishes)
    raise typer.Exit(code)


app.command()(latency.predict)
app.command()(latency.calibrate)
app.command()(latency.count)


@app.command()
def reproduce(
    target: Target = TargetName.VM,
    machine: Machine = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--networks", help="Some of the paper's networks: A,B,...", show_default=False
        ),
    ] = None,
    compute: Compute = None,
    out: Annotated[Path, typer.Option(help="Where the files go.")] = Path("out"),
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Run the paper's 26 networks and hold every printed cell against ours.

    Writes records.jsonl, claims.json and claims.csv. Exit code: 0 all verdicts
    agree, 1 one does not, 4 one is inconclusive.

    Example: pibench reproduce --networks "AlexNet,VGG 16"
    """
    from pibench.cli.running import Options, reproduce_paper

    options = Options(
        target=target.value,
        machine=machine.value if machine else None,
        compute=compute.value if compute else None,
        jobs=jobs,
        quiet=quiet,
    )
    raise typer.Exit(reproduce_paper(only, options, out))


@app.command()
def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="As root: register QEMU with the kernel (binfmt_misc).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what this machine can do, and how to mend what it cannot.

    Example: pibench doctor --json
    """
    from pibench.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json=as_json, fix=fix))


@app.command()
def schema() -> None:
    """Print the JSON Schema of a record.

    Example: pibench schema > record.schema.json
    """
    import json

    from pibench.records.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
