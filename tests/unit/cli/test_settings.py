"""The help by groups, words of other tools, and settings of the environment and pyproject.toml."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pibench.cli.app import GROUPS, application
from pibench.latency.rates import shipped, write
from pibench.settings import check_variables

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Pibench


@pytest.mark.parametrize("words", [(), ("--help",), ("help",)])
def test_the_help_fits_a_terminal_and_has_every_command(
    pibench: Pibench, words: tuple[str, ...]
) -> None:
    done = pibench(*words, code=2 if not words else 0)
    lines = (done.out or done.err).rstrip().splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    app = application()
    names = {one.name for one in app.registered_commands if not one.hidden}
    names |= {one.name for one in app.registered_groups}
    listed = {line[9:].split()[0] for line in lines if line[:9].strip() in ("", *GROUPS) and line}
    assert names == listed


def test_words_of_other_tools(pibench: Pibench) -> None:
    version = pibench("--version").out
    assert pibench("version").out == pibench("-V").out == version
    assert pibench("ls", "--help").out == pibench("networks", "list", "--help").out
    assert "Compare runs" in pibench("help", "compare").out
    assert "Did you mean 'report'" in pibench("reprot", code=2).err
    assert "did you mean rpi3b?" in pibench("plan", "NIN", "--device", "rpi3c", code=2).err


def device_of(pibench: Pibench, *words: str) -> str:
    device: str = json.loads(pibench("plan", "NIN", "--json", *words).out)[0]["device"]
    return device


def test_the_option_then_the_environment_then_the_file_decide(
    pibench: Pibench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device_of(pibench) == "rpi3b"
    Path("pyproject.toml").write_text('[tool.pibench]\ndevice = "rpi4b_2gb"\n')
    assert device_of(pibench) == "rpi4b_2gb"
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert device_of(pibench) == "rpi4b_2gb"
    monkeypatch.setenv("PIBENCH_DEVICE", "rpi_zero2w")
    assert device_of(pibench) == "rpi_zero2w"
    assert device_of(pibench, "--device", "rpi3b_plus") == "rpi3b_plus"
    monkeypatch.setenv("PIBENCH_DEVICE", "rpi3b")
    monkeypatch.setenv("PIBENCH_RESERVE", "850")
    monkeypatch.setenv("PIBENCH_MAX_MS", "100000")
    assert "of 68 MiB" in pibench("check", "NIN", code=1).out
    assert "within 100000 ms" in pibench("check", "NIN", "--reserve", "0").out
    monkeypatch.setenv("PIBENCH_RESERVE", "lite")
    assert "125.4 MiB (lite) are for other programs" in pibench("check", "NIN").out


SETTINGS = {
    "PIBENCH_DEVICE": "rpi4b_1gb",
    "PIBENCH_MAX_MS": "100000",
    "PIBENCH_RESERVE": "10",
    "PIBENCH_PROTOCOL": "inference",
}


@pytest.mark.parametrize(
    "words",
    [("--validate",), ("NIN", "--stack", "paper"), ("NIN", "--calibration", "rates.json")],
)
def test_predict_takes_no_setting_that_its_rates_cannot_have(
    pibench: Pibench, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    write(shipped(), Path("rates.json"))
    without = json.loads(pibench("predict", *words, "--json").out)
    for name, value in SETTINGS.items():
        if name != "PIBENCH_DEVICE" or "paper" not in words:
            monkeypatch.setenv(name, value)
    found = json.loads(pibench("predict", *words, "--json").out)
    if words != ("--validate",):
        for answers in (found, without):
            # They are of the reserve and the limit, which do make sense.
            del answers[0]["time_limit"], answers[0]["headroom_bytes"]
    assert found == without
    # What is typed and cannot be combined is refused as before.
    refused = pibench("predict", *words, "--protocol", "inference", code=None)
    assert refused.code == (0 if words == ("--validate",) else 2)


@pytest.mark.parametrize("command", ["plan", "check"])
def test_engine_and_protocol_of_settings_yield_to_the_typed_one(
    pibench: Pibench, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def found(*words: str) -> tuple[str, str]:
        answer = json.loads(pibench(command, "NIN", "--json", *words).out)
        row = answer if command == "check" else answer[0]
        return row["environment"]["engine"], row["protocol"]

    monkeypatch.setenv("PIBENCH_PROTOCOL", "caffe-time")
    assert found("--engine", "ncnn") == ("ncnn==1.0.20261020", "inference")
    monkeypatch.setenv("PIBENCH_ENGINE", "ncnn")
    assert found() == ("ncnn==1.0.20261020", "inference")
    assert found("--protocol", "caffe-time") == ("caffe", "caffe-time")
    monkeypatch.delenv("PIBENCH_PROTOCOL")
    assert found("--protocol", "inference") == ("ncnn==1.0.20261020", "inference")
    if command == "plan":
        # A configuration of Caffe's BLAS.
        assert found("--setup", "paper-inferred") == ("caffe", "caffe-time")
    typed = ("--engine", "ncnn", "--protocol", "caffe-time")
    assert "has no protocol caffe-time" in pibench(command, "NIN", *typed, code=2).line


def test_the_file_decides_the_engine_where_the_one_of_a_setting_does_not_read_it(
    pibench: Pibench, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("model.onnx").write_bytes(b"no model")
    monkeypatch.setenv("PIBENCH_ENGINE", "ncnn")
    monkeypatch.setenv("PIBENCH_TARGET", "twin")
    # It is read, before anything runs.
    assert "ncnn" not in pibench("run", "model.onnx", code=2).line
    refused = pibench("run", "model.onnx", "--engine", "ncnn", code=2).line
    assert refused.startswith("pibench: model.onnx")


def test_a_target_of_settings_is_where_networks_run_and_not_what_a_plan_is_for(
    pibench: Pibench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = pibench("plan", "NIN", "--json").out
    for target in ("vm", "twin"):
        Path("pyproject.toml").write_text(f'[tool.pibench]\ntarget = "{target}"\n')
        assert pibench("plan", "NIN", "--json").out == plain
        monkeypatch.setenv("PIBENCH_TARGET", target)
        assert pibench("plan", "NIN", "--json").out == plain
        monkeypatch.delenv("PIBENCH_TARGET")


def test_a_target_of_settings_yields_to_options_of_the_vm_and_has_no_reserve_on_a_board(
    pibench: Pibench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIBENCH_TARGET", "twin")
    words = ("run", "NIN", "--machine", "raspi3b", "--identity", "key")
    assert "not to vm" in pibench(*words, code=2).line
    monkeypatch.setenv("PIBENCH_TARGET", "ssh://nobody@127.0.0.1:1")
    monkeypatch.setenv("PIBENCH_RESERVE", "10")
    assert "Connect call failed" in pibench("run", "NIN", code=3).err
    assert "--reserve 10" in pibench("run", "NIN", "--reserve", "10", code=2).line


def test_an_error_names_the_variable_that_gives_the_option(
    pibench: Pibench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("PROTOCOL", "backward"),
        ("MAX_MS", "x"),
        ("ENGINE", "onnxruntime"),
        ("DEVICE", "rpi5"),
    ):
        option = f"--{name.lower().replace('_', '-')}"
        monkeypatch.setenv(f"PIBENCH_{name}", value)
        line = pibench("check", "NIN", code=2).line
        assert line.endswith(f" (PIBENCH_{name} gives {option})")
        typed = pibench("check", "NIN", option, value, code=2).line
        assert f"PIBENCH_{name}" not in typed
        monkeypatch.delenv(f"PIBENCH_{name}")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('devise = "rpi3b"', "[tool.pibench] has no 'devise'; did you mean device?"),
        ("device = 3", "[tool.pibench] device is not a text"),
        ('device = "rpi9"', "([tool.pibench] of pyproject.toml gives --device)"),
        ('protocol = "backward"', "'backward' is not one of"),
        ("device = ", "Invalid value"),
    ],
)
def test_a_wrong_table_is_one_line(pibench: Pibench, table: str, message: str) -> None:
    Path("pyproject.toml").write_text(f"[tool.pibench]\n{table}\n")
    assert message in pibench("plan", "NIN", code=2).err


def test_a_pyproject_without_the_table_is_ignored(pibench: Pibench) -> None:
    Path("pyproject.toml").write_text("[project]\nname = \n")
    assert device_of(pibench) == "rpi3b"


def test_an_unknown_variable_is_refused(pibench: Pibench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIBENCH_DEVISE", "rpi3b")
    error = pibench("plan", "NIN", code=2).err
    assert (
        "PIBENCH_DEVISE: pibench reads no such variable; unset it; did you mean PIBENCH_DEVICE?"
        in error
    )


def test_weights_imply_inference(pibench: Pibench) -> None:
    pibench("networks", "export", "SqueezeNet V1.1", "net", "--weights")
    (model,), (weights,) = Path("net").glob("*.prototxt"), Path("net").glob("*.caffemodel")
    for words, protocol in (((), "inference"), (("--protocol", "caffe-time"), "caffe-time")):
        (row,) = json.loads(pibench("plan", model, "--weights", weights, *words, "--json").out)
        assert row["protocol"] == protocol


def test_reproduce_takes_networks_as_arguments(pibench: Pibench) -> None:
    pibench("reproduce", "alexnet-2", "--table", "caffe-data-bytes", "--out", "out", code=None)
    ledger = json.loads(Path("out/claims-caffe-data-bytes.json").read_text())
    assert {claim["key"] for claim in ledger["claims"]} == {"alexnet-2"}


def test_a_setting_that_is_no_table_is_refused(pibench: Pibench) -> None:
    Path("pyproject.toml").write_text("[tool]\npibench = 3\n# tool.pibench")
    assert "tool.pibench is not a table; write [tool.pibench]" in pibench("plan", "NIN", code=2).err


@pytest.mark.parametrize(
    ("words", "step"),
    [
        (("NIN",), "pibench check NIN"),
        (("here.prototxt",), "pibench check here.prototxt"),
        (("missing.prototxt",), "missing.prototxt: no such file"),
        (("fit", "NIN"), "did you mean pibench check?"),
        (("run", "NIN", "--target", "docker"), "did you mean container?"),
        (("run", "NIN", "--target", "qemu"), "did you mean vm?"),
        (("run", "NIN", "--target", "pi"), "did you mean ssh://pi@HOST?"),
        (("plan", "NIN", "--input", "224"), "give height x width"),
        (("plan", "NIN", "--device", "rpi9"), "known devices: "),
        (("plan", "NIN", "--protocl", "inference"), "--protocol"),
        (("networks", "lst"), "Did you mean 'list'?"),
        (("image", "biuld"), "Did you mean 'build'?"),
        (("run", "NIN", "--jsn"), "--json"),
        (("plan", "SqueezNet"), "did you mean SqueezeNet"),
        (("reproduce", "--table", "foo"), "embedded-dnn"),
        (("predict", "NIN", "--stack", "foo"), "openblas-a53"),
        (("predict", "NIN", "--threads", "9"), "4 cores"),
        (("report", "here.prototxt"), "pibench run --out"),
        (("reconcile", "here.prototxt", "here.prototxt"), "pibench run --out"),
        (("compare", "missing.jsonl"), "give records (JSON lines)"),
        (("pln", "NIN"), "Did you mean 'plan'?"),
        (("help", "plann"), "Did you mean 'plan'?"),
        (("profile", "NIN"), "did you mean pibench run?"),
        (("convert", "NIN"), "did you mean pibench networks convert?"),
        (("latency", "NIN"), "did you mean pibench predict?"),
        (("--json", "plan", "NIN"), "options come after it: pibench plan NIN --json"),
        (("-q", "run", "NIN"), "options come after it: pibench run NIN -q"),
        (("-o", "x.md", "check", "NIN"), "options come after it: pibench check NIN -o x.md"),
        (("run", "NIN", "--protocol", "inference", "--keep-blobs", "foo"), "its layers are data, "),
        (("run", "NIN", "-o", "x.html"), "pibench report x.jsonl -o x.html"),
        (("folder",), "pibench check folder"),
        (("plan",), "pibench plan --help"),
        (("check",), "pibench check --help"),
        (("plan", "NIN", "--batch", "0"), "give 1 to 65536"),
        (("plan", "NIN", "--batch", "x"), "a valid integer"),
        (("plan", "NIN", "--input", "0x0"), "such as 229x229"),
        (("plan", "NIN", "--protocol", "infer"), "is not one of 'caffe-time', 'inference'"),
        (("plan", "NIN", "--engine", "tensorflow"), "caffe, opencv, onnxruntime, ncnn, litert"),
        (("plan", "NIN", "--engine", "opencv=4.6"), "did you mean opencv==4.6?"),
        (("plan", "NIN", "--engine", "onnxruntime"), "pibench run NETWORK --engine onnxruntime"),
        (("plan", "https://example.org/deploy.prototxt"), "download it, and name the file"),
        (("plan", "missing.prototxt"), "check the path"),
        (("run", "ssh://pi@host", "NIN"), "a board is a target: --target ssh://pi@host"),
        (("check", "NIN", "--max-ms", "soon"), "'--max-ms': it is not a valid number; see: "),
        (("plan", "empty"), "name the network's file"),
        (("plan", "w.caffemodel"), "give the prototxt"),
        (("plan", "NIN", "--weights", "missing.caffemodel"), "check the path"),
        (("check", "NIN", "AlexNet"), "for several: pibench plan NIN AlexNet"),
        (("check", "NIN", "--target", "vm"), "plan, run and reproduce have it"),
        (
            ("plan", "NIN", "--max-ms", "9"),
            "check and predict have it",
        ),
        (("run", "NIN", "--target", "twin", "--target", "vm"), "for several: pibench sweep"),
        (("run", "NIN", "--target", "twin,vm"), "for several: pibench sweep"),
        (("plan", "NIN", "--batch=1,2"), "for several: pibench sweep"),
        (("sweep", "run", "--batch", "1", "--batch", "2"), "with commas: --batch A,B"),
        (("networks", "show", "NIN", "--target", "vm"), "have it; see: pibench networks show --h"),
        (("reconcile", "papper", "paper"), "did you mean paper?"),
        (("plan", "NIN", "--json", "--reserve=1", "--reserve", "2"), "--reserve is given twice"),
        (("--engine", "ncnn", "x"), "pibench COMMAND --engine; see: pibench --help"),
        (("plan", "NIN", "--max-batch=yes"), "see: pibench plan --help"),
        (("plan", "NIN", "--reserve", "2000"), "in MiB"),
        (("plan", "NIN", "--reserve", "-5"), "not in the range 0<=x"),
        (("plan", "NIN", "--reserve", "light"), "give MiB, or a preset: lite"),
        (("plan", "NIN", "--shape", "data=1x3"), "NIN: --shape data=1x3: it has no Python"),
        (("plan", "NIN", "-o", "out.pdf"), "end it in "),
        (("run", "NIN", "--machine", "pi3"), "'virt', 'raspi3b'"),
        (("run", "NIN", "--blas", "mkl"), "'openblas', 'reference', 'atlas'"),
        (("run", "NIN", "--threads", "0"), "1<=x<=64"),
        (("run", "NIN", "--keep-blobs", "fc9"), "--protocol inference --compute real"),
        (("run", "NIN", "--target", "ssh://"), "ssh://pi@raspberrypi.local"),
        (("board", "check", "pi@raspberrypi"), "ssh://pi@raspberrypi.local"),
        (("report", "missing.jsonl"), "run wrote with --out"),
        (("report", "here.prototxt", "-o", "x.pdf"), "end it in .html"),
        (("reconcile", "here.prototxt"), "pibench run --out"),
        (("image", "build", "nonsense"), "choose from twin"),
        (("bisect", "NIN", "caffe"), "Missing argument 'B'"),
        (("sweep", "NIN"), "add --out DIR"),
        (("networks", "show", "Foo"), "pibench networks list"),
        (("import", "missing"), "pi-results.jsonl"),
        (("predict", "NIN", "--clock", "0"), "100<=x<=10000"),
    ],
)
def test_a_slip_is_one_line_with_the_next_step(
    pibench: Pibench, words: tuple[str, ...], step: str
) -> None:
    Path("here.prototxt").write_text('name: "x"')
    Path("empty").mkdir()
    Path("folder").mkdir()
    Path("folder/net.prototxt").write_text('name: "x"')
    # A caffemodel that has a name and nothing else.
    Path("w.caffemodel").write_bytes(b"\x0a\x01x")
    assert step in pibench(*words, code=2).line


def test_a_device_by_the_names_that_people_write(pibench: Pibench) -> None:
    for name in ("Raspberry Pi 3 Model B", "raspberry pi 3 model b", "RPI-3B", "pi3"):
        assert device_of(pibench, "--device", name) == "rpi3b"
    assert device_of(pibench, "--device", "Raspberry Pi 3 Model B+") == "rpi3b_plus"


def test_the_gate_s_variables_are_known() -> None:
    script = (Path(__file__).resolve().parents[3] / "scripts/gate.sh").read_text()
    for name in set(re.findall(r"PIBENCH_[A-Z_]+", script)):
        check_variables({name: "x"})
