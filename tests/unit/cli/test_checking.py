"""`pibench check`: the answer is the plan's, and its advice is what the commands it names plan."""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pibench import devices, networks
from pibench.checks import check
from pibench.judgements import judge
from pibench.plan.environment import of_device
from pibench.plan.planner import plan

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Pibench

DEVICE = devices.load("rpi3b")
# The others of the zoo are variants that differ from one of these in one point.
OF_THE_PAPER = [entry.name for entry in networks.catalog_entries() if entry.in_paper]


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_the_verdict_is_the_plan_s_and_every_advice_fits(name: str) -> None:
    network = networks.load(name)
    found = check(network, DEVICE, "caffe-time")
    planned = plan(network, protocol="caffe-time", environment=of_device(DEVICE))
    assert found.judged == judge(planned, DEVICE)
    assert found.planned.peak_rss_bytes == planned.peak_rss_bytes
    assert found.prediction is not None
    assert bool(found.remedies) == (found.judged.verdict != "fit")
    for remedy in found.remedies:
        assert remedy.judged.verdict == "fit"


MAPS = """layer {name: "data" type: "Input" top: "data"
  input_param {shape {dim: 1 dim: 3 dim: 224 dim: 224}}}
layer {name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param {num_output: 256 kernel_size: 3 pad: 1}}
"""
HEAD = """layer {name: "pool" type: "Pooling" bottom: "LAST" top: "pool"
  pooling_param {pool: MAX kernel_size: 7 stride: 7}}
"""
ONLY_TRAINED = """layer {name: "aux" type: "InnerProduct" bottom: "pool" top: "aux"
  inner_product_param {num_output: 860} include {phase: TRAIN}}
"""
FROZEN = """layer {name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  param {lr_mult: 0} param {lr_mult: 0} inner_product_param {num_output: 512}}
"""


def chain(kind: str, length: int) -> str:
    names = ["c", *(f"{kind}{place}" for place in range(length))]
    layers = [
        f'layer {{name: "{top}" type: "{kind}" bottom: "{bottom}" top: "{top}"}}\n'
        for bottom, top in itertools.pairwise(names)
    ]
    return MAPS + "".join(layers) + HEAD.replace("LAST", names[-1])


@pytest.mark.parametrize(
    ("text", "change"),
    [
        # A mask is written when training alone; so is what only that phase has.
        (chain("Dropout", 9), "--protocol inference"),
        (chain("Sigmoid", 1) + ONLY_TRAINED, "--protocol inference"),
        # Parameters that do not learn have no gradient.
        (chain("ReLU", 6) + FROZEN, "in place"),
    ],
)
def test_a_bound_drops_no_change_that_fits(tmp_path: Path, text: str, change: str) -> None:
    path = tmp_path / "deploy.prototxt"
    path.write_text(text)
    found = check(networks.load(str(path)), DEVICE, "caffe-time")
    assert found.judged.verdict != "fit"
    assert change in {one.change for one in found.remedies}


def answer_of(pibench: Pibench, *words: str, code: int) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(pibench("check", *words, "--json", code=code).out)
    return answer


@pytest.mark.parametrize("name", ["VGG 16", "ResNext101_32x4d", "Wrn-50-2"])
def test_a_command_of_the_advice_plans_what_was_promised(pibench: Pibench, name: str) -> None:
    answer = answer_of(pibench, name, code=1)
    assert answer["verdict"] == "no-fit"
    for advice in answer["fits_with"]:
        words = shlex.split(advice["command"])[1:]
        if words[0] == "networks":
            pibench(*words)
            (folded,) = Path("folded").glob("*.prototxt")
            words = ["plan", str(folded)]
        (row,) = json.loads(pibench(*words, "--json").out)
        assert row["verdict"] == "fit"
        assert row["peak_rss_bytes"] == pytest.approx(advice["peak_rss_bytes"], rel=2e-3)


@pytest.mark.parametrize("command", ["check", "plan", "predict"])
def test_a_preset_is_the_reserve_of_its_size(pibench: Pibench, command: str) -> None:
    words = (command, "ResNet-101", "--json")
    code = 1 if command == "check" else 0
    assert pibench(*words, "--reserve", "lite", code=code).out == (
        pibench(*words, "--reserve", "125.4", code=code).out
    )


def test_a_reserve_is_part_of_the_question_and_of_every_command(pibench: Pibench) -> None:
    assert answer_of(pibench, "AlexNet", code=0)["reserve_bytes"] == 0
    answer = answer_of(pibench, "AlexNet", "--reserve", "450", code=1)
    assert answer["reserve_bytes"] == 450 << 20
    assert answer["fits_with"]
    commands = [answer["prove"], *(one["command"] for one in answer["fits_with"])]
    for command in commands:
        if command.startswith(("pibench plan", "pibench run")):
            assert "--reserve 450" in command
    (larger,) = [one for one in answer["fits_with"] if one["change"].startswith("--device")]
    there = devices.load(larger["device"])
    assert larger["usable_bytes"] == there.usable_bytes - (450 << 20)


