#!/usr/bin/env python3
"""Run the commands that a page of the documentation shows, and write what they print into it.

    page_commands.py PAGE...

A command is a line that begins with "$ " in a block marked `console`. A block marked `text` right
below shows what the last of them prints, on a terminal of 80 columns. `<!-- numbers vary -->`
between the two means that its numbers differ from run to run. A block whose first line is a comment
with a path is a file, which is written before the first command runs. "pi$ " is the prompt of a
board.

How long each command took goes between `<!-- times: ... -->` and `<!-- /times -->`, if the page has
these marks. tests/emulation/test_pages.py runs the same commands with an installed pibench.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEADLINE_S: Final = 900
_EXAMPLE: Final = re.compile(
    r"^```console\n(?P<commands>.*?)^```\n"
    r"(?:\n?(?P<vary><!-- numbers vary -->\n)?\n?```text\n(?P<shown>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
_FILE: Final = re.compile(
    r"^```\w+\n(?P<text># (?P<path>\S+/\S+\.\w+)\n.*?)^```\n", re.DOTALL | re.MULTILINE
)
_TIMES: Final = re.compile(
    r"^(?P<open><!-- times: [^\n]*-->\n).*?^(?P<close><!-- /times -->)$", re.DOTALL | re.MULTILINE
)
_CODE: Final = re.compile(r"# exit code (\d)\b(?! unless)")
_NO_FIT: Final = re.compile(r"^[^|\n]* does not fit ", re.MULTILINE)
_NUMBER: Final = re.compile(r"\d[\d,.]*")
NOT_RUN: Final = {
    "pip install": "pibench is installed already",
    "python3 -m venv": "pibench is installed already",
    "source": "pibench is installed already",
    "make": "it installs packages on this machine",
    "scripts/gate.sh install": "it installs packages on this machine",
    "ssh://": "it needs a board",
    "pi-results.jsonl": "it needs a board",
    "pi.jsonl": "it needs a board",
}
"""Commands that are shown and not run, by a part of them, and why."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of a page, its exit code, and what the page shows of its output, if anything."""

    line: str
    code: int = 0
    shown: str | None = None
    numbers_vary: bool = False

    @property
    def not_run(self) -> str | None:
        """Why it is shown only."""
        words = self.line.split(" #")[0]
        found = (
            why for part, why in NOT_RUN.items() if re.search(rf"(^|\s){re.escape(part)}", words)
        )
        return next(found, None)

    def differs(self, output: str) -> bool:
        """Return whether the page shows something other than this output."""
        if self.shown is None:
            return False
        if self.numbers_vary:
            return _words(self.shown) != _words(output)
        return _right_stripped(self.shown) != _right_stripped(output)


def commands(page: str) -> Iterator[Command]:
    """Yield the commands of a page in order."""
    for found in _EXAMPLE.finditer(page):
        lines = [
            line.removeprefix("$ ")
            for line in found["commands"].splitlines()
            if line.startswith("$ ")
        ]
        for number, line in enumerate(lines, 1):
            code = _CODE.search(line)
            is_last = number == len(lines)
            shown = found["shown"] if is_last else None
            yield Command(
                line=line,
                # What `check` answers is its exit code.
                code=int(code[1]) if code else int(bool(shown and _NO_FIT.search(shown))),
                shown=shown,
                numbers_vary=is_last and found["vary"] is not None,
            )


def write_files(page: str, folder: Path) -> None:
    """Write the files that the page shows into a folder."""
    for found in _FILE.finditer(page):
        path = folder / found["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found["text"], encoding="utf-8")


def run(command: Command, folder: Path, env: Mapping[str, str]) -> str:
    """Run a command as a shell would; its output, and that on standard error.

    Raises:
        SystemExit: it ended with another code than the page states.
    """
    done = subprocess.run(
        ["/bin/bash", "-c", command.line],
        cwd=folder,
        env={**env, "COLUMNS": "80", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    if done.returncode != command.code:
        raise SystemExit(f"{command.line}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def written(page: str, folder: Path, env: Mapping[str, str]) -> str:
    """Return the page with the output and the times of its commands, which are run."""
    write_files(page, folder)
    outputs: list[str] = []
    times: list[str] = []
    for command in commands(page):
        if command.not_run:
            outputs.append("")
            continue
        started = time.monotonic()
        outputs.append(run(command, folder, env))
        line = command.line.split("  #")[0].rstrip().replace("|", "\\|")
        times.append(f"| `{line}` | {time.monotonic() - started:,.1f} |")
        print(times[-1], file=sys.stderr, flush=True)
    remaining = iter(outputs)

    def with_output(found: re.Match[str]) -> str:
        lines = [line for line in found["commands"].splitlines() if line.startswith("$ ")]
        output = [next(remaining) for _ in lines]
        if found["shown"] is None:
            return found[0]
        start, end = (place - found.start() for place in found.span("shown"))
        return f"{found[0][:start]}{_right_stripped(output[-1])}\n{found[0][end:]}"

    page = _EXAMPLE.sub(with_output, page)
    table = "\n".join(["| command | seconds |", "|---|---|", *times])
    return _TIMES.sub(lambda found: f"{found['open']}{table}\n{found['close']}", page)


def _right_stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def _words(text: str) -> list[str]:
    return _NUMBER.sub("0", text).split()


def main() -> None:
    """Rewrite each page."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for page in map(Path, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            text = written(
                page.read_text(encoding="utf-8"), Path(folder), {**os.environ, "PATH": path}
            )
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
