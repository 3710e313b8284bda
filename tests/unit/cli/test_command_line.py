"""The commands as they are started: what is imported, what is refused, which exit code."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command

from pibench import networks
from pibench.cli.app import application
from pibench.cli.run import exit_code_of
from pibench.errors import ExitCode, InvalidInputError
from pibench.images import store
from pibench.records.schema import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import typer

    from pibench.records.schema import Record
    from tests.unit.cli.conftest import Pibench


@pytest.fixture
def own_process(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own, after some code."""
    env = os.environ | {"PIBENCH_CACHE_DIR": str(tmp_path / "cache")}

    def run(*arguments: str, code: str) -> subprocess.CompletedProcess[str]:
        main = "import sys\nfrom pibench.cli import main\n" + textwrap.dedent(code)
        return subprocess.run(
            [sys.executable, "-c", main + "\nmain()", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=env,
            timeout=60,
        )

    return run


Run = Any


TRAIN_VAL = """layer { name: "d" type: "Data" top: "d" top: "label" }
layer { name: "c" type: "Convolution" bottom: "d" top: "c"
  convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "n" type: "BatchNorm" bottom: "c" top: "c" batch_norm_param { FIELD } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" }"""


def test_each_command_that_names_repair_and_input_takes_them(pibench: Pibench) -> None:
    Path("net.prototxt").write_text(TRAIN_VAL.replace("FIELD", ""))
    commands = {"show": (), "export": ("out", "--weights"), "fold-bn": ("-o", "folded")}
    for command, rest in commands.items():
        start = ("networks", command, "net.prototxt", *rest)
        assert "use --repair to put an Input layer" in pibench(*start, code=2).err
        assert "give it: --input HxW" in pibench(*start, "--repair", code=2).err
        assert pibench(*start, "--repair", "--input", "8x9").out
    for name in ("out/net", "folded/net-folded"):
        assert networks.load(f"{name}.prototxt").shapes.blobs["d"] == (1, 3, 8, 9)
    loaded = networks.load("out/net.prototxt", weights=Path("out/net.caffemodel"))
    assert loaded.parameter_count == 2 * 27 + 2 + 2 + 2 + 1
    Path("net.prototxt").write_text(TRAIN_VAL.replace("FIELD", "use_global_stats: false"))
    start = ("networks", "fold-bn", "net.prototxt", "-o", "folded", "--repair", "--input", "8x9")
    assert "layer 'n': use_global_stats: false takes no stored values; " in (
        pibench(*start, code=2).err
    )


def test_exported_weights_fit_another_image_size(pibench: Pibench) -> None:
    pibench("networks", "export", "AlexNet", "out", "--weights", "--input", "64x96")
    loaded = networks.load("out/alexnet.prototxt", weights=Path("out/alexnet.caffemodel"))
    assert loaded.image_size() == (64, 96)


def test_help_imports_nothing_that_takes_long(own_process: Run) -> None:
    code = """
        import atexit
        heavy = ("pydantic", "numpy", "google.protobuf", "psutil", "qemu", "asyncio")
        atexit.register(lambda: print("loaded:", [m for m in heavy if m in sys.modules]))
    """
    done = own_process("--help", code=code)
    assert done.returncode == 0
    assert "reproduce" in done.stdout
    assert "loaded: []" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "Nonsense"], "Nonsense"),
        (["run", "NIN", "AlexNet", "--weights", "w.caffemodel"], "is for one network, but 2"),
        (["run", "NIN", "--out", "."], "is a directory; name a file"),
        (["run", "NIN", "--device", "toaster"], "toaster"),
        (["run", "missing.prototxt"], "missing.prototxt"),
        (["run", "NIN", "--batch", "0"], "batch 0"),
        (["run", "NIN", "--input", "300"], "'300' is not an input size"),
        (["run", "NIN", "--target", "toaster"], "'toaster' is not one of auto, vm"),
        (["reproduce", "--networks", "Nonsense"], "Nonsense"),
        (["reproduce", "--networks", ",  ,"], "names no network"),
        (["image", "build", "floppy"], "there is no image called floppy; choose from"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    arguments: list[str], message: str, pibench: Pibench, tmp_path: Path
) -> None:
    assert message in pibench(*arguments, code=2).line
    assert not list(tmp_path.rglob("*.jsonl"))


