"""`pibench` and its commands."""

from __future__ import annotations

import errno
import gc
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from pibench import settings
from pibench.cli import (
    bisect,
    bundle,
    check,
    count,
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

GROUPS: Final = ("Answer", "Compare", "Board", "Paper", "Machine")
"""The groups of commands in the help, in its order."""
ALIASES: Final = {
    "compare": ("reconcile",),
    "ls": ("networks", "list"),
    "list": ("networks", "list"),
    "version": ("--version",),
}
"""Words that other tools use for commands, and what they mean here."""
LIKE: Final = {
    "analyze": "check",
    "benchmark": "run",
    "build": "image build",
    "compile": "networks convert",
    "convert": "networks convert",
    "diff": "reconcile",
    "estimate": "plan",
    "export": "networks export",
    "fit": "check",
    "fits": "check",
    "gate": "check",
    "info": "networks show",
    "install": "doctor",
    "latency": "predict",
    "memory": "plan",
    "plot": "report",
    "profile": "run",
    "setup": "doctor",
    "show": "networks show",
    "test": "check",
    "time": "predict",
    "validate": "reconcile",
}
"""Words for which no command is close enough to be certain, and the one to look at."""


class Commands(TyperGroup):
    """Commands that report an interruption in pibench's words and ignore a closed pipe.

    Their help is a line for each command, by group, and fits a terminal of 80 x 24.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read `help COMMAND` as `COMMAND --help`, and words of other tools as pibench's."""
        if args and args[0] == "help":
            args = [*args[1:], "--help"]
        if args:
            args = [*ALIASES.get(args[0], args[:1]), *args[1:]]
            _refuse_options_first(args)
        ctx.default_map = settings.defaults(sorted(self.commands))
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; a network in its place gets the command that answers for it."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            from pibench.engines.formats import format_of
            from pibench.networks import catalog

            is_model = Path(name).is_file() or any(Path(name).glob("*.prototxt"))
            if catalog.knows(name) or is_model:
                command = "check" if format_of(name) is None else "run"
                raise InvalidInputError(
                    f"{name!r} is not a command, but it names a network",
                    hint=f"pibench {command} {shlex.quote(name)}",
                )
            if name.endswith((".prototxt", ".onnx", ".tflite", ".caffemodel")):
                raise InvalidInputError(f"{name}: no such file", hint="check the path")
            if name in LIKE:
                raise InvalidInputError(
                    f"there is no command {name!r}", hint=f"did you mean pibench {LIKE[name]}?"
                )
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        lines = [
            f"Usage: {ctx.command_path} COMMAND [OPTIONS]",
            "Does a Caffe network fit a Raspberry Pi 3, and how fast is it there?",
            "",
        ]
        groups = {name: getattr(one, "rich_help_panel", None) for name, one in self._shown()}
        for group in GROUPS:
            label = group
            for name, command in self._shown():
                if groups[name] == group:
                    lines.append(f"{label:9}{name:11}{command.short_help}")
                    label = ""
        lines += [
            "Start: pibench check MODEL.prototxt. Each command: pibench COMMAND --help",
            "Options: --version (-V), --help (-h), --install-completion",
        ]
        formatter.write("\n".join(lines))

    def _shown(self) -> list[tuple[str, Any]]:
        return [(name, one) for name, one in self.commands.items() if not one.hidden]

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        # Disabled at the start (pibench/cli/__init__.py).
        gc.enable()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise InterruptedByUserError(
                "interrupted", hint="what was made so far is kept"
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


def _version(wanted: bool) -> None:
    if wanted:
        from pibench._version import __version__

        typer.echo(f"pibench {__version__}")
        raise typer.Exit


def _top(
    _version_flag: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def _schema() -> None:
    """Print the JSON Schema of a record.

    Example: pibench schema > record.schema.json
    """
    from pibench.records.schema import json_schema

    output.print_json(json_schema())


_SWEEP = "A study: many networks, in many ways. `sweep FILE` means `sweep run FILE`."
_BOARD = "A board over SSH: what it has, and what pibench keeps there."
_NETWORKS = "The networks of the paper, and their files."
_IMAGE = "The images that emulated targets run."


class Command(TyperCommand):
    """A command that refuses a value given twice, and knows which others have an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words after the command's name.

        Raises:
            InvalidInputError: An option that takes one value is given several, or only other
                commands have it.
        """
        called = ctx.command_path.removeprefix(ctx.find_root().command_path).strip()
        parser = self.make_parser(ctx)
        try:
            values, _, given = parser.parse_args(args=[*args])
        except Exception as error:
            # Typer contains its own copy of click, which has names for this error.
            name = getattr(error, "option_name", "")
            others = [one for one in _having(name) if one != called]
            if not others or not hasattr(error, "possibilities"):
                raise
            raise InvalidInputError(
                f"{called} has no option {name}",
                hint=f"{_listed(others)} it; see: pibench {called} --help",
            ) from None
        valued: list[Any] = [one for one in given if getattr(one, "is_flag", None) is False]
        for one in valued:
            option, several = one.opts[0], one.name in _OF_A_SWEEP
            if not (one.multiple or one.count) and valued.count(one) > 1:
                hint = "give one" + ("; for several: pibench sweep" if several else "")
                if several and called.startswith("sweep"):
                    hint = f"give one, with commas: {option} A,B"
                raise InvalidInputError(f"{option} is given twice", hint=hint)
            if several and not called.startswith("sweep") and "," in str(values[one.name]):
                raise InvalidInputError(
                    f"{option} takes one value, not {values[one.name]}",
                    hint="for several: pibench sweep",
                )
        rest: list[str] = super().parse_args(ctx, args)
        return rest


_OF_A_SWEEP: Final = ("target", "engine", "device", "protocol", "threads", "batch", "seed")
"""What a sweep takes several of."""


def _having(option: str) -> list[str]:
    """Return the commands that have an option."""
    made: Any = typer.main.get_command(application())
    return [
        name
        for name, one in made.commands.items()
        if not one.hidden and any(option in known.opts for known in one.params)
    ]


def _listed(commands: Sequence[str]) -> str:
    *most, last = commands
    return f"{', '.join(most)} and {last} have" if most else f"{last} has"


class _Entry(NamedTuple):
    """A command, or a group of them: its line in the help, and a group's own text."""

    group: str
    name: str
    command: Callable[..., None] | typer.Typer
    line: str
    text: str | None = None


_ENTRIES: Final = (
    _Entry("Answer", "check", check.check, "the whole answer: fits or not, time, what would help"),
    _Entry("Answer", "plan", plan.plan, "peak memory and whether it fits, from shapes alone"),
    _Entry(
        "Answer", "predict", predict.predict, "time of a forward pass on the board, from shapes"
    ),
    _Entry("Answer", "run", run.run, "run networks: emulated board, container, real board"),
    _Entry(
        "Answer", "report", report.report, "records as a page, a table, a picture or test cases"
    ),
    _Entry(
        "Compare", "reconcile", reconcile.reconcile, "runs, plans, predictions, the paper: pairwise"
    ),
    _Entry(
        "Compare", "bisect", bisect.bisect, "the first layer whose output differs, and the cause"
    ),
    _Entry(
        "Compare", "sweep", sweep.app, "many networks in many ways; goes on where it ended", _SWEEP
    ),
    _Entry("Compare", "count", count.count, "instructions and cycles of a forward pass, in QEMU"),
    _Entry("Board", "board", doctor.board, "what a board over SSH has and keeps", _BOARD),
    _Entry("Board", "bundle", bundle.bundle, "pack networks for a board without a connection"),
    _Entry("Board", "import", bundle.import_, "records of what a bundle measured on a board"),
    _Entry("Board", "calibrate", predict.calibrate, "rates for predictions from a board's times"),
    _Entry(
        "Paper", "reproduce", reproduce.reproduce, "the 26 networks; each printed cell compared"
    ),
    _Entry(
        "Paper", "networks", networks.app, "the networks of the paper, and their files", _NETWORKS
    ),
    _Entry("Machine", "doctor", doctor.doctor, "what this machine can do; how to fix the rest"),
    _Entry("Machine", "image", image.app, "the images that emulated targets run", _IMAGE),
    _Entry("Machine", "schema", _schema, "the JSON Schema of a record"),
    _Entry("", "run-cell", run.run_cell, ""),
)


NAMES: Final = frozenset(one.name for one in _ENTRIES)


def application(words: Sequence[str] | None = None) -> typer.Typer:
    """Return the command line; for `words`, with the options of the command that these name.

    Typer would read the options of all commands at each start: half of what a start takes.
    """
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
    app.callback()(_top)
    wanted = None if words is None else _named(words)
    for one in _ENTRIES:
        how: dict[str, Any] = {"rich_help_panel": one.group, "short_help": one.line}
        if wanted not in (None, one.name):
            app.command(one.name, hidden=not one.group, **how)(_line_only)
        elif isinstance(one.command, typer.Typer):
            for inner in one.command.registered_commands:
                inner.cls = Command
            app.add_typer(one.command, name=one.name, help=one.text, **how)
        else:
            app.command(one.name, cls=Command, hidden=not one.group, **how)(one.command)
    return app


_OF_NO_COMMAND: Final = frozenset(
    {"--", "--help", "-h", "--version", "-V", "--install-completion", "--show-completion"}
)


def _refuse_options_first(words: Sequence[str]) -> None:
    """Reject options of a command in front of it. Raises InvalidInputError."""
    places = [place for place, word in enumerate(words) if word in NAMES]
    if not words[0].startswith("-") or words[0].partition("=")[0] in _OF_NO_COMMAND:
        return
    if not places and _having(words[0]):
        raise InvalidInputError(
            f"{words[0]} is an option of commands, and there is none",
            hint=f"pibench COMMAND {words[0]}; see: pibench --help",
        )
    if places:
        first = places[0]
        moved = shlex.join(["pibench", words[first], *words[first + 1 :], *words[:first]])
        raise InvalidInputError(
            f"{words[0]} is in front of the command", hint=f"options come after it: {moved}"
        )


def _named(words: Sequence[str]) -> str:
    """Return the command that words of the command line name; empty if they name none."""
    first = next(iter(words[1:] if words[:1] == ["help"] else words), "")
    return ALIASES.get(first, (first,))[0]


def _line_only() -> None:
    pass
