"""Which QEMU counts: found, tried, and refused in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pibench import counting
from pibench.errors import HostError

if TYPE_CHECKING:
    from pathlib import Path

STATIC = """#!/bin/sh
case "$1" in
--version) echo "qemu-aarch64 version 10.0.13" ;;
-h) echo "usage: qemu-aarch64 [options] program" ;;
esac
"""
REFUSING = """#!/bin/sh
case "$1" in
--version) echo "qemu-aarch64 version 99.0" ;;
-h) echo "-plugin           QEMU_PLUGIN" ;;
*) echo "TCG plugin requires API version" >&2; exit 1 ;;
esac
"""
SECOND_ONLY = """#!/bin/sh
case "$1$2" in
--version) echo "qemu-aarch64 version 9.0" ;;
-h) echo "-plugin           QEMU_PLUGIN" ;;
*counter-2*) exit 0 ;;
*) exit 1 ;;
esac
"""


class Plugins:
    """Plugins that are named, and not built."""

    def counter(self, api: int) -> Path:
        from pathlib import Path

        return Path(f"/plugins/counter-{api}/plugin.so")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a script in the place of qemu-aarch64."""

    def put(script: str) -> Path:
        program = tmp_path / counting.PROGRAM
        program.write_text(script)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return tmp_path

    return put


def test_a_static_emulator_is_refused(install) -> None:
    root = install(STATIC)
    with pytest.raises(HostError, match="loads no plugins: it is static") as refused:
        counting.find_emulator(Plugins(), root, "cortex-a53")
    assert "put a dynamic qemu-aarch64 first in the PATH" in refused.value.line()
    assert "\n" not in refused.value.line()


def test_an_emulator_that_loads_no_version_is_refused_with_its_words(install) -> None:
    root = install(REFUSING)
    with pytest.raises(HostError, match="does not load the counter: TCG plugin requires"):
        counting.find_emulator(Plugins(), root, "cortex-a53")


def test_the_newest_plugin_that_loads_is_taken(install) -> None:
    root = install(SECOND_ONLY)
    found = counting.find_emulator(Plugins(), root, "cortex-a53")
    assert "counter-2" in str(found.plugin)
    assert found.version == "qemu-aarch64 version 9.0"


def test_no_emulator_at_all_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="there is no qemu-aarch64"):
        counting.find_emulator(Plugins(), tmp_path, "cortex-a53")
