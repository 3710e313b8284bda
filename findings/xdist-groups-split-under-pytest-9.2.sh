#!/usr/bin/env bash
# pytest-xdist 3.8.0 silently divides the tests of a group among workers under pytest 9.2.0.
#
# Guess: with `--dist loadgroup`, tests marked xdist_group("board") run in one worker, whatever the version of pytest,
# or pytest refuses. Both are the newest releases, and xdist states no upper limit for pytest.
# Seen with pytest-xdist 3.8.0: six tests of one group in 3 workers ran
#   pytest 9.1.1   in 1 worker
#   pytest 9.2.0   in 3 workers, two tests each; no warning, and the header reads "scheduling tests via LoadGroupScheduling"
# xdist appends "@group" to the private attribute `_nodeid` of an item and later reads the public `nodeid`, which 9.2.0
# no longer takes from there. No group is found, so each test is a group of its own.
# Groups are for tests that share what only one may use: a board on a serial port, an emulator's snapshot, a server's
# fixed port. These collide, or each worker boots the board again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/test_board.py" <<'TESTS'
import os
import time
from pathlib import Path

import pytest


@pytest.mark.xdist_group("board")
@pytest.mark.parametrize("number", range(6))
def test_on_the_board(number):
    Path(f"{number}.worker").write_text(os.environ["PYTEST_XDIST_WORKER"])
    time.sleep(0.5)
TESTS
workers() {
    local place="$folder/$1"
    python3 -m venv "$place"
    "$place/bin/pip" install --quiet --disable-pip-version-check "pytest==$1" pytest-xdist==3.8.0
    (cd "$place" && bin/python -m pytest -q -n 3 --dist loadgroup -p no:cacheprovider --rootdir . ../test_board.py >output) || {
        cat "$place/output"
        exit 1
    }
    cat "$place"/*.worker | sed 's/gw/\ngw/g' | sed '/^$/d' | sort -u | wc -l
}
before=$(workers 9.1.1)
after=$(workers 9.2.0)
echo "workers that ran the tests of one group: pytest 9.1.1: $before, pytest 9.2.0: $after"
[ "$before" -eq 1 ] || { echo "the behaviour of 9.1.1 is another one" >&2; exit 1; }
[ "$after" -gt 1 ] || { echo "the behaviour has changed" >&2; exit 1; }
