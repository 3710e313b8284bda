"""`pibench` and its commands."""

from __future__ import annotations

import errno
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pibench.cli import (
    bisect,
    bundle,
    doctor,
    image,
    networks,
    output,
    plan,
    predict,
    reconcile,
    report,
    reproduce,
    run,
    sweep,
)
from pibench.errors import InterruptedByUserError, InvalidInputError


class Commands(TyperGroup):
    """Commands that report an interruption in pibench's words and ignore a closed pipe."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise InterruptedByUserError(
                "interrupted", hint="the records made so far are kept"
            ) from None
        except BrokenPipeError:
            # The reader, for example `| head`, has closed the pipe.
            output.silence_stdout()
            return None
        except OSError as error:
            # For example a full disk, while writing any file.
            if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
                place = f"{error.filename}: " if error.filename else ""
                raise InvalidInputError(f"{place}{error.strerror}", hint="give a file") from error
            from pibench import file_io

            raise file_io.host_error(error) from error


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
    doctor.board, name="board", help="A board over SSH: what it has, and what pibench keeps there."
)
app.add_typer(
    sweep.app,
    name="sweep",
    help="A study: many networks, in many ways. `sweep FILE` means `sweep run FILE`.",
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


app.command()(run.run)
app.command("run-cell", hidden=True)(run.run_cell)
app.command()(plan.plan)
app.command()(bundle.bundle)
app.command("import")(bundle.import_)
app.command()(report.report)
app.command()(predict.predict)
app.command()(predict.calibrate)
app.command()(predict.count)
app.command()(reconcile.reconcile)
app.command()(bisect.bisect)
app.command()(reproduce.reproduce)
app.command()(doctor.doctor)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a record.

    Example: pibench schema > record.schema.json
    """
    from pibench.records.schema import json_schema

    output.print_json(json_schema())
