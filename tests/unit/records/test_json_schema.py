"""Record files validate against the schema that `pibench schema` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pibench.records.schema import json_schema
from pibench.records.store import RecordStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from jsonschema import Draft202012Validator

    from pibench.records.schema import Record


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    # Where it is needed: every process of a run imports this file.
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json_schema())


def test_the_schema_is_one() -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(json_schema())


def test_every_record_file_validates(
    tmp_path: Path, paper_run: list[Record], validator: Draft202012Validator
) -> None:
    store = RecordStore(tmp_path / "records.jsonl")
    for record in paper_run:
        store.append(record)
    lines = store.path.read_text().splitlines()
    assert len(lines) == 26
    for line in lines:
        validator.validate(json.loads(line))


@pytest.mark.parametrize(
    "version", ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8", "1.9", "1.10"]
)
def test_an_older_record_validates_once_it_is_read(
    version: str, tmp_path: Path, validator: Draft202012Validator
) -> None:
    text = Path(__file__).with_name(f"record-{version}.json").read_text()
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(json.loads(text)))
    (record,) = RecordStore(path).read()
    validator.validate(json.loads(record.model_dump_json()))


@pytest.mark.parametrize(
    "changes",
    [{"verdict": "maybe"}, {"peak_rss_bytes": -1}, {"surprise": 1}, {"network_sha256": "xyz"}],
)
def test_what_is_not_a_record_does_not(
    changes: dict[str, object],
    make_record: Callable[..., Record],
    validator: Draft202012Validator,
) -> None:
    from jsonschema import ValidationError

    with pytest.raises(ValidationError):
        validator.validate(make_record().model_dump(mode="json") | changes)
