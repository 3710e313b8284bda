"""`pibench plan` as it is started: keys, exit codes, pictures, one line for every fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from pibench import networks
from pibench.cli import run
from pibench.crosscheck import planned as comparing
from pibench.devices import load as device
from pibench.errors import HostError
from pibench.plan.environment import of_device
from pibench.plan.planner import plan
from pibench.records.schema import Evidence, GuestEnvironment, Record
from scripts.planned_against_measured import markdown
from tests.wild.forks import FORKED
from tests.wild.networks import WILD

if TYPE_CHECKING:
    from pibench.runner.options import RunOptions
    from tests.unit.cli.conftest import Pibench

PI = device("rpi3b")
RECORD_KEYS = ("network", "verdict", "peak_rss_bytes", "baseline_rss_bytes", "headroom_bytes")
Plans = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def plans(pibench: Pibench) -> Plans:
    """What `pibench plan --json` prints."""

    def run(*arguments: str) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = json.loads(pibench("plan", *arguments, "--json").out)
        return answers

    return run


def test_verdicts_of_the_paper_in_one_call(plans: Plans) -> None:
    # Those of all its networks are tested on the planner.
    names = ["AlexNet", "VGG 16", "NIN", "Xception Net", "MobileNet"]
    answers = plans(*names)
    assert [answer["network"] for answer in answers] == names
    for answer in answers:
        fits = networks.find(str(answer["network"])).paper_row is not None
        assert answer["verdict"] == ("fit" if fits else "no-fit")


def test_the_keys_are_those_of_a_record(plans: Plans) -> None:
    (answer,) = plans("nin", "--timeline", "--what-if", "--max-batch", "--max-input")
    assert set(RECORD_KEYS) < set(answer)
    assert set(RECORD_KEYS) < set(Record.model_fields)
    peak, usable = answer["peak_rss_bytes"], PI.usable_bytes
    assert answer["headroom_bytes"] == usable - peak
    assert answer["provenance"]["peak_rss_bytes"]["kind"] == "planned"
    assert len(answer["allocations"]) == 10
    assert max(step["peak_bytes"] for step in answer["timeline"]) == peak
    assert answer["max_batch"] > 1
    assert answer["max_input"][0] > 224
    assert (answer["max_batch_note"], answer["max_input_note"]) == (None, None)
    assert answer["max_input_other_parameters"] == []
    assert [change["change"] for change in answer["changes"]] == ["--protocol inference"]


def test_batch_size_and_protocol_change_the_plan(plans: Plans) -> None:
    one, four = plans("nin")[0], plans("nin", "--batch", "4")[0]
    assert one["peak_rss_bytes"] < four["peak_rss_bytes"]
    other = plans("nin", "--input", "300x260", "--protocol", "inference")[0]
    assert other["protocol"] == "inference"
    assert other["peak_rss_bytes"] > one["peak_rss_bytes"]


def test_the_batch_of_a_plan_is_that_of_its_protocol(plans: Plans, tmp_path: Path) -> None:
    path = tmp_path / "phases.prototxt"
    path.write_text(
        "".join(
            f"""layer {{ name: "data" type: "DummyData" top: "data" include {{ phase: {phase} }}
                dummy_data_param {{ shape {{ dim: {batch} dim: 3 dim: 8 dim: 8 }} }} }}"""
            for phase, batch in (("TRAIN", 64), ("TEST", 2))
        )
    )
    assert plans(str(path))[0]["batch"] == 64
    assert plans(str(path), "--protocol", "inference")[0]["batch"] == 2


def test_an_answer_about_another_network_is_reported(pibench: Pibench, plans: Plans) -> None:
    (answer,) = plans("vgg-16", "--max-input")
    assert [one["layer"] for one in answer["max_input_other_parameters"]] == ["fc6"]
    assert "another network than at 224x224" in answer["max_input_note"]
    output = " ".join(pibench("plan", "vgg-16", "--max-input").out.split())
    height, width = answer["max_input"]
    assert f"largest image that fits: {height}x{width} (another network than at 224x224" in output


def test_the_largest_batch_of_a_network_without_one_is_not_a_number(
    pibench: Pibench, tmp_path: Path
) -> None:
    path = tmp_path / "parameter.prototxt"
    path.write_text("""layer { name: "p" type: "Parameter" top: "p"
      parameter_param { shape { dim: 16 dim: 2 } } }
    layer { name: "r" type: "ReLU" bottom: "p" top: "r" }""")
    output = " ".join(pibench("plan", path, "--max-batch").out.split())
    assert "largest batch that fits: not known (" in output
    assert "no Input and no DummyData" in output
    refused = pibench("plan", path, "--batch", "4", code=2).line
    assert "parameter.prototxt: batch 4: it has no Input" in refused


def test_a_smaller_board_does_not_fit_what_a_larger_one_does(
    pibench: Pibench, plans: Plans
) -> None:
    verdicts = {name: plans("alexnet", "--device", name)[0]["verdict"] for name in
                ("rpi_zero2w", "rpi3b", "rpi3b_plus", "rpi4b_1gb", "rpi4b_4gb")}  # fmt: skip
    assert verdicts.pop("rpi_zero2w") == "no-fit"
    assert set(verdicts.values()) == {"fit"}
    pibench("plan", "alexnet", "--device", "rpi_zero2w", "--require-fit", code=1)


def test_one_network_is_answered_in_full(pibench: Pibench, tmp_path: Path) -> None:
    picture = tmp_path / "memory.svg"
    output = pibench("plan", "squeezenet-v1.1", "--max-batch", "--plot", str(picture)).out
    for part in ("█", "Largest allocations", "im2col buffer", "largest batch that fits", "more"):
        assert part in output
    assert all(len(line) <= 80 for line in output.splitlines())
    root = ET.fromstring(picture.read_text())  # noqa: S314 (our own file)
    assert root.tag.endswith("svg")
    assert "usable 918 MiB" in "".join(root.itertext())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no-such-network",), "no-such-network"),
        (("nin", "alexnet", "--plot", "x.svg"), "shows one network"),
        (("nin", "--plot", "x.jpeg"), "end the name in .svg"),
        (("nin", "--input", "wide"), "give height x width"),
        (("alexnet", "--input", "8x8"), "alexnet"),
        (("nin", "--device", "rpi9"), "unknown device"),
        (("nin", "--batch", "0"), "out of range"),
        (("nin", "alexnet", "--weights", "w.caffemodel"), "plan them one at a time"),
        (("nin", "--weights", "w.caffemodel"), "w.caffemodel"),
        (("nin", "--target", "container"), "add --check"),
        (("nin", "--timeline"), "add --json"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    pibench: Pibench, arguments: tuple[str, ...], words: str
) -> None:
    done = pibench("plan", *arguments, code=2)
    assert words.lower() in done.err.lower()
    assert done.err.count("\n") == 1


def test_repairs_are_reported(pibench: Pibench, tmp_path: Path) -> None:
    path = tmp_path / "old.prototxt"
    path.write_text(WILD["tiny"]().replace("stride: 2", "stride: 2 ceil_mode: false"))
    assert "ceil_mode" in pibench("plan", str(path), code=2).err
    done = pibench("plan", str(path), "--repair")
    assert "repaired" in done.err


def test_a_killed_run_has_nothing_to_compare_with(make_record: Callable[..., Record]) -> None:
    planned = plan(networks.load("AlexNet"), protocol="caffe-time", environment=of_device(PI))
    peak, baseline = planned.peak_rss_bytes, planned.baseline_rss_bytes
    record = make_record(
        peak_rss_bytes=peak,
        baseline_rss_bytes=baseline + 3 * 2**20,
        network_rss_bytes=peak - baseline - 3 * 2**20,
    )
    whole = comparing.compare(record, planned)
    assert (whole.error, whole.note) == (0, "program alone +3.0 MiB")
    killed = make_record(evidence=Evidence(summary="killed", exit_status=-9))
    cut = comparing.compare(killed, planned)
    assert (cut.measured_bytes, cut.error, cut.note) == (None, None, "killed")
    assert comparing.summary([whole, cut]).startswith("1 of 2 compared")
    assert whole.agrees
    assert not cut.agrees
    dead = comparing.compare(killed.model_copy(update={"verdict": "no-fit"}), planned)
    assert "0 of 1 verdicts are as planned" in comparing.summary([dead])
    mib = f"{peak / 2**20:.1f}"
    assert f"| AlexNet | {mib} | {mib} | +0.00 |" in markdown([whole, cut])


@pytest.mark.parametrize(
    ("target", "machine", "architecture", "core"),
    [
        ("twin", None, "amd64", "haswell"),
        ("vm", "virt", "arm64", "cortexa53"),
        ("native", None, "amd64", "haswell"),
    ],
)
def test_a_run_is_planned_for_where_it_was_made(
    make_record: Callable[..., Record],
    target: str,
    machine: str | None,
    architecture: str,
    core: str,
) -> None:
    record = make_record()
    guest = GuestEnvironment(architecture="x86_64", blas_core_type="Haswell", blas_threads=2)
    found = comparing.environment_of(
        record.model_copy(
            update={
                "target": target,
                "machine": machine,
                "environment": record.environment.model_copy(update={"guest": guest}),
            }
        ),
        PI,
    )
    assert (found.architecture, found.core, found.threads) == (architecture, core, 2)


@pytest.mark.parametrize("command", ["plan", "predict"])
def test_an_invalid_file_does_not_stop_the_others(
    pibench: Pibench, tmp_path: Path, command: str
) -> None:
    bad, forked = tmp_path / "bad.prototxt", tmp_path / "forked.prototxt"
    bad.write_text('layer { name: "a" type: "ReLU" bottom: "x" top: "y" }')
    forked.write_text(FORKED["shufflenet"]())
    done = pibench(command, "NIN", bad, forked, "--json", code=2)
    nin, shuffled = json.loads(done.out)
    assert (nin["network"], shuffled["network"]) == ("NIN", "ShuffleNet style")
    assert done.err.count("bad.prototxt: layer 'a'") == 1
    assert nin["fork_layers"] == shuffled["repairs"] == []
    assert shuffled["fork_layers"][0].startswith("ShuffleChannel: ShuffleNet-fork layer")
    assert "NIN" in pibench(command, "NIN", bad, code=2).out
    assert pibench(command, bad, bad, code=2).out == ""


def test_a_gate_writes_test_cases_and_a_summary(pibench: Pibench, tmp_path: Path) -> None:
    out = ("-o", str(tmp_path / "gate.xml"), "-o", str(tmp_path / "summary.md"))
    pibench("plan", "AlexNet", "vgg16", "--require-fit", *out, code=1)
    alexnet, vgg = ET.parse(tmp_path / "gate.xml").iter("testcase")  # noqa: S314  (our own)
    assert alexnet.attrib["name"] == "AlexNet: fits rpi3b"
    assert alexnet.find("failure") is None
    failure = vgg.find("failure")
    assert failure is not None
    # The layer at the peak, and what holds most then: what its owner would have to change.
    assert "at backward conv1_1, where fc6 has 392 MiB" in failure.attrib["message"]
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("# 1 of 2 networks fit rpi3b\n")
    assert "| VGG 16 | **no-fit** | 1,485 |" in summary


def test_a_gate_names_what_cannot_be_planned_and_plans_the_rest(
    pibench: Pibench, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.prototxt"
    broken.write_text("layer {\n  nme: 5\n")
    out = ("-o", str(tmp_path / "gate.xml"), "-o", str(tmp_path / "summary.md"))
    output = pibench("plan", str(broken), "NIN", "--json", "--require-fit", *out, code=2)
    assert [one["network"] for one in json.loads(output.out)] == ["NIN"]
    assert "broken.prototxt: line 1: " in output.err
    nin, other = ET.parse(tmp_path / "gate.xml").iter("testcase")  # noqa: S314  (our own)
    assert (nin.attrib["name"], len(nin.findall("error"))) == ("NIN: fits rpi3b", 0)
    (error,) = other.findall("error")
    assert "broken.prototxt: line 1: " in error.attrib["message"]
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("# 1 of 2 networks fit rpi3b\n")
    assert "broken.prototxt | **error** |" in summary
    assert "NIN" in pibench("plan", str(broken), "NIN", code=2).out
    assert pibench("plan", str(broken), *out, code=2).out == ""
    assert (tmp_path / "summary.md").read_text().startswith("# 0 of 1 networks fit")


@pytest.mark.parametrize(
    ("name", "message"),
    [("gate.html", ".md, .xml, badge.svg or trace.json"), ("mine", "is an input of")],
)
def test_a_gate_writes_no_other_form_and_over_no_input(
    name: str, message: str, pibench: Pibench, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.xml"
    mine.write_text(networks.load("nin").prototxt)
    out = mine if name == "mine" else tmp_path / name
    assert message in pibench("plan", str(mine), "-o", str(out), code=2).err
    assert mine.read_text() == networks.load("nin").prototxt


def test_memory_over_the_steps_is_a_trace(pibench: Pibench, plans: Plans, tmp_path: Path) -> None:
    # As Perfetto's own importer reads it: tests/browser/test_trace.py.
    pibench("plan", "AlexNet", "NIN", "-o", "two.trace.json", "-o", tmp_path / "summary.md")
    trace = json.loads((tmp_path / "two.trace.json").read_text())
    assert "is 1 step" in trace["otherData"]["time_of_plans"]
    (planned,) = plans("AlexNet", "--timeline")
    steps = planned["timeline"]
    of_alexnet = [event for event in trace["traceEvents"] if event["pid"] == 1]
    slices = [event for event in of_alexnet if event["ph"] == "X"]
    assert [(one["cat"], one["args"]["resident MiB"]) for one in slices] == [
        (step["phase"], round(step["resident_bytes"] / 2**20, 3)) for step in steps
    ]
    assert [one["ts"] for one in slices] == [1000 * number for number in range(len(steps))]
    assert {one["dur"] for one in slices} == {1000}
    kinds = [one["args"] for one in of_alexnet if one["name"] == "resident MiB by kind"]
    assert len({frozenset(one) for one in kinds}) == 1
    for step, sizes in zip(steps, kinds, strict=True):
        assert sum(sizes.values()) == pytest.approx(step["resident_bytes"] / 2**20, abs=0.1)
    assert max(one["parameter"] for one in kinds) == pytest.approx(232.6, abs=0.1)
    (peak,) = [one for one in of_alexnet if one["ph"] == "i"]
    assert peak["name"] == "peak: 546 of 918 MiB usable"
    assert slices[peak["ts"] // 1000]["args"]["most MiB"] == max(
        one["args"]["most MiB"] for one in slices
    )
    assert {event["pid"] for event in trace["traceEvents"]} == {1, 2}


def test_a_trace_of_check_has_predicted_times_too(pibench: Pibench, tmp_path: Path) -> None:
    answer = json.loads(pibench("check", "AlexNet", "-o", "trace.json", "--json").out)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    layers = [one for one in events if one["pid"] == 2 and one["ph"] == "X"]
    assert {one["cat"] for one in layers} == {"predicted"}
    ends = [one["ts"] + one["dur"] for one in layers]
    # No slice begins before the last one has ended.
    assert [one["ts"] for one in layers] == [0, *ends[:-1]]
    assert ends[-1] / 1000 == pytest.approx(answer["latency_ms"], abs=0.001)


@pytest.mark.parametrize(
    ("networks_", "texts", "colour"),
    [
        (["AlexNet"], ["fits rpi3b", "546 of 918 MiB"], "#1a7f37"),
        (["vgg16"], ["does not fit rpi3b", "1,485 of 918 MiB"], "#b3261e"),
        (["AlexNet", "vgg16"], ["fits rpi3b", "1 of 2 networks"], "#b3261e"),
        (["AlexNet", "bad.prototxt"], ["fits rpi3b", "1 of 2 networks, 1 refused"], "#b3261e"),
    ],
)
def test_a_badge_is_a_picture_with_a_title(
    networks_: list[str], texts: list[str], colour: str, pibench: Pibench, tmp_path: Path
) -> None:
    (tmp_path / "bad.prototxt").write_text("layer {")
    pibench("plan", *networks_, "-o", "my-badge.svg", code=None)
    root = ET.parse(tmp_path / "my-badge.svg").getroot()  # noqa: S314  (our own)
    svg = "{http://www.w3.org/2000/svg}"
    assert [one.text for one in root.iter(f"{svg}text")] == texts
    (title,) = root.iter(f"{svg}title")
    assert (title.text or "").endswith(f"{': '.join(texts)}, planned")
    assert root.attrib["aria-labelledby"] == title.attrib["id"]
    assert colour in {one.get("fill") for one in root.iter(f"{svg}rect")}


def test_names_in_a_badge_and_a_trace_are_text(pibench: Pibench, tmp_path: Path) -> None:
    mine = tmp_path / "mine.prototxt"
    text = networks.load("nin").prototxt
    mine.write_text(text.replace('name: "NIN"', 'name: "</title><script>\\033"', 1))
    pibench("check", mine, "-o", "badge.svg", "-o", "trace.json")
    root = ET.parse(tmp_path / "badge.svg").getroot()  # noqa: S314  (our own)
    assert not [one for one in root.iter() if one.tag.endswith("script")]
    named = json.loads((tmp_path / "trace.json").read_text())["traceEvents"][0]["args"]["name"]
    assert named.startswith("</title><script>\\x1b, caffe-time")


@pytest.mark.parametrize("name", ["badge.svg", "trace.json"])
@pytest.mark.parametrize("command", ["plan", "check"])
def test_a_badge_or_trace_that_cannot_be_written_is_one_line(
    command: str, name: str, pibench: Pibench, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = pibench(command, "NIN", "-o", f"file/{name}", code=2)
    assert f"file/{name}: not written: File exists; name a file" in done.line
    (tmp_path / name).mkdir()
    assert "Is a directory" in pibench(command, "NIN", "-o", name, code=2).line
    # Of a network that is refused there is nothing to draw.
    assert "no such file" in pibench("check", "no.prototxt", "-o", f"x-{name}", code=2).line
    assert not (tmp_path / f"x-{name}").exists()


PYTHON = """
layer { name: "data" type: "Python" top: "data" top: "label"
  python_param { module: "m" layer: "L" } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 } }
