"""run.py as a board's owner starts it, with a stand-in for Caffe that fails as asked."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pibench.bundle.kit import Kit
from pibench.bundle.results import read_results
from pibench.probe.results import entries, line_of

# It prints what caffe time prints; a file named after the model's number sets how it ends.
CAFFE = """\
#!/bin/sh
case " $* " in *" --version "*) echo caffe version 1.0.0; exit ;; esac
while [ "$1" != -model ]; do shift; done
[ -r "$2" ] || exit 1
plan={plans}/${{2##*/}} how=well
[ ! -e "$plan" ] || read -r how < "$plan"
printf x >> "$plan.count"
case $how in
sleep) exec sleep 60 ;;
killed) kill -KILL $$ ;;
"takes the probe along") kill -KILL $PPID; exec sleep 60 ;;
refused)
    echo "F1122 07:43:53.869290  8470 net.cpp:1] Unknown layer type: Mish" >&2
    kill -ABRT $$ ;;
esac
printf 'I1122 07:43:53.8  1 caffe.cpp:397]      conv1\\tforward: 1.25 ms.\\n' >&2
echo "I1122 07:43:53.8  1 caffe.cpp:405] Average Forward pass: 81.5 ms." >&2
"""


class Board:
    """A folder with an unpacked kit, and a Caffe on the PATH."""

    def __init__(self, folder: Path, kit: Kit, *, with_caffe: bool = True) -> None:
        with tarfile.open(kit.path) as archive:
            archive.extractall(folder, filter="data")
        self.top = folder / "pi-kit"
        self.plans = folder / "plans"
        self.plans.mkdir()
        self.results = self.top / "pi-results.jsonl"
        self.bin = folder / "bin"
        self.bin.mkdir()
        if with_caffe:
            caffe = self.bin / "caffe"
            caffe.write_text(CAFFE.format(plans=shlex.quote(str(self.plans))))
            caffe.chmod(0o755)

    def plan(self, network: str, how: str) -> None:
        (self.plans / f"{network}.prototxt").write_text(f"{how}\n")

    def times_run(self, network: str) -> int:
        count = self.plans / f"{network}.prototxt.count"
        return len(count.read_text()) if count.exists() else 0

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "run.py", *arguments],
            cwd=self.top,
            env={"PATH": f"{self.bin}:/usr/bin:/bin", "LANG": "C"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        output = process.communicate(timeout=100)[0]
        assert "Traceback" not in output
        return process.returncode, output

    def entries(self) -> list[dict[str, Any]]:
        with self.results.open("rb") as stream:
            return [entry for _, _, entry in entries(stream)]

    def events(self) -> list[str]:
        return [entry["event"] for entry in self.entries()]

    def wait_for(self, event: str, network: str) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if any((e["event"], e.get("id")) == (event, network) for e in self.entries()):
                    return
            time.sleep(0.05)
        raise AssertionError(f"no {event} of {network}")


@pytest.fixture
def board(tmp_path: Path, kit: Kit) -> Board:
    # Not on a file system that lies in memory, which run.py refuses.
    return Board(tmp_path, kit)


WHOLE = ["begin", "machine", "start", "result", "start", "result", "end"]


def test_it_runs_all_and_states_how(board: Board) -> None:
    code, output = board.run()
    assert code == 0
    assert "[1/2] NIN: started" in output
    assert "[2/2] SqueezeNet V1.1: peak" in output
    assert "forward 82 ms" in output
    assert "pibench import pi-results.jsonl" in output
    assert board.events() == WHOLE
    found = read_results(board.results)
    assert [run.network.name for run in found.runs] == ["NIN", "SqueezeNet V1.1"]
    machine = board.entries()[1]["machine"]
    assert "sandbox" not in machine
    assert machine["caffe_origin"] == "system"
    # What ran leaves nothing else behind.
    assert {path.name for path in board.top.iterdir()} == {
        *("README.txt", "job.json", "manifest.json", "models", "probe", "run.py"),
        "pi-results.jsonl",
    }


def test_what_is_done_is_not_run_again(board: Board) -> None:
    board.run()
    code, output = board.run()
    assert (code, board.events()) == (0, WHOLE)
    assert "2 of 2 networks are already done" in output
    assert board.times_run("0") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_after_an_interruption_it_goes_on(board: Board, number: signal.Signals) -> None:
    board.plan("1", "sleep")
    process = board.start()
    board.wait_for("start", "1")
    process.send_signal(number)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 130
    assert "goes on where this stopped" in output
    assert board.events()[-1] == "interrupted"
    board.plan("1", "well")
    code, output = board.run()
    assert code == 0
    assert "1 of 2 networks are already done" in output
    assert board.times_run("0") == 1
    assert board.events() == [
        *("begin", "machine", "start", "result", "start", "interrupted"),
        *("machine", "start", "result", "end"),
    ]
    assert len(read_results(board.results).runs) == 2


def test_one_that_is_killed_costs_itself_alone(board: Board) -> None:
    board.plan("0", "killed")
    code, output = board.run()
    assert code == 0
    assert "[1/2] NIN: ended by signal 9" in output
    assert board.entries()[3]["result"]["signal"] == 9
    assert board.events() == WHOLE


def test_what_caffe_refuses_is_reported(board: Board) -> None:
    board.plan("0", "refused")
    code, output = board.run()
    assert code == 0
    assert "[1/2] NIN: Caffe gave up: net.cpp:1] Unknown layer type: Mish" in output


def test_one_that_takes_the_probe_along_costs_itself_alone(board: Board) -> None:
    board.plan("0", "takes the probe along")
    code, output = board.run()
    assert code == 0
    assert "[1/2] NIN: the probe ended before it" in output
    assert board.events() == [
        *("begin", "machine", "start", "died", "machine", "start", "result", "end")
    ]
    assert read_results(board.results).runs[0].outcome.result is None


def test_one_that_takes_the_machine_down_is_tried_twice(board: Board, kit: Kit) -> None:
    written = [
        {"event": "begin", "format": "pibench-results", "version": 1, "kit": kit.digest},
        {"event": "start", "id": "0"},
        {"event": "start", "id": "0"},
    ]
    digest = kit.digest
    with board.results.open("wb") as file:
        for entry in written:
            digest, line = line_of(digest, entry)
            file.write(line)
        # The power failed within a line.
        file.write(line[:40])
    code, output = board.run()
    assert code == 0
    assert "[1/2] NIN: given up, the machine went down in each of 2 attempts" in output
    assert board.times_run("0") == 0
    assert board.events()[3:5] == ["died", "machine"]


def test_the_results_may_be_closed_early(board: Board) -> None:
    code, output = board.run("--end")
    assert (code, "there are no results yet" in output) == (2, True)
    board.plan("0", "sleep")
    process = board.start()
    board.wait_for("start", "0")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    code, output = board.run("--end")
    assert (code, "0 of 2 networks are in" in output) == (0, True)
    assert "nothing to import yet; run them" in output
    assert "copy it" not in output
    board.plan("0", "well")
    board.plan("1", "sleep")
    process = board.start()
    board.wait_for("start", "1")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    code, output = board.run("--end")
    assert code == 0
    assert "1 of 2 networks are in" in output
    assert [run.network.name for run in read_results(board.results).runs] == ["NIN"]
    # It can be gone on with all the same.
    board.plan("1", "well")
    assert board.run()[0] == 0
    assert len(read_results(board.results).runs) == 2


def test_two_at_once_would_measure_each_other(board: Board) -> None:
    board.plan("1", "sleep")
    process = board.start()
    board.wait_for("start", "1")
    code, output = board.run()
    assert (code, "this bundle is already running" in output) == (3, True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


def test_a_file_that_is_not_as_packed_is_named(board: Board) -> None:
    model = board.top / "models/1.prototxt"
    model.write_text(model.read_text() + "\n")
    code, output = board.run()
    assert code == 2
    assert "the bundle is damaged: models/1.prototxt differs from the packed file" in output
    assert not board.results.exists()
    model.unlink()
    assert board.run()[0] == 2


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"networks": 5}', '{"files": [1]}', "\xff", "[" * 100_000]
)
def test_a_damaged_manifest_is_reported(board: Board, text: str) -> None:
    (board.top / "manifest.json").write_bytes(text.encode("latin-1"))
    code, output = board.run()
    assert code == 2
    assert "the bundle is damaged: manifest.json" in output


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("networks", 0, "id"), ["0"]),
        (("networks", 0, "name"), 5),
        (("files", 0, "size_bytes"), "many"),
        (("files", 0, "path"), "a\0b"),
        (("caffe",), "yes"),
        (("caffe",), {"archive": 1, "key": "k", "sha256": "s", "unpacked_bytes": 1}),
        (("options", "protocol"), None),
    ],
)
def test_a_manifest_that_was_edited_is_reported(
    board: Board, place: tuple[Any], value: Any
) -> None:
    path = board.top / "manifest.json"
    holder = manifest = json.loads(path.read_text())
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = value
    path.write_text(json.dumps(manifest))
    code, output = board.run()
    assert (code, output.count("\n")) == (2, 1)
    assert "the bundle is damaged: manifest.json" in output


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("probe/__init__.py", lambda path: path.unlink()),
        ("probe/__init__.py", lambda path: path.write_text("no_such_name\n")),
        ("probe/kit.py", lambda path: path.write_bytes(path.read_bytes()[:-40])),
        ("manifest.json", lambda path: path.unlink()),
    ],
)
def test_without_its_whole_program_it_is_reported(
    board: Board, name: str, damage: Callable[[Path], Any]
) -> None:
    damage(board.top / name)
    code, output = board.run()
    assert (code, output.count("\n")) == (2, 1)
    assert output.startswith(
        f"the bundle is damaged: {name} differs from the packed file; copy and unpack"
    )


def test_results_that_were_altered_are_not_gone_on_with(board: Board) -> None:
    board.run()
    board.results.write_bytes(
        board.results.read_bytes().replace(b'"signal":null', b'"signal":9   ')
    )
    code, output = board.run()
    assert code == 2
    assert "pi-results.jsonl: line 4: its digest does not match" in output


def test_results_of_another_kit_stay_as_they_are(board: Board) -> None:
    digest, line = line_of(
        "b" * 64,
        {"event": "begin", "format": "pibench-results", "version": 1, "kit": "b" * 64},
    )
    assert digest
    board.results.write_bytes(line)
    code, output = board.run()
    assert (code, "belongs to another bundle; move it away" in output) == (2, True)
    assert board.results.read_bytes() == line


def test_without_a_caffe_it_states_what_to_do(tmp_path: Path, kit: Kit) -> None:
    board = Board(tmp_path, kit, with_caffe=False)
    for arguments in ((), ("--check",)):
        code, output = board.run(*arguments)
        assert code == 3
        assert "no usable Caffe" in output
    assert not board.results.exists()


def test_a_check_runs_nothing(board: Board) -> None:
    code, output = board.run("--check")
    assert (code, "it can run here" in output) == (0, True)
    assert not board.results.exists()


def test_a_folder_that_cannot_be_written_is_reported(board: Board) -> None:
    board.results.mkdir()
    code, output = board.run()
    assert code == 3
    assert "pi-results.jsonl: Is a directory" in output


def test_an_old_python_is_reported() -> None:
    # The file is Python 2 as well: its first lines are all that is run there.
    import parso

    from tests.unit.probe.test_python_3_5 import FOLDER

    source = (FOLDER / "start_kit.py").read_text()
    grammar: Any = parso.load_grammar(version="2.7")
    assert [one.message for one in grammar.iter_errors(grammar.parse(source))] == []
    pretended = (
        "import sys; sys.argv = ['run.py']; sys.version_info = (2, 7, 18); "
        f"exec(compile({source!r}, '/kit/run.py', 'exec'), "
        "{'__name__': '__main__', '__file__': '/kit/run.py'})"
    )
    ended = subprocess.run(
        [sys.executable, "-c", pretended], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 3
    assert (
        ended.stdout == "this is Python 2.7.18, and 3.5 or later is needed; run it with python3\n"
    )


def test_what_is_printed_fits_any_terminal(board: Board) -> None:
    manifest = json.loads((board.top / "manifest.json").read_text())
    manifest["networks"][0]["name"] = "N\u00efN\x1b[2J"
    (board.top / "manifest.json").write_text(json.dumps(manifest))
    code, output = board.run()
    assert code == 0
    assert "[1/2] N" in output
    assert "\x1b" not in output


def test_no_reader_is_not_a_reason_to_stop(board: Board) -> None:
    process = board.start()
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert board.events() == WHOLE
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
