"""`pibench doctor`: prints what `pibench.diagnosis` finds."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.table import Table

from pibench.diagnosis import diagnose
from pibench.errors import ExitCode
from pibench.report.terminal import console


def run_doctor(*, as_json: bool) -> ExitCode:
    """Print the findings; exit code 3 when no target at all can run here."""
    diagnosis = diagnose()
    if as_json:
        print(json.dumps(asdict(diagnosis), indent=2))
    else:
        table = Table("check", "state", "found, and how to mend it", box=None)
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
