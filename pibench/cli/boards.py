"""Implement `pibench board` and its output."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from pibench.errors import ExitCode, HostError
from pibench.images.build import Builder
from pibench.probe.check import ARM64
from pibench.report.terminal import console
from pibench.targets.ssh.address import parse
from pibench.targets.ssh.connection import Login
from pibench.targets.ssh.upkeep import Findings, clean, look

if TYPE_CHECKING:
    from pibench.records.schema import Protocol


def check_board(
    url: str,
    *,
    protocol: Protocol,
    identity: Path | None,
    remote_dir: str | None,
    as_json: bool,
) -> ExitCode:
    """Print what a board has and lacks; exit code 3 if it cannot run networks."""
    login = Login(address=parse(url), identity=identity)
    found = asyncio.run(look(login, Builder(), protocol, remote_dir))
    if as_json:
        print(json.dumps({"facts": found.facts, "problems": found.problems}, indent=2))
    else:
        print_findings(found)
    return ExitCode.ENVIRONMENT if found.problems else ExitCode.OK


def clean_board(url: str, *, identity: Path | None, remote_dir: str | None) -> ExitCode:
    """Remove what is kept on a board, and print what was removed."""
    login = Login(address=parse(url), identity=identity)
    roots, runs = asyncio.run(clean(login, remote_dir))
    print(f"removed: {roots} of our Caffe, {runs} of runs that were cut off")
    return ExitCode.OK


def print_findings(found: Findings) -> None:
    facts: dict[str, Any] = found.facts
    if "architecture" not in facts:
        raise HostError(found.problems[0][0], hint=found.problems[0][1])
    table = Table("what", "found", box=None)
    own = facts["caffe_complaint"]
    kept = (
        "; ours is kept there from before" if facts["root_is_there"] else "; ours would be copied"
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
        out.print(f"in the way: {what}; {todo}", highlight=False)
    if not found.problems:
        out.print("networks can run there")
