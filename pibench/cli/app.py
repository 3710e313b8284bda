"""`pibench` and its commands."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pibench.cli import (
    bisecting,
    board,
    bundle,
    image,
    latency,
    networks,
    reconciling,
    reporting,
    streams,
    study,
)
from pibench.cli.options import (
    LONGEST_S,
    AsJson,
    Batch,
    BlasName,
    CasesOut,
    ComputeName,
    DeviceName,
    EngineName,
    EngineProtocol,
    Identity,
    ImageSize,
    Jobs,
    MachineName,
    ProtocolName,
    Quiet,
    RemoteDir,
    Repair,
    RequireFit,
    Seed,
    Specs,
    TargetSpec,
    finite,
    flag,
    target_spec,
)
from pibench.errors import InterruptedByUserError, InvalidInputError


class Commands(TyperGroup):
    """Commands that report an interruption in pibench's words and ignore a closed pipe."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise InterruptedByUserError("interrupted", hint="what was recorded is kept") from None
        except BrokenPipeError:
            # The reader, for example `| head`, has closed the pipe.
            streams.silence_stdout()
            return None
        except OSError as error:
            # For example a full disk, while writing any file.
            if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
                place = f"{error.filename}: " if error.filename else ""
                raise InvalidInputError(f"{place}{error.strerror}", hint="give a file") from error
            from pibench import storage

            raise storage.fault(error) from error


app = typer.Typer(
    name="pibench",
    cls=Commands,
    help="Run, measure and cross-check Caffe networks for a Raspberry Pi 3, "
    "with or without the board.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Join the lines of a paragraph; by default help breaks lines as the source does.
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(networks.app, name="networks", help="The networks of the paper, and their files.")
app.add_typer(
    board.app, name="board", help="A board over SSH: what it has, and what is kept there."
)
app.add_typer(
    study.app,
    name="sweep",
    help="A study: many networks, in many ways; `sweep STUDY.toml` is `sweep run STUDY.toml`.",
)
app.add_typer(image.app, name="image", help="The images that emulated targets run.")


def _version(wanted: bool) -> None:
    if wanted:
        from pibench._version import __version__

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
    specs: Specs,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The network's .caffemodel (one network only)."),
    ] = None,
    device: DeviceName = "rpi3b",
    target: TargetSpec = "vm",
    machine: MachineName = None,
    identity: Identity = None,
    remote_dir: RemoteDir = None,
    engine: EngineName = "caffe",
    protocol: EngineProtocol = None,
    batch: Batch = None,
    size: ImageSize = None,
    compute: ComputeName = None,
    repeats: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=10000, help="Timed inference passes; 0: values alone."
        ),
    ] = 5,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=64, help="BLAS threads. Default: the device's cores."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=1,
            max=LONGEST_S,
            callback=finite,
            help="Seconds that one network may take.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append the records to this file (JSON lines)."),
    ] = None,
    seed: Seed = 0,
    blas: BlasName = "openblas",
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep-blobs",
            metavar="LAYERS",
            help="Write the blobs of these layers whole: A,B,... (inference).",
            show_default=False,
        ),
    ] = None,
    blobs: Annotated[
        Path, typer.Option("--blobs-dir", metavar="FOLDER", help="Where kept blobs go, as npz.")
    ] = Path("blobs"),
    repair: Repair = False,
    require_fit: RequireFit = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run networks on a target and report whether they fit the device.

    Exit codes: 0 ran (fit or not), 1 --require-fit failed, 2 invalid input,
    3 the environment, 4 inconclusive.

    Example: pibench run MobileNet my/model.prototxt --json
    """
    from pibench.cli.running import run_networks
    from pibench.engines.registry import engine_of
    from pibench.runner.options import Options

    raise typer.Exit(
        run_networks(
            specs,
            Options(
                device=device,
                target=target,
                machine=machine,
                identity=identity,
                remote_dir=remote_dir,
                engine=engine,
                protocol=protocol or engine_of(engine).protocols[0],
                compute=compute,
                repeats=repeats,
                threads=threads,
                timeout_s=timeout,
                jobs=jobs,
                seed=seed,
                blas=blas,
                keep=tuple(part.strip() for part in (keep or "").split(",") if part.strip()),
                blobs=blobs,
            ),
            weights=weights,
            batch=batch,
            size=size,
            repair=repair,
            out=out,
            require_fit=require_fit,
            as_json=as_json,
            quiet=quiet,
        )
    )


@app.command()
def plan(
    specs: Specs,
    device: DeviceName = "rpi3b",
    protocol: ProtocolName = "caffe-time",
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Weights that have to fit, at every size that --max-input searches.",
            show_default=False,
        ),
    ] = None,
    batch: Batch = None,
    size: ImageSize = None,
    repair: Repair = False,
    max_batch: Annotated[
        bool, flag("--max-batch", help="Search the largest batch that fits.")
    ] = False,
    max_input: Annotated[
        bool, flag("--max-input", help="Search the largest image that fits.")
    ] = False,
    what_if: Annotated[
        bool, flag("--what-if", help="What changes would save; one network always says.")
    ] = False,
    timeline: Annotated[
        bool, flag("--timeline", help="With --json: what is resident at every step.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write memory over layers to this SVG file.")
    ] = None,
    check: Annotated[bool, flag("--check", help="Run the networks too, and compare.")] = False,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            parser=target_spec,
            help="Where --check runs (default: twin); twin alone plans for it, not the device.",
            show_default=False,
        ),
    ] = None,
    require_fit: RequireFit = False,
    out: CasesOut = None,
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Plan the peak memory of networks from their prototxt, without running them.

    Example: pibench plan my/deploy.prototxt --protocol inference --max-batch
    """
    from pibench.cli.planning import Wishes, check_plans, plan_networks

    wishes = Wishes(
        device=device,
        target=target,
        protocol=protocol,
        weights=weights,
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
        out=tuple(out or ()),
    )
    if check:
        code = check_plans(specs, wishes, jobs=jobs, quiet=quiet)
    else:
        code = plan_networks(specs, wishes)
    raise typer.Exit(code)


app.command()(bundle.bundle)
app.command("import")(bundle.import_)
app.command()(reporting.report)
app.command()(latency.predict)
app.command()(latency.calibrate)
app.command()(latency.count)
app.command()(reconciling.reconcile)
app.command()(bisecting.bisect)


@app.command()
def reproduce(
    target: TargetSpec = "vm",
    machine: MachineName = None,
    identity: Identity = None,
    remote_dir: RemoteDir = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--networks", help="Some of the paper's networks: A,B,...", show_default=False
        ),
    ] = None,
    compute: ComputeName = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files go.")] = Path("out"),
    jobs: Jobs = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run the paper's 26 networks and compare every printed cell with pibench's result.

    Writes records.jsonl, claims.json, claims.csv and report.html. Exit code: 0 all verdicts
    agree, 1 one differs, 4 one is inconclusive.

    Example: pibench reproduce --networks "AlexNet,VGG 16"
    """
    from pibench.cli.running import reproduce_paper
    from pibench.runner.options import Options

    options = Options(
        target=target,
        machine=machine,
        identity=identity,
        remote_dir=remote_dir,
        compute=compute,
        jobs=jobs,
    )
    raise typer.Exit(reproduce_paper(only, options, out, quiet=quiet, as_json=as_json))


@app.command()
def doctor(
    fix: Annotated[
        bool, flag("--fix", help="As root: register QEMU with the kernel (binfmt_misc).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what this machine can do, and how to fix what it cannot.

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

    with streams.ignore_broken_pipe():
        print(json.dumps(json_schema(), indent=2))
