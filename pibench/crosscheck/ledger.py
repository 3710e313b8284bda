"""Write the claims to files: claims.json for programs and claims.csv for spreadsheets."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pibench.crosscheck.claims import Claim, exit_code, summary
from pibench.crosscheck.paper import Paper, load_paper
from pibench.file_io import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

LEDGER_VERSION: Final = "2.0"


def write_claims_json(
    claims: Sequence[Claim], folder: Path | str, paper: Paper | None = None
) -> Path:
    """Write claims.json with the columns' documentation and the totals; return its path.

    The write is atomic: after a crash the previous file is unchanged.

    Raises:
        HostError: if the folder cannot be written.
    """
    text = json.dumps(as_dict(claims, paper or load_paper()), indent=2, allow_nan=False)
    return write_whole(Path(folder) / "claims.json", text + "\n")


def write_claims_csv(claims: Sequence[Claim], folder: Path | str) -> Path:
    """Write claims.csv, one line per claim; otherwise like `write_claims_json`."""
    names = [field.name for field in dataclasses.fields(Claim) if field.name != "provenance"]
    buffer = io.StringIO()
    writer = csv.DictWriter(
        buffer, [*names, "provenance_kind", "provenance_reason"], lineterminator="\n"
    )
    writer.writeheader()
    for claim in claims:
        writer.writerow(
            {name: getattr(claim, name) for name in names}
            | {
                "provenance_kind": claim.provenance.kind,
                "provenance_reason": claim.provenance.reason,
            }
        )
    return write_whole(Path(folder) / "claims.csv", buffer.getvalue())


def as_dict(claims: Sequence[Claim], paper: Paper) -> dict[str, Any]:
    """Return the ledger as plain data, with the structure of claims.json."""
    return {
        "schema_version": LEDGER_VERSION,
        "paper": paper.title,
        "device": paper.device,
        "protocol": paper.protocol,
        "batch": paper.batch,
        "columns": {name: column.model_dump() for name, column in paper.columns.items()},
        "exit_code": int(exit_code(claims)),
        "summary": {name: dataclasses.asdict(one) for name, one in summary(claims).items()},
        "claims": [_plain_claim(claim) for claim in claims],
    }


def _plain_claim(claim: Claim) -> dict[str, Any]:
    fields = {field.name: getattr(claim, field.name) for field in dataclasses.fields(claim)}
    return fields | {"provenance": claim.provenance.model_dump(mode="json")}