"""
SHAPES = ("--shape", "data=2x3x32x32", "--shape", "data=2")


def test_the_shapes_of_a_python_layer_are_given(pibench: Pibench, tmp_path: Path) -> None:
    path = tmp_path / "python.prototxt"
    path.write_text(PYTHON)
    for command in ("plan", "predict"):
        done = pibench(command, str(path), *SHAPES, "--json")
        assert "Python layer 'data': its shapes are those given" in done.err
        (answer,) = json.loads(done.out)
        (assumed,) = answer["assumptions"]
        assert assumed.startswith("Python layer 'data': its shapes are those given; memory and")
        assert "--shape data=1x3x224x224" in pibench(command, str(path), code=2).err


def test_an_unknown_layer_is_planned_by_its_shape(pibench: Pibench, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        PYTHON.replace('"Python"', '"HDF5Data"')
        + 'layer { name: "g" type: "GroupNorm" bottom: "conv" top: "g" param { lr_mult: 1 } }\n'
    )
    assert "plan and predict take them by --shape" in pibench("plan", str(path), code=2).err
    unknown = pibench("plan", str(path), *SHAPES, code=2)
    assert "has no layer type 'GroupNorm'" in unknown.err
    words = (*SHAPES, "--shape", "g=2x8x30x30")
    assert unknown.err.rstrip().endswith(" ".join(words[-2:]))
    for command in ("plan", "predict"):
        done = pibench(command, str(path), *words)
        assert "HDF5Data layer 'data': its shapes are those given" in done.err
        assert "GroupNorm layer 'g': its shapes are those given" in done.err


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["data=2x3x32x32"], "has 1 given shape(s) and needs 2"),
        (["conv=2x3"], "it has no Python or unknown layer 'conv'; those here: 'data'"),
        (["data=2x0"], "is not a layer and a shape; give NAME=1x3x224x224"),
        (["data=2", "data=2"], "axis 1"),
        ([*SHAPES[1::2], "--batch=4"], "'data' has the shapes that were given"),
        ([*SHAPES[1::2], "--check"], "--shape is for a plan"),
    ],
)
def test_wrong_shapes_are_one_line(
    pibench: Pibench, tmp_path: Path, given: list[str], problem: str
) -> None:
    path = tmp_path / "python.prototxt"
    path.write_text(PYTHON)
    more = [word for one in given for word in ([one] if one[0] == "-" else ["--shape", one])]
    assert problem in pibench("plan", str(path), *more, code=2).err


@pytest.mark.parametrize(("engine", "repeats"), [("caffe", 5), ("opencv", 0), ("ncnn", 0)])
def test_a_check_runs_as_many_passes_as_the_plan_is_of(
    pibench: Pibench, monkeypatch: pytest.MonkeyPatch, engine: str, repeats: int
) -> None:
    asked: list[RunOptions] = []

    def stop(_: object, options: RunOptions, **__: object) -> None:
        asked.append(options)
        raise HostError("nothing runs here")

    monkeypatch.setattr(run, "run_with_progress", stop)
    words = ("--engine", engine, "--protocol", "inference", "--target", "vm", "--check")
    pibench("plan", "SqueezeNet V1.1", *words, code=3)
    assert [options.repeats for options in asked] == [repeats]


def test_a_plan_of_another_engine_names_the_pass_that_it_is_of(pibench: Pibench) -> None:
    line = "Planned for one pass; later ones can take more."
    assert line in pibench("plan", "NIN", "--engine", "ncnn").out
    assert line not in pibench("plan", "NIN", "--protocol", "inference").out
    assert "; inference, one pass, batch 1" in pibench("check", "NIN", "--engine", "opencv").out
    assert "; inference, batch 1" in pibench("check", "NIN", "--protocol", "inference").out


def test_a_python_layer_is_not_run(pibench: Pibench, tmp_path: Path) -> None:
    path = tmp_path / "python.prototxt"
    given = "input_param { shape { dim: [2, 3, 32, 32] } shape { dim: 2 } }"
    path.write_text(PYTHON.replace("python_param", f"{given} python_param"))
    done = pibench("run", str(path), "--target", "twin", code=2)
    assert "runs code that pibench does not have" in done.err
    done = pibench("bundle", str(path), "-o", str(tmp_path / "kit.tar.gz"), code=2)
    assert "runs code that pibench does not have" in done.err


def test_a_filter_is_planned_at_most(pibench: Pibench, tmp_path: Path) -> None:
    path = tmp_path / "filter.prototxt"
    path.write_text(
        'layer { name: "in" type: "Input" top: "x" top: "s" input_param '
        "{ shape { dim: [8, 3, 32, 32] } shape { dim: 8 } } }\n"
        'layer { name: "f" type: "Filter" bottom: "x" bottom: "s" top: "y" }\n'
    )
    assert "Filter layer 'f': at most" in pibench("plan", str(path)).err


def test_other_peoples_tables_are_compared_without_a_run(pibench: Pibench, tmp_path: Path) -> None:
    listed = pibench("reproduce", "--table", "list").out
    assert "caffe-data-bytes: Caffe's data bytes, 24 rows, by plan" in listed
    out = tmp_path / "out"
    done = pibench(
        "reproduce", "--table", "caffe-data-bytes", "--networks", "alexnet-2", "--out", str(out)
    )
    assert "16646488" in done.out
    ledger = json.loads((out / "claims-caffe-data-bytes.json").read_text())
    assert [claim["provenance"]["kind"] for claim in ledger["claims"]] == ["planned"]
    assert ledger["unstated"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--table", "nowhere"), "there is no table nowhere; give a folder, or one of"),
        (("--table", "pi3-ran-or-not", "--jobs", "2"), "--jobs is for a run"),
        (("--table", "pi3-ran-or-not", "--reserve", "5000"), "leaves nothing"),
        (("--reserve", "100"), "--reserve is for tables"),
    ],
)
def test_what_a_table_cannot_take_is_refused(
    pibench: Pibench, tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    done = pibench("reproduce", *arguments, "--out", str(tmp_path / "out"), code=2)
    assert problem in done.err
