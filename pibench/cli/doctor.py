"""`pibench doctor` and `pibench board`: what this machine, and a board over SSH, have and lack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pibench.cli import options as opt
from pibench.cli.output import print_json, say

if TYPE_CHECKING:
    from pibench.targets.ssh.board import Findings
    from pibench.targets.ssh.connection import Login

board = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Url = Annotated[str, typer.Argument(metavar="ssh://USER@HOST", help="The board.")]


@board.command()
def check(
    url: Url,
    protocol: opt.ProtocolName = "caffe-time",
    identity: opt.Identity = None,
    remote_dir: opt.RemoteDir = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show what a board has and lacks for a run; leaves nothing on the board.

    Exit code: 0 it can run networks, 3 it cannot.

    Example: pibench board check ssh://pi@raspberrypi.local
    """
    import asyncio

    from pibench.errors import ExitCode
    from pibench.images.build import Builder
    from pibench.targets.ssh.board import look

    found = asyncio.run(look(_login(url, identity), Builder(), protocol, remote_dir))
    if as_json:
        print_json({"facts": found.facts, "problems": found.problems})
    else:
        print_findings(found)
    raise typer.Exit(ExitCode.ENVIRONMENT if found.problems else ExitCode.OK)


@board.command()
def clean(url: Url, identity: opt.Identity = None, remote_dir: opt.RemoteDir = None) -> None:
    """Remove what pibench keeps on a board between runs: its Caffe.

    Files of interrupted runs are removed too, those of a running one are not.

    Example: pibench board clean ssh://pi@raspberrypi.local
    """
    import asyncio

    from pibench.targets.ssh.board import clean as clean_board

    roots, runs = asyncio.run(clean_board(_login(url, identity), remote_dir))
    print(f"removed: {roots} copies of pibench's Caffe, {runs} interrupted runs")


def _login(url: str, identity: Path | None) -> Login:
    from pibench.targets.ssh.connection import Login, parse

    return Login(address=parse(url), identity=identity)


def print_findings(found: Findings) -> None:
    """Print what a board has, and what it lacks for a run."""
    from rich.table import Table

    from pibench.errors import HostError
    from pibench.probe.check import ARM64
    from pibench.report.tables import console

    facts: dict[str, Any] = found.facts
    if "architecture" not in facts:
        raise HostError(found.problems[0][0], hint=found.problems[0][1])
    caffe = "its own"
    if (complaint := facts["caffe_complaint"]) is not None:
        state = "is there already" if facts["root_is_there"] else "would be copied"
        copied = f"; pibench's {state}" if facts["architecture"] in ARM64 else ""
        caffe = f"none of its own ({complaint}){copied}"
    free, total = ((facts[f"memory_{name}_kib"] or 0) >> 10 for name in ("available", "total"))
    python = ".".join(map(str, facts["python"]))
    table = Table("what", "found", box=None)
    table.add_row("board", f"{facts['board'] or 'unknown'}, kernel {facts['architecture']}")
    table.add_row("python", f"{python}, {facts['python_bits']} bit")
    table.add_row("Caffe", caffe)
    table.add_row("memory", f"{free} of {total} MiB free")
    table.add_row("disk", f"{(facts['free_bytes'] or 0) >> 20} MiB free in {facts['folder']}")
    out = console()
    out.print(table)
    for what, todo in found.problems:
        out.print(f"problem: {what}; {todo}", highlight=False)
    if not found.problems:
        out.print("networks can run there")


def doctor(
    fix: bool = opt.switch("--fix", "As root: register QEMU with the kernel (binfmt_misc)."),
    as_json: opt.AsJson = False,
) -> None:
    """Show what this machine can do, and how to fix what it cannot.

    Exit code: 0 a target can run here, 3 none can.

    Example: pibench doctor --json
    """
    from dataclasses import asdict

    from rich.table import Table

    from pibench import diagnosis
    from pibench.errors import ExitCode
    from pibench.report.tables import console
    from pibench.targets.binfmt import register

    if fix:
        for line in register() or ["nothing to fix"]:
            say(line)
    found = diagnosis.diagnose()
    if as_json:
        print_json(asdict(found))
    else:
        table = Table("check", "state", box=None)
        table.add_column("found, and how to fix it", overflow="fold")
        for one in found.findings:
            table.add_row(one.name, one.state, one.found + (f"; {one.fix}" if one.fix else ""))
        out = console()
        out.print(table)
        out.print(f"\ntargets that can run here: {', '.join(found.targets) or 'none'}")
    raise typer.Exit(ExitCode.OK if found.targets else ExitCode.ENVIRONMENT)
