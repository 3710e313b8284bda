"""`pibench board`: check what a board has, and remove what pibench keeps there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pibench.cli import options as opt

if TYPE_CHECKING:
    from pibench.targets.ssh.board import Findings
    from pibench.targets.ssh.connection import Login

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Url = Annotated[str, typer.Argument(metavar="ssh://USER@HOST", help="The board.")]


@app.command()
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
    import json

    from pibench.errors import ExitCode
    from pibench.images.build import Builder
    from pibench.targets.ssh.board import look

    found = asyncio.run(look(_login(url, identity), Builder(), protocol, remote_dir))
    if as_json:
        print(json.dumps({"facts": found.facts, "problems": found.problems}, indent=2))
    else:
        print_findings(found)
    raise typer.Exit(ExitCode.ENVIRONMENT if found.problems else ExitCode.OK)


@app.command()
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
    table = Table("what", "found", box=None)
    own = facts["caffe_complaint"]
    kept = (
        "; pibench's is there already" if facts["root_is_there"] else "; pibench's would be copied"
    )
    if facts["architecture"] not in ARM64:
        kept = ""
    table.add_row("board", f"{facts['board'] or 'unknown'}, kernel {facts['architecture']}")
    python = ".".join(map(str, facts["python"]))
    table.add_row("python", f"{python}, {facts['python_bits']} bit")
    table.add_row("Caffe", "its own" if own is None else f"none of its own ({own}){kept}")
    memory_mib = (facts["memory_available_kib"] or 0) >> 10
    table.add_row("memory", f"{memory_mib} of {(facts['memory_total_kib'] or 0) >> 10} MiB free")
    table.add_row("disk", f"{(facts['free_bytes'] or 0) >> 20} MiB free in {facts['folder']}")
    out = console()
    out.print(table)
    for what, todo in found.problems:
        out.print(f"problem: {what}; {todo}", highlight=False)
    if not found.problems:
        out.print("networks can run there")
