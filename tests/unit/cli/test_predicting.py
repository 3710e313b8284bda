"""`pibench predict` and `pibench calibrate` as they are started: keys, exit codes, speed."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from pibench import networks
from pibench.latency import factors, rates
from pibench.networks.network import write_network
from pibench.report.estimates import footnotes

if TYPE_CHECKING:
    from pibench.latency.rates import Observation
    from tests.unit.cli.conftest import Pibench

SMALL = ("AlexNet", "NIN", "SqueezeNet V1.0", "SqueezeNet V1.1", "MobileNet")


def test_json_has_time_interval_and_layers(pibench: Pibench) -> None:
    first, second = json.loads(pibench("predict", "AlexNet", "vgg16", "--json").out)
    assert first["network"] == "AlexNet"
    assert first["low_ms"] < first["latency_ms"] < first["high_ms"]
    assert sum(layer["latency_ms"] for layer in first["layers"]) == pytest.approx(
        first["latency_ms"] - first["pressure_ms"]
    )
    assert first["provenance"]["kind"] == "predicted"
    assert (first["fits"], second["fits"]) == (True, False)


def test_the_table_states_what_a_time_is(pibench: Pibench) -> None:
    output = pibench("predict", "resnet-101", "vgg16", "--per-layer").out
    assert "edge" in output
    assert "does not fit" in output
    assert "nothing was run" in output
    assert "fc6" in output


def test_a_footnote_reports_that_instructions_were_counted() -> None:
    shipped = rates.shipped()
    footnote = footnotes([], shipped, counted=True)[0]
    assert footnote.startswith(
        "predicted, Caffe's instructions were counted in QEMU, no time was: one"
    )


def test_a_file_is_predicted_as_the_zoo_is(pibench: Pibench, tmp_path: Path) -> None:
    write_network(networks.load("SqueezeNet V1.1"), tmp_path)
    (path,) = tmp_path.glob("*.prototxt")
    one, two = json.loads(pibench("predict", "squeezenet-v1.1", str(path), "--json").out)
    assert one["latency_ms"] == two["latency_ms"]


def test_what_has_no_backward_pass_is_predicted(pibench: Pibench, tmp_path: Path) -> None:
    path = tmp_path / "labels.prototxt"
    path.write_text("""
    layer { name: "in" type: "Input" top: "x" input_param { shape { dim: [2, 3, 32, 32] } } }
    layer { name: "score" type: "Convolution" bottom: "x" top: "s"
      convolution_param { num_output: 5 kernel_size: 3 pad: 1 } }
    layer { name: "label" type: "ArgMax" bottom: "s" top: "y" argmax_param { axis: 1 } }""")
    (answer,) = json.loads(pibench("predict", path, "--json").out)
    assert (answer["protocol"], answer["batch"]) == ("inference", 2)
    assert [layer["name"] for layer in answer["layers"]] == ["in", "score", "label"]
    assert "one forward pass, inference;" in " ".join(pibench("predict", path).out.split())
    train = path.read_text().replace('"Input" top', '"DummyData" include { phase: TRAIN } top')
    path.write_text(train.replace("input_param", "dummy_data_param"))
    (answer,) = json.loads(pibench("predict", path, "--json").out)
    assert (answer["protocol"], answer["batch"]) == ("caffe-time", 2)
    path.write_text(train.replace("input_param", "dummy_data_param").replace("TRAIN", "TEST"))
    both = " ".join(pibench("predict", "NIN", path).out.split())
    assert "one forward pass, caffe-time or inference;" in both


def test_another_image_size_takes_its_time(pibench: Pibench) -> None:
    (usual,) = json.loads(pibench("predict", "squeezenet-v1.1", "--json").out)
    (large,) = json.loads(
        pibench("predict", "squeezenet-v1.1", "--input", "454x454", "--json", "-q").out
    )
    assert 3.5 * usual["latency_ms"] < large["latency_ms"] < 4.5 * usual["latency_ms"]


def test_a_calibrations_board_is_predicted_unless_another_is_asked_for(
    pibench: Pibench, tmp_path: Path
) -> None:
    path = tmp_path / "plus.json"
    text = rates.dumps(replace(rates.shipped(), device="rpi3b_plus"))
    path.write_text(text)
    (one,) = json.loads(pibench("predict", "NIN", "--calibration", str(path), "--json").out)
    assert one["device"] == "rpi3b_plus"


@pytest.fixture
def few(tmp_path: Path) -> tuple[Observation, ...]:
    """A calibration of few networks in few.json: each is counted, and the rates fitted on it."""
    shipped = rates.shipped()
    found = tuple(one for one in shipped.observations if one.network in SMALL)
    (tmp_path / "few.json").write_text(rates.dumps(replace(shipped, observations=found)))
    return found


def test_validate_json_has_the_errors(pibench: Pibench, few: tuple[Observation, ...]) -> None:
    words = ("--validate", "--calibration", "few.json", "--json")
    found = json.loads(pibench("predict", *words).out)
    assert {"mape_pct", "worst_pct", "rank_correlation", "within_10_pct", "rows"} <= set(found)
    assert [one["network"] for one in found["rows"]] == [one.network for one in few]


def test_validate_prints_every_network_and_pictures_have_a_point_each(
    pibench: Pibench, few: tuple[Observation, ...], tmp_path: Path
) -> None:
    pibench("predict", "AlexNet", "vgg16", "NIN", "--plot", "roof.svg")
    words = ("--validate", "--calibration", "few.json", "--plot", "errors.svg")
    output = pibench("predict", *words).out
    assert all(one.network in output for one in few)
    assert "rank correlation" in " ".join(output.split())
    for name, points in (("roof.svg", 3), ("errors.svg", len(few))):
        picture = ET.parse(tmp_path / name).getroot()  # noqa: S314  (our own)
        ids = [one.get("id", "") for one in picture.iter("{http://www.w3.org/2000/svg}g")]
        assert len([one for one in ids if one.startswith("point ")]) == points


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no network was given"),
        (("--validate", "AlexNet"), "--validate takes no networks"),
        (("--validate", "--counted"), "--validate uses layer shapes"),
        (("--validate", "--per-layer"), "omit --per-layer"),
        (("--validate", "--batch", "2"), "omit --batch"),
        (("--validate", "--input", "64x64"), "omit --input"),
        (("--validate", "--device", "rpi3b_plus"), "times of rpi3b, not of rpi3b_plus"),
        (("AlexNet", "--input", "big"), "'big' is not an input size"),
        (
            ("AlexNet", "--device", "rpi4b_2gb", "--stack", "atlas-arm64"),
            "no latency is known for rpi4b_2gb",
        ),
        (
            ("AlexNet", "--calibration", "missing.json"),
            "missing.json: cannot be read: No such file or directory; write them",
        ),
        (("NoSuchNet",), "is neither a network of the zoo"),
        (("AlexNet", "--plot", "roof.png"), "pictures are written as SVG"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(
    pibench: Pibench, arguments: tuple[str, ...], message: str
) -> None:
    output = pibench("predict", *arguments, code=2)
    assert message in output.err
    assert output.err.count("\n") == 1


def test_calibrating_from_nothing_is_one_line(pibench: Pibench, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text("")
    assert "no record has a time" in pibench("calibrate", "--from", str(path), code=2).err


def test_predicting_is_fast_and_needs_no_scipy() -> None:
    code = (
        "import sys\nfrom pibench.cli import main\nsys.argv[1:] = ['predict', 'AlexNet']\n"
        "try:\n    main()\nfinally:\n    print('scipy' in sys.modules, file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Processor time: a busy machine takes longer.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.5
    assert ended.stderr == "False\n"


def test_a_time_is_that_of_a_stack(pibench: Pibench) -> None:
    def predicted(*words: str) -> dict[str, Any]:
        (answer,) = json.loads(pibench("predict", "AlexNet", *words, "--json").out)
        return answer  # type: ignore[no-any-return]

    own = predicted()
    assert (own["stack"], own["threads"], own["data"]) == ("openblas-a53", 4, "zeros")
    assert "no rate is fitted" in own["provenance"]["reason"]
    paper = predicted("--stack", "paper")
    assert paper["latency_ms"] == pytest.approx(1755, rel=0.001)
    assert (paper["stack"], paper["threads"]) == ("paper", None)
    alone = predicted("--threads", "1")
    faster = predicted("--threads", "1", "--clock", "2400")
    # Memory does not follow the clock of the cores.
    assert 0.5 < faster["latency_ms"] / alone["latency_ms"] < 0.7
    assert own["latency_ms"] < alone["latency_ms"] < paper["latency_ms"]
    photographs = predicted("--stack", "openblas-armv8", "--data", "images")
    assert photographs["latency_ms"] > 2 * predicted("--stack", "openblas-armv8")["latency_ms"]
    unknown = predicted("--stack", "unknown")
    assert unknown["low_ms"] < own["latency_ms"] < unknown["high_ms"]
    assert "LRN: a power takes" in pibench("predict", "AlexNet").out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--stack", "mkl"), "unknown stack 'mkl'"),
        (("--threads", "8"), "rpi3b has 4 cores, and --threads asks for 8"),
        (("--stack", "paper", "--threads", "1"), "contain its threads"),
        (("--stack", "openblas-a53", "--counted"), "--counted takes rates"),
        (("--device", "rpi4b_1gb", "--stack", "openblas-a53"), "openblas-a72, openblas-armv8-a72"),
    ],
)
def test_what_no_stack_can_answer_is_refused(
    pibench: Pibench, words: tuple[str, ...], reason: str
) -> None:
    answer = pibench("predict", "AlexNet", *words, code=2)
    assert reason in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--stack", "openblas-armv6"), "image has no BLAS of stack openblas-armv6"),
        (("--stack", "mkl"), "unknown stack 'mkl'"),
        (
            ("--cycles", "--device", "rpi4b_2gb", "--stack", "openblas-a53"),
            "its CPU is a cortex-a72",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused_before_anything_runs(
    arguments: tuple[str, ...], problem: str, pibench: Pibench
) -> None:
    assert problem in pibench("count", "AlexNet", *arguments, code=2).line


def test_a_boards_factors_predict_in_place_of_its_stacks_table(
    pibench: Pibench, tmp_path: Path
) -> None:
    found = factors.StackFactors(
        device="rpi3b", stack="openblas-a53", threads=1, protocol="caffe-time", data="zeros",
        provenance="measured", source="4 records of pi.jsonl", products=2.0, accesses=2.0,
        both=True, half_width_log=0.1, left_out_pct=(1.0,), observations=(),
    )  # fmt: skip
    factors.write(found, tmp_path / "pi.json")

    def predicted(*options: str) -> dict[str, Any]:
        (one,) = json.loads(pibench("predict", "SqueezeNet V1.1", *options, "--json").out)
        return dict(one)

    own = predicted("--calibration", "pi.json")
    table = predicted("--stack", "openblas-a53", "--threads", "1")
    assert own["latency_ms"] == pytest.approx(2 * table["latency_ms"])
    assert own["high_ms"] == pytest.approx(own["latency_ms"] * exp(0.1))
    assert "products x 2.000 and accesses x 2.000" in own["provenance"]["reason"]
    for options, problem in (
        (("AlexNet", "--stack", "reference"), "has factors of stack openblas-a53"),
        (("AlexNet", "--counted"), "--counted takes rates"),
        (("--validate",), "--validate is for rates"),
    ):
        assert problem in pibench("predict", "--calibration", "pi.json", *options, code=2).line


def test_two_files_of_one_network_stand_apart_in_every_output(pibench: Pibench) -> None:
    pibench("networks", "export", "SqueezeNet V1.1", "a")
    (one,) = Path("a").glob("*.prototxt")
    other = Path("b") / one.name
    other.parent.mkdir()
    other.write_bytes(one.read_bytes())
    outputs = ("-o", "latency.md", "-o", "latency.xml")
    printed = pibench("predict", one, other, "--max-ms", "1000", *outputs).out
    planned = pibench("plan", one, other, "-o", "trace.json").out
    outputs = (
        printed,
        planned,
        *(Path(name).read_text() for name in ("latency.md", "latency.xml", "trace.json")),
    )
    for text in outputs:
        words = text.replace("\\", "")
        assert "(a/" in words
        assert "(b/" in words
