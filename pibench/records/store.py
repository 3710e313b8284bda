"""The append-only store: one record per line (JSON Lines), safe for crashes and parallel writers.

Written lines are never changed. A crash can leave a torn line at the end of the file: the next
append starts on a new line, and a reader skips the torn one with a `TornLineWarning`.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import stat
import warnings
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import from_json

from pibench import file_io
from pibench.errors import HostError, InvalidInputError, first_of
from pibench.records.schema import RESULT_FIELDS, SCHEMA_VERSION, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


_VERSION = re.compile(r"[0-9]+\.[0-9]+\Z")
ADDED_BY_1_1 = ("emulator_rss_bytes",)
"""Results that records of version 1.0 do not have."""
_FIX = "fix or remove this line"


class TornLineWarning(UserWarning):
    """A line of a record file was cut off while it was written, and is left out."""


class RecordStore:
    """A file of records that only grows; several processes may append at once."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def prepare(self) -> None:
        """Check, before a run of hours, that records can be written; create the file.

        Raises:
            InvalidInputError: if the path is not a file or is not writable.
        """
        hint = "name a file: --out records.jsonl"
        try:
            with _locked(self.path) as descriptor:
                regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        except IsADirectoryError:
            raise InvalidInputError.at(self.path, None, "is a directory", hint=hint) from None
        except OSError as error:
            raise InvalidInputError.at(
                self.path, None, f"cannot be written ({error.strerror})", hint="give another file"
            ) from None
        if not regular:
            raise InvalidInputError.at(self.path, None, "is not a regular file", hint=hint)

    def append(self, record: Record) -> None:
        """Write the record on a new line and wait until it is on the disk.

        Raises:
            HostError: if the file cannot be written; its earlier content is then unchanged.
        """
        with self._appending() as descriptor:
            _write_whole(descriptor, _lines([record]))

    def append_new(self, records: Sequence[Record]) -> int:
        """Append the records whose ids the file does not have, all or none.

        Each of several processes sees what earlier ones have written. Raises as `append` and
        `read` do.

        Returns:
            The number of new records.
        """
        with self._appending() as descriptor:
            with os.fdopen(os.dup(descriptor), "rb") as stream:
                content = file_io.read_stream(stream, self.path, hint="name another file")
            known = {record.record_id for record in parse(content, self.path)}
            fresh = [record for record in records if record.record_id not in known]
            if fresh:
                _write_whole(descriptor, _lines(fresh))
        return len(fresh)

    @contextmanager
    def _appending(self) -> Iterator[int]:
        """Open the file, create it if missing, and lock it against other writers."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            created = not self.path.exists()
            with _locked(self.path) as descriptor:
                yield descriptor
            if created:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise HostError(
                f"{self.path}: the record was not written: {error.strerror or error}",
                hint="give a file that can be written, on a disk with room",
            ) from error

    def read(self) -> list[Record]:
        """Read all records in the order they were written; see `parse`."""
        return parse(
            file_io.read_input(self.path, hint="give a file of records (JSONL)"), self.path
        )


def parse(content: bytes, path: Path) -> list[Record]:
    """Parse the records of a file in order; empty lines are skipped.

    A torn line is skipped with a TornLineWarning.

    Raises:
        InvalidInputError: with file and line, for anything else that is not a record.
    """
    found = (_parse(path, number, line) for number, line in numbered_lines(io.BytesIO(content)))
    return [record for record in found if record is not None]


def numbered_lines(stream: IO[bytes], most_bytes: int = -1) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not empty, with their numbers; longer ones than that are cut.

    Only line feeds end a line: str.splitlines would also split at U+2028 inside a name.
    """
    for number, line in enumerate(iter(partial(stream.readline, most_bytes), b""), start=1):
        if line.strip():
            yield number, line.rstrip(b"\n")


def to_json(records: Iterable[Record]) -> str:
    """Return the records as one indented JSON array, as `--json` prints it."""
    return json.dumps([record.model_dump(mode="json") for record in records], indent=2)


