"""`pibench doctor`: print the findings of `pibench.diagnosis`, and fix what root can fix."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from rich.table import Table

from pibench.diagnosis import diagnose
from pibench.errors import ExitCode
from pibench.report.terminal import console
from pibench.targets.binfmt_registration import register


def run_doctor(*, as_json: bool, fix: bool) -> ExitCode:
    """Print the findings; exit code 3 if no target at all can run here.

    With `fix`, QEMU is registered with the kernel first, and the change is
    reported on standard error.

    Raises:
        HostError: if that needs root or fails.
    """
    if fix:
        for line in register() or ["nothing to mend"]:
            print(f"pibench: {line}", file=sys.stderr)
    diagnosis = diagnose()
    if as_json:
        print(json.dumps(asdict(diagnosis), indent=2))
    else:
        table = Table("check", "state", box=None)
        table.add_column("found, and how to mend it", overflow="fold")
        for finding in diagnosis.findings:
            table.add_row(
                finding.name,
                finding.state,
                finding.found + (f"; {finding.fix}" if finding.fix else ""),
            )
        out = console()
        out.print(table)
        out.print(f"\ntargets that can run here: {', '.join(diagnosis.targets) or 'none'}")
    return ExitCode.OK if diagnosis.targets else ExitCode.ENVIRONMENT