def test_weights_mean_inference_and_the_batch_that_fits_is_found(pibench: Pibench) -> None:
    pibench("networks", "export", "SqueezeNet V1.1", "net", "--weights")
    (model,), (weights,) = Path("net").glob("*.prototxt"), Path("net").glob("*.caffemodel")
    answer = answer_of(pibench, str(model), str(weights), code=0)
    assert (answer["protocol"], answer["verdict"], answer["fits_with"]) == ("inference", "fit", [])
    words = shlex.split(answer["prove"])
    assert words[:3] == ["pibench", "run", str(model)]
    assert {"--weights", "--require-fit"} < set(words)
    both = (str(model), str(weights), "--protocol", "caffe-time")
    assert "--protocol caffe-time" in answer_of(pibench, *both, code=0)["prove"]
    answer = answer_of(pibench, "GoogleNet", "--batch", "64", code=1)
    (batch,) = [one for one in answer["fits_with"] if one["change"].startswith("--batch")]
    assert "--batch 64" not in batch["command"]
    assert 1 <= int(batch["change"].split()[1]) < 64


def test_a_network_without_a_way_back_is_answered_under_inference(
    pibench: Pibench, tmp_path: Path
) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "i" type: "Input" top: "x" input_param { shape { dim: [1, 8, 6, 4] } } }\n'
        'layer { name: "a" type: "ArgMax" bottom: "x" top: "y" }\n'
    )
    done = pibench("check", str(path))
    assert "ArgMax aborts: this is the answer for inference" in done.err
    assert "--protocol inference --require-fit" in done.out
    pibench("check", str(path), "--protocol", "caffe-time", code=2)


def test_a_time_limit_is_decided_by_the_whole_interval(pibench: Pibench) -> None:
    for limit, verdict, code in ((300, "within", 0), (200, "borderline", 4), (100, "over", 1)):
        words = ("SqueezeNet V1.1", "--max-ms", str(limit), "-o", "gate.xml")
        answer = answer_of(pibench, *words, code=code)
        assert (answer["verdict"], answer["time_limit"]["verdict"]) == ("fit", verdict)
        assert answer["time_limit"]["interval_ms"] == answer["latency_interval_ms"]
        assert "stack openblas-a53, 4 threads" in answer["time_limit"]["source"]
        tests = 'errors="1"' if code == 4 else f'failures="{code}"'
        assert tests in Path("gate.xml").read_text()
        several = ("predict", "SqueezeNet V1.1", "--max-ms", str(limit))
        assert f"{verdict} " in pibench(*several, "-o", "time.md", code=code).out
        assert f"**{verdict}**" in Path("time.md").read_text()
    # What does not fit fails in any time.
    assert answer_of(pibench, "VGG 16", "--max-ms", "10000", code=1)["time_limit"]["verdict"] == (
        "within"
    )
    assert answer_of(pibench, "NIN", code=0)["time_limit"] is None
    # Without a time there is no answer.
    other = answer_of(pibench, "NIN", "--engine", "ncnn", "--max-ms", "300", code=4)
    assert other["time_limit"]["verdict"] == "unavailable"
    assert "above 0" in pibench("check", "NIN", "--max-ms", "0", code=2).line
    assert "add --max-ms" in pibench("predict", "NIN", "-o", "time.md", code=2).line


def test_what_people_read(pibench: Pibench) -> None:
    shown = pibench("check", "VGG 16", "-o", "gate.xml", code=1).out
    assert shown.startswith("VGG 16 does not fit Raspberry Pi 3 Model B (planned")
    assert "pibench run 'VGG 16' --require-fit" in shown
    assert "threads; of a board with the memory" in shown
    assert 'failures="1"' in Path("gate.xml").read_text()
    assert pibench("check", "AlexNet").out.startswith("AlexNet fits Raspberry Pi 3 Model B")
    Path("tiny.prototxt").write_text(
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 2 } } }'
        'layer { name: "r" type: "ReLU" bottom: "d" top: "r" }'
    )
    assert pibench("check", "tiny.prototxt").out.startswith("tiny fits")
    assert "neither a network" in pibench("check", "nothing", code=2).line


def test_no_numpy_is_imported_for_an_answer() -> None:
    # It takes as long as two plans.
    code = "import sys; from pibench import checks, devices, networks; "
    code += "found = checks.check(networks.load('VGG 16'), devices.load('rpi3b'), 'caffe-time'); "
    code += "print(*(one.change for one in found.remedies), 'numpy' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--engine ncnn" in done.stdout
    assert done.stdout.split()[-1] == "False"
