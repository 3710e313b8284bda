"""Commands under user ids that have no entry in the passwd file, as a container's often have none.

Python and this repository may lie in folders that others than root may not enter. In a mount
name space of the command's own they lie there for all.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.mounts import require_mounts

USER, OTHER = 54321, 54322
ROOT = Path(__file__).resolve().parents[1]
# STAGE NUMBER CLOSED... SHOWN... -- COMMAND: each of SHOWN is bound below STAGE, the folders that
# are closed are hidden by empty ones, and SHOWN is put where it was.
_IN_NAMESPACE = """\
stage=$1 count=$2; shift 2
mount --make-rprivate / && mount -t tmpfs tmpfs "$stage"
closed=""
while [ "$count" -gt 0 ]; do closed="$closed $1"; shift; count=$((count - 1)); done
shown=""
while [ "$1" != -- ]; do
    number=$((number + 1))
    mkdir "$stage/$number" && mount --rbind "$1" "$stage/$number"
    shown="$shown $number:$1"; shift
done
shift
for folder in $closed; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
for one in $shown; do
    place=${one#*:}
    mkdir -p "$place" && mount --rbind "$stage/${one%%:*}" "$place"
done
cd "$PWD" && exec "$@"
"""


def run_as(
    user: int,
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path,
    groups: tuple[int, ...] = (),
    read_only: Path | None = None,
    program: tuple[str, str] = ("-m", "pibench"),
) -> subprocess.CompletedProcess[str]:
    """`pibench ARGUMENTS` of a user id, without HOME or a name, with `env` and nothing else.

    `read_only` is a folder that is mounted so, to be read by all. `program` is what Python runs.
    """
    require_mounts()
    shown = {Path(sys.base_prefix), Path(sys.prefix), ROOT, cwd}
    shown |= {read_only} if read_only else set()
    closed = {first for path in shown if (first := _closed_above(path))}
    # After the parent is mounted again, a folder below it is visible.
    shown = {path for path in shown if not any(other in path.parents for other in shown)}
    shown = {path for path in shown if _closed_above(path)}
    grouping = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    remount = (
        ["sh", "-ec", 'mount --bind -o ro "$0" "$0"; exec "$@"', read_only] if read_only else []
    )
    with tempfile.TemporaryDirectory() as stage:
        command = [
            *("unshare", "--mount", "sh", "-ec", _IN_NAMESPACE, "sh", stage, len(closed)),
            *(*closed, *shown, "--", *remount),
            *("setpriv", f"--reuid={user}", f"--regid={user}", *grouping),
            *(sys.executable, *program, *arguments),
        ]
        return subprocess.run(
            list(map(str, command)),
            cwd=cwd,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
                **(env or {}),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


def _closed_above(path: Path) -> Path | None:
    """The topmost folder above a path that others may not enter."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None