def _lines(records: Sequence[Record]) -> bytes:
    """Encode records as ASCII only, so that a cut never splits a character."""
    dumped = (record.model_dump(mode="json") for record in records)
    lines = (json.dumps(one, separators=(",", ":"), allow_nan=False) for one in dumped)
    return "".join(f"{line}\n" for line in lines).encode("ascii")


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Open the file for appending, locked against other writers until the block ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        # Released with the descriptor, so a killed writer leaves no stale lock behind.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _write_whole(descriptor: int, lines: bytes) -> None:
    """Append the lines and sync; after a failed write (disk full) remove the written part."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        lines = b"\n" + lines
    try:
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _sync_folder(folder: Path) -> None:
    """Sync a folder: a new file's name is only safe afterwards."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(path: Path, number: int, line: bytes) -> Record | None:
    """Parse the record on a line, None for a torn one."""
    place = f"line {number}"
    try:
        # Another kind of file shows in its first line.
        hint = "give records, as pibench run --out writes them" if number == 1 else _FIX
        data = file_io.json_of(line, path, place, hint=hint)
    except InvalidInputError:
        if not _is_torn(line):
            raise
        message = f"{path}: {place}: incomplete line, skipped"
        warnings.warn(message, TornLineWarning, stacklevel=3)
        return None
    return record_from(data, path, place)


def record_from(data: Any, path: Path, place: str) -> Record:
    """Validate JSON data as a record. Raises InvalidInputError with file and place."""
    _check_version(path, place, data)
    try:
        return Record.model_validate(_converted(data))
    except ValidationError as error:
        raise InvalidInputError.at(
            path, place, f"not a record: {first_of(error)}", hint=_FIX
        ) from error


def _is_torn(line: bytes) -> bool:
    """Return whether the line is only the beginning of a JSON object.

    Some file systems leave NUL bytes where data was allocated but never written.
    """
    beginning = line.rstrip(b"\0")
    if not beginning:
        return True
    if not beginning.lstrip().startswith(b"{"):
        return False
    try:
        from_json(beginning, allow_partial=True)
    except ValueError:
        return False
    # The partial parser also accepts a whole object with something after it, as a second record.
    try:
        json.JSONDecoder().raw_decode(beginning.decode("utf-8", errors="replace").lstrip())
    except (ValueError, RecursionError):
        return True
    return False


def _check_version(path: Path, place: str, data: Any) -> None:
    """Reject data that is not a record, or a record of another major version."""
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, str) or not _VERSION.match(version):
        problem = "not a record: schema_version is missing or not a version"
        raise InvalidInputError.at(path, place, problem, hint=_FIX)
    if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        problem = f"a record of version {version!r}; this pibench reads {SCHEMA_VERSION}"
        hint = "use the version of pibench that wrote it"
        raise InvalidInputError.at(path, place, problem, hint=hint)


def _converted(data: dict[str, Any]) -> dict[str, Any]:
    """Convert a record of another minor version to this version.

    Minor versions only add fields. Fields that this version does not know are removed, except
    from a record of the current version, where they are an error. A record of an earlier version
    gets the results that it could not have.
    """
    version = data["schema_version"]
    if version == SCHEMA_VERSION:
        return data
    data = {**data, "schema_version": SCHEMA_VERSION}
    if "engine" not in data:
        # Before 1.6 there was Caffe alone, with its version in the guest's environment.
        data |= {"engine": "caffe", "engine_version": _caffe_version(data)}
    provenance = data.get("provenance")
    if isinstance(provenance, dict):
        known = {name: provenance[name] for name in RESULT_FIELDS if name in provenance}
        for name in ADDED_BY_1_1 if version == "1.0" else ():
            data.setdefault(name, None)
            reason = f"a record of version {version} does not contain it"
            known.setdefault(name, {"kind": "unavailable", "reason": reason})
        data["provenance"] = known
    try:
        Record.model_validate(data)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            if detail["type"] == "extra_forbidden":
                *parents, last = detail["loc"]
                inner: Any = data
                for key in parents:
                    inner = inner[key]
                del inner[last]
    return data


def _caffe_version(data: dict[str, Any]) -> Any:
    environment = data.get("environment")
    guest = environment.get("guest") if isinstance(environment, dict) else None
    return guest.get("caffe_version") if isinstance(guest, dict) else None
