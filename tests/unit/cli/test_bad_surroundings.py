"""One line, the right exit code and nothing lost, in any environment of the command line."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pibench import cli, diagnosis, networks
from pibench.cli import run
from pibench.cli.output import ignore_broken_pipe
from pibench.errors import HostError, InvalidInputError
from pibench.records.schema import Record
from pibench.records.store import RecordStore
from pibench.report.text import LONGEST, one_line
from pibench.runner.options import RunOptions
from tests.limits import without_root

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Pibench

RELU = 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" } '
NET = 'input: "data" input_dim: [1, 3, 8, 8] ' + RELU


def started(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pibench", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "NIN", "--batch", "x"], "--batch"),
        (["run", "NIN", "--jobs", "0"], "--jobs"),
        (["run"], "Missing argument"),
        (["nonsense"], "nonsense"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_a_wrong_call_is_one_line_that_points_to_the_help(
    pibench: Pibench, arguments: list[str], message: str
) -> None:
    line = pibench(*arguments, code=2).line
    assert message in line
    assert line.endswith("--help")


def test_no_arguments_print_the_help(pibench: Pibench) -> None:
    done = pibench(code=2)
    assert "reproduce" in done.err + done.out


def test_a_fault_of_our_own_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PIBENCH_TRACEBACK", raising=False)
    assert cli.explain(KeyError("weights\n")) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pibench: internal error: KeyError")
    monkeypatch.setenv("PIBENCH_TRACEBACK", "1")
    with pytest.raises(KeyError):
        cli.explain(KeyError("weights"))


def test_names_cannot_steer_the_terminal(pibench: Pibench) -> None:
    assert one_line("a\n b\x1b[31m\u202e") == "a b\\x1b[31m\\u202e"
    line = pibench("run", "no\x1b[31m\nsuch.prototxt", code=2).line
    assert line == "pibench: no\\x1b[31m such.prototxt: no such file; check the path"


def test_a_line_is_not_endless_and_keeps_its_hint() -> None:
    line = one_line("x" * 100_000 + "; check the path")
    assert len(line) <= LONGEST
    assert line.endswith("; check the path")


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
def test_closed_streams_change_nothing(closed: tuple[int, ...], tmp_path: Path) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    command = [sys.executable, "-m", "pibench", "networks", "show", str(path)]
    assert subprocess.run(command, preexec_fn=close, check=False).returncode == 0
    assert path.read_text() == NET


def test_a_name_that_the_locale_cannot_print(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text('name: "été" ' + NET, encoding="utf-8")
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = started("networks", "show", str(path), env=env, stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_reader_that_leaves_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream, contextlib.redirect_stdout(stream):
        with ignore_broken_pipe():
            print("x" * 100_000)
        with ignore_broken_pipe():
            print("and more")


@pytest.mark.parametrize("arguments", [["schema"], ["predict", "NIN", "--json"]])
def test_a_full_disk_behind_standard_output_is_reported(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = started(*arguments, stdout=full)
    (line,) = done.stderr.splitlines()
    assert line.startswith("pibench: standard output: No space left on device")
    assert "TMPDIR" not in line
    assert done.returncode == 3


def test_a_temporary_folder_without_room_is_one_line(tmp_path: Path) -> None:
    def no_file_of_more_than_100_bytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    done = started(
        "bundle", "NIN", "-o", str(tmp_path / "k.tar.gz"), stdout=subprocess.DEVNULL,
        # Python 3.11 keeps bytecode that was cut short, and trips over it ever after.
        env=os.environ | {"PIBENCH_CACHE_DIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=no_file_of_more_than_100_bytes,
    )  # fmt: skip
    (line,) = done.stderr.splitlines()
    assert "File too large" in line
    assert len(line) < 500
    assert done.returncode == 3
    assert not list(tmp_path.iterdir())


def test_until_an_interruption_is_taken_little_is_imported() -> None:
    """What of it is left cannot be caught: the interpreter's own start."""
    code = "import os, signal, sys, warnings; before = set(sys.modules); import pibench.cli; "
    code += "print(*sorted(set(sys.modules) - before - {'warnings', '__future__'}))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["pibench", "pibench._version", "pibench.cli"]