def test_a_wrong_option_is_refused_by_name(pibench: Pibench) -> None:
    assert "moon" in pibench("run", "NIN", "--target", "moon", code=2).line


def test_an_out_folder_that_is_a_file_is_refused(pibench: Pibench, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = pibench("reproduce", "--networks", "NIN", "--out", "file", code=2)
    assert "cannot be made a directory" in done.line


def test_a_machine_without_qemu_is_an_environment_fault(
    pibench: Pibench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install qemu-system-arm" in pibench("run", "NIN", "-q", code=3).line


def test_the_schema_is_a_json_schema_with_units(pibench: Pibench) -> None:
    output = pibench("schema").out
    schema = json.loads(output)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["type"] == "object"
    assert schema["properties"]["provenance"]["type"] == "object"
    assert "peak_rss_bytes" in schema["required"]
    assert '"unit": "byte"' in output


def test_doctor_in_json_states_what_is_missing_and_the_fix(pibench: Pibench) -> None:
    done = pibench("doctor", "--json", code=None)
    found = json.loads(done.out)
    assert done.code == (0 if found["targets"] else 3)
    states = {finding["name"]: finding for finding in found["findings"]}
    assert {"qemu-system-aarch64", "memory", "images", "cache"} <= set(states)
    assert all(finding["fix"] for finding in states.values() if finding["state"] == "missing")
    assert states["images"]["found"] == "none built yet"


def test_images_in_json(pibench: Pibench) -> None:
    assert json.loads(pibench("image", "list", "--json").out) == []
    store.ensure("vm", "ab" * 32, "cd" * 32, lambda _content, _work: None)
    (image,) = json.loads(pibench("image", "list", "--json").out)
    assert (image["kind"], image["key"], image["size_bytes"]) == ("vm", "ab" * 32, 0)
    assert Path(image["path"]).is_dir()
    pibench("image", "verify")
    (Path(image["path"]) / "content" / "more").touch()
    assert "CHANGED" in pibench("image", "verify", code=3).out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_reported_and_ends_with_130(number: int, own_process: Run) -> None:
    code = f"""
        import os
        import pibench.diagnosis
        pibench.diagnosis.diagnose = lambda: os.kill(os.getpid(), {int(number)})
    """
    done = own_process("doctor", code=code)
    assert done.returncode == 130
    assert done.stdout == ""
    assert done.stderr == "pibench: interrupted; what was made so far is kept\n"


def test_a_reader_that_has_gone_is_not_a_fault(tmp_path: Path) -> None:
    command = f"{sys.executable} -m pibench schema | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


# ---------------------------------------------------------------- every command

NO_DATA = {
    "sweep export", "board clean", "calibrate", "image build", "image lock", "image prune",
    "image verify",
    "networks convert", "networks export", "networks fold-bn", "networks show", "run-cell",
    "schema",
}  # fmt: skip
"""What prints no data of its own, or nothing but a file or JSON."""


def commands(group: Any, *names: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield " ".join([*names, name]), command


COMMANDS = dict(commands(get_command(application())))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_it_would_take(name: str) -> None:
    command = COMMANDS[name]
    (example,) = [line for line in command.help.splitlines() if line.startswith("Example: ")]
    output = shlex.split(example.removeprefix("Example: pibench "), comments=True)
    output = output[: output.index(">")] if ">" in output else output
    assert output[: len(name.split())] == name.split()
    # Parsed, and not run: an option that was renamed is refused here.
    parent = get_command(application()).make_context("pibench", ["--help"], resilient_parsing=True)
    for word in name.split()[:-1]:
        parent = type(parent)(command, parent=parent, info_name=word)
    command.make_context(name.rsplit(maxsplit=1)[-1], output[len(name.split()) :], parent=parent)
    options = {option for parameter in command.params for option in parameter.opts}
    assert ("--json" in options) == (name not in NO_DATA)


def test_no_color_wins_over_a_terminal_that_is_forced(own_process: Run) -> None:
    code = 'import os; os.environ.update(FORCE_COLOR="1", NO_COLOR="1")'
    for arguments in (["plan", "nin"], ["--help"]):
        done = own_process(*arguments, code=code)
        assert done.returncode == 0, done.stderr
        assert not re.findall(r"\x1b\[(?:\d+;)*[349]\d(?:;\d+)*m", done.stdout)


# ---------------------------------------------------------------- exit codes of run

FATAL = "layer_factory.hpp:81] Unknown layer type: Mish"
REFUSED = "syncedmem.hpp:33] Check failed: *ptr host allocation of size 1726272432 failed"


@pytest.mark.parametrize(
    ("verdicts", "require_fit", "code"),
    [
        (["fit", "fit"], True, ExitCode.OK),
        (["fit", "no-fit"], False, ExitCode.OK),
        (["fit", "no-fit"], True, ExitCode.DISAGREEMENT),
        (["borderline"], False, ExitCode.OK),
        (["borderline"], True, ExitCode.DISAGREEMENT),
        (["fit", "inconclusive"], False, ExitCode.INCONCLUSIVE),
        (["no-fit", "inconclusive"], True, ExitCode.INCONCLUSIVE),
    ],
)
def test_the_exit_code_of_verdicts(
    verdicts: list[Any], require_fit: bool, code: ExitCode, make_record: Callable[..., Record]
) -> None:
    records = [make_record(verdict=verdict) for verdict in verdicts]
    loaded = [networks.load("AlexNet")] * len(records)
    assert exit_code_of(records, loaded, require_fit=require_fit) == code


def judged(message: str, verdict: str, make_record: Callable[..., Record]) -> ExitCode:
    evidence = Evidence(summary="aborted", exit_status=-6, fatal_message=message)
    record = make_record(verdict=verdict, evidence=evidence)
    return exit_code_of([record], [networks.load("AlexNet")], require_fit=False)


def test_a_model_that_caffe_refused_is_invalid_input(make_record: Callable[..., Record]) -> None:
    with pytest.raises(InvalidInputError, match=r"AlexNet: Caffe rejected it: .* layer type: Mish"):
        judged(FATAL, "inconclusive", make_record)


def test_memory_that_was_refused_is_not_a_fault_of_the_model(
    make_record: Callable[..., Record],
) -> None:
    assert judged(REFUSED, "inconclusive", make_record) == ExitCode.INCONCLUSIVE
    assert judged(REFUSED, "no-fit", make_record) == ExitCode.OK


def test_a_machine_goes_with_the_emulated_target_only(pibench: Pibench) -> None:
    done = pibench("run", "nin", "--target", "twin", "--machine", "raspi3b", code=2)
    assert "--machine raspi3b belongs to target vm" in done.line


def commands_of(app: typer.Typer) -> dict[str, Any]:
    group: Any = get_command(app)
    return dict(group.commands)


def test_a_start_reads_the_options_of_one_command_and_those_are_all_of_it() -> None:
    whole = commands_of(application())
    for words in (["plan", "x.prototxt"], ["help", "sweep"], ["compare"], ["--help"]):
        part = commands_of(application(words))
        assert {name: (one.short_help, one.hidden) for name, one in part.items()} == {
            name: (one.short_help, one.hidden) for name, one in whole.items()
        }
        name = {"help": "sweep", "compare": "reconcile"}.get(words[0], words[0])
        for command, one in part.items():
            same = [p.name for p in one.params] == [p.name for p in whole[command].params]
            assert same is (command == name or not whole[command].params), command
