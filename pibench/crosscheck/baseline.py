"""Write and read a baseline: a committed file of accepted figures for later runs to match."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from pibench import file_io
from pibench.crosscheck.sides import Entry, Side
from pibench.errors import InvalidInputError
from pibench.file_io import write_whole
from pibench.records.store import first_of

if TYPE_CHECKING:
    from pathlib import Path

MARK: Final = "pibench_baseline"
VERSION: Final = "1.0"
# The mark is the first key.
_HEAD_BYTES: Final = 200


def write(side: Side, path: Path) -> Path:
    """Write the figures of a side, without layer times, sorted so that diffs are readable.

    The write is atomic: on failure the previous file is unchanged.

    Raises:
        InvalidInputError: if the path already contains another kind of file.
        HostError: if the file cannot be written.
    """
    if path.is_file() and path.stat().st_size:
        # The existing file may be the measured records themselves.
        with path.open("rb") as file:
            if MARK.encode() not in file.read(_HEAD_BYTES):
                raise InvalidInputError.at(
                    path, None, "is there already, and is no baseline", hint="name another file"
                )
    entries = sorted(side.entries, key=lambda one: (one.network, one.protocol, one.batch))
    content = {
        MARK: VERSION,
        # Bytes of a file name that are not valid text would make the JSON invalid.
        "from": side.name.encode("utf-8", "replace").decode(),
        "networks": [
            one.model_copy(update={"layers": ()}).model_dump(mode="json", exclude_defaults=True)
            for one in entries
        ],
    }
    return write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def parse(text: bytes, path: Path, name: str) -> Side:
    """Parse a baseline's text. Raises InvalidInputError with the file and the place in it."""
    hint = "write it anew: pibench reconcile RECORDS --write-baseline FILE"
    content = file_io.json_of(text, path, None, hint=hint)
    if not isinstance(content, dict) or MARK not in content:
        raise InvalidInputError.at(path, None, "is no baseline", hint=hint)
    if str(content[MARK]).split(".", maxsplit=1)[0] != VERSION.split(".", maxsplit=1)[0]:
        raise InvalidInputError.at(
            path, None, f"is a baseline of version {content[MARK]}, this reads {VERSION}", hint=hint
        )
    entries = []
    networks = content.get("networks")
    for number, item in enumerate(networks if isinstance(networks, list) else [], start=1):
        try:
            entries.append(Entry.model_validate(item))
        except ValidationError as error:
            raise InvalidInputError.at(
                path, f"network {number}", first_of(error), hint=hint
            ) from error
    if not entries:
        raise InvalidInputError.at(path, None, "holds no network", hint=hint)
    return Side.of(name, "baseline", entries)
