"""Results are whole or as they were; a place where none can be is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pibench.errors import HostError, InvalidInputError
from pibench.file_io import is_standard_output, keep_inputs, write_whole


@pytest.mark.parametrize("name", ["", ".", "file/f.csv", "x" * 300, "loop"])
def test_a_name_that_no_file_can_have_is_invalid_input(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("content")
    Path("loop").symlink_to("loop")
    with pytest.raises(InvalidInputError, match="not written: ") as refused:
        write_whole(Path(name), "text")
    assert refused.value.line().endswith("; name a file")
    assert Path("file").read_text() == "content"


def test_a_full_device_is_not_a_full_folder() -> None:
    with pytest.raises(HostError) as fault:
        write_whole(Path("/dev/full"), "text")
    assert fault.value.line() == (
        "/dev/full: not written: No space left on device; name a regular file"
    )


def test_a_loop_of_links_is_not_an_input_that_would_be_lost(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    keep_inputs([tmp_path / "out"], [tmp_path / "loop"])
    with pytest.raises(InvalidInputError, match="would be overwritten"):
        keep_inputs([tmp_path / "loop"], [tmp_path / "loop"])


def test_what_is_standard_output(tmp_path: Path) -> None:
    assert is_standard_output(Path("/dev/stdout"))
    assert not is_standard_output(tmp_path)
    assert not is_standard_output(tmp_path / "none")
    assert not is_standard_output(tmp_path / ("x" * 300))
