"""`pibench doctor`: print the findings of `pibench.diagnosis`, and fix what root can fix."""

from __future__ import annotations

from typing import Annotated

import typer

from pibench.cli import options as opt


def doctor(
    fix: Annotated[
        bool, opt.flag("--fix", help="As root: register QEMU with the kernel (binfmt_misc).")
    ] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Show what this machine can do, and how to fix what it cannot.

    Exit code: 0 a target can run here, 3 none can.

    Example: pibench doctor --json
    """
    import json
    from dataclasses import asdict

    from rich.table import Table

    from pibench import diagnosis
    from pibench.errors import ExitCode
    from pibench.report.tables import console
    from pibench.targets.binfmt import register

    if fix:
        for line in register() or ["nothing to fix"]:
            typer.echo(f"pibench: {line}", err=True)
    found = diagnosis.diagnose()
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        table = Table("check", "state", box=None)
        table.add_column("found, and how to fix it", overflow="fold")
        for one in found.findings:
            table.add_row(one.name, one.state, one.found + (f"; {one.fix}" if one.fix else ""))
        out = console()
        out.print(table)
        out.print(f"\ntargets that can run here: {', '.join(found.targets) or 'none'}")
    raise typer.Exit(ExitCode.OK if found.targets else ExitCode.ENVIRONMENT)
