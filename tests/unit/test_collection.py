"""Which folders of tests are not even imported, by the expression after -m."""

from __future__ import annotations

import pytest

from tests.conftest import MARKS, is_left_out


@pytest.mark.parametrize(
    ("expression", "left_out"),
    [
        ("", set()),
        ("emulation", {"unit", "system", "browser"}),
        ("browser", {"unit", "system", "emulation"}),
        ("not emulation", {"emulation"}),
        ("not emulation and not browser", {"emulation", "browser"}),
        ("not system and not browser", {"system", "browser"}),
        ("not (emulation and browser)", set()),
        ("not emulation or browser", set()),
        ("emulation or browser", {"unit", "system"}),
        ("not slow", set()),
    ],
)
def test_a_folder_is_left_out_where_the_expression_is_plain(
    expression: str, left_out: set[str]
) -> None:
    assert {folder for folder in MARKS if is_left_out(folder, expression)} == left_out