def test_records_that_could_not_be_written_are_refused_before_the_run(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, output in (
        (tmp_path, "is a directory"),
        (Path(os.devnull), "not a regular file"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "loop", "cannot be written"),
        (tmp_path / ("x" * 300), "cannot be written"),
    ):
        with pytest.raises(InvalidInputError, match=output):
            RecordStore(path).prepare()


def test_preparing_leaves_what_was_recorded(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("garbage\ntorn")
    RecordStore(tmp_path / "r.jsonl").prepare()
    assert (tmp_path / "r.jsonl").read_text() == "garbage\ntorn"


def test_a_cache_that_is_not_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    from pibench import settings

    monkeypatch.setenv("PIBENCH_CACHE_DIR", "~nobody-of-this-name/x")
    with pytest.raises(HostError, match="PIBENCH_CACHE_DIR=~nobody"):
        settings.cache_dir()


def test_names_of_files_and_networks_fit_for_a_record(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.prototxt")
    path.write_text(NET)
    assert networks.load(str(path)).recorded_source == f"{tmp_path}/caf?.prototxt"
    path.write_text(f'name: "{"n" * 5000}" ' + NET)
    assert len(networks.load(str(path)).name) == 200


def test_what_only_training_has_is_checked_for_caffe_time(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(NET + 'layer { name: "t" type: "Python" top: "t" include { phase: TRAIN } }')
    loaded = networks.load(str(path))
    with pytest.raises(InvalidInputError, match="layer 't': a Python layer's code"):
        loaded.shapes_under("caffe-time")
    path.write_text(NET)
    networks.load(str(path)).shapes_under("caffe-time")


def a_record() -> Record:
    text = Path(__file__).parent.parent / "records" / "record-1.10.json"
    return Record.model_validate_json(text.read_text())


def test_what_was_made_is_shown_where_it_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def full(_: object, __: object, ___: object, made: list[Record], **____: object) -> None:
        made.append(a_record())
        raise HostError("the disk is full")

    monkeypatch.setattr(run, "run_with_progress", full)
    with pytest.raises(HostError, match="the disk is full"):
        run.run_and_show(
            [networks.load("NIN")], RunOptions(target="twin"), tmp_path / "r.jsonl", quiet=True,
            as_json=True,
        )  # fmt: skip
    assert a_record().record_id in capsys.readouterr().out


def test_the_way_out_of_a_layer_without_backward_pass() -> None:
    record = a_record().model_copy(update={"protocol": "caffe-time"})
    hint = run.hint_for(record, "argmax_layer.hpp:67] Not Implemented Yet")
    assert hint is not None
    assert "--protocol inference" in hint
    assert run.hint_for(record, "net.cpp:1] Check failed") is None


def test_the_doctor_looks_past_a_cache_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("PIBENCH_DEBIAN_MIRROR", "http://mirror/debian")
    found = {finding.name: finding for finding in diagnosis.diagnose().findings}
    assert found["cache"].state == "missing"

    closed = tmp_path / "closed"
    (closed / "images").mkdir(parents=True)
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(closed))
    closed.chmod(0)
    with without_root():
        assert not diagnosis.in_reach(closed / "images")
        assert diagnosis.built_kinds() == []
    closed.chmod(0o700)


def test_a_network_is_passed_on_unchanged_in_any_locale(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pibench.targets import job, base; "
        "work = base.Job(id='0', name='n', prototxt='name: \"\\u00e9\"', weights=None, "
        "protocol='caffe-time', compute='real', threads=1, timeout_s=1.0); "
        "job.write_job(Path(sys.argv[1]), [work], job.Programs(program=[], python=[]), "
        "job.Libraries())"
    )
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "job")], env=env, check=True)
    model = tmp_path / "job" / "models" / "0.prototxt"
    assert model.read_text(encoding="utf-8") == 'name: "é"'
