"""Engines other than Caffe: their versions, what they get of a network, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pibench import devices, networks
from pibench.engines import registry
from pibench.engines.opencv.importer import differences
from pibench.errors import HostError, InvalidInputError
from pibench.images import wheels
from pibench.images.recipe import ARCHITECTURES
from pibench.networks.network import Network
from pibench.records.identity import labels_of, run_of
from pibench.runner.jobs import ends_of, job_of
from pibench.runner.options import RunOptions
from pibench.verdict import Observation, decide

MIB = 2**20
PI = devices.load("rpi3b")
HEAD = """layer { name: "data" type: "Input" top: "x"
  input_param { shape { dim: 1 dim: 4 dim: 9 dim: 9 } } }
"""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def network(layers: str) -> Network:
        path = tmp_path / "net.prototxt"
        path.write_text(HEAD + layers)
        return networks.load(str(path))

    return network


def for_opencv(network: Network, version: str = "") -> str:
    spec = f"opencv=={version}" if version else "opencv"
    return job_of(0, network, RunOptions(engine=spec, protocol="inference")).prototxt


def test_a_version_is_chosen_by_its_beginning() -> None:
    opencv = registry.engine_of("opencv")
    assert opencv.spec == "opencv"
    assert opencv.wheel_version == opencv.versions[0]
    for asked, found in (("4.6", "4.6.0.66"), ("4.5.1", "4.5.1.48"), ("4", "4.14.0.94")):
        engine = registry.engine_of(f"opencv=={asked}")
        assert (engine.id, engine.version, engine.wheel_version) == ("opencv", found, found)
        assert registry.engine_of(engine.spec) == engine
    assert "4.6.0.66" in registry.engine_of("opencv==4.6").trials(["inference"])[0][-1]


@pytest.mark.parametrize("spec", ["opencv==4.9", "opencv==", "opencv==4.14.0.9", "caffe==1.0"])
def test_a_version_that_is_not_there_is_one_line(spec: str) -> None:
    with pytest.raises(InvalidInputError, match="there is no version"):
        registry.engine_of(spec)


def test_settings_are_part_of_what_runs() -> None:
    engine = registry.engine_of("ncnn==1.0:fp16=off:winograd=off")
    # In the engine's own order, so that one configuration has one name.
    assert engine.spec == "ncnn==1.0.20261020:winograd=off:fp16=off"
    assert registry.engine_of("ncnn:fp16=on") == registry.engine_of("ncnn")
    recorded = engine.recorded("1.0.20261020")
    assert recorded == "1.0.20261020, winograd=off, fp16=off"
    assert engine.made("ncnn", recorded)
    assert not engine.made("ncnn", "1.0.20261020")
    assert not registry.engine_of("ncnn").made("ncnn", recorded)
    assert registry.engine_of("caffe").made("caffe", "caffe version 1.0.0")


@pytest.mark.parametrize(
    "spec",
    ["opencv==4.6:winograd=off", "ncnn:fp16", "ncnn:fp16=maybe", "opencv:x=1", "caffe:fp16=off"],
)
def test_a_setting_that_an_engine_lacks_is_one_line(spec: str) -> None:
    with pytest.raises(InvalidInputError, match="has no setting"):
        registry.engine_of(spec)


def test_every_version_has_a_wheel_for_both_architectures() -> None:
    for engine in registry.with_wheels():
        for architecture in ARCHITECTURES:
            wheel = wheels.find(engine, architecture)
            machine = {"arm64": "aarch64", "amd64": "x86_64"}[architecture]
            assert all(platform.endswith(machine) for platform in wheel.platforms)
            # For the Python of the root file systems, or for all from an earlier one on.
            assert re.search(r"-(cp39-cp39|cp3[67]-abi3)-", wheel.file), wheel.file
            # glibc 2.31 at most.
            newest = re.findall(r"manylinux_2_(\d+)", wheel.file)
            assert not newest or min(map(int, newest)) <= 31
    assert len(wheels.kinds()) == 2 * len(registry.with_wheels())


def test_a_wheel_that_the_lock_lacks_is_one_line() -> None:
    other = registry.engine_of("ncnn").__class__(
        id="ncnn", label="ncnn", probe_module=Path(), wheel="ncnn", versions=("0.1",)
    )
    with pytest.raises(HostError, match=r"has no ncnn 0\.1 for arm64"):
        wheels.find(other, "arm64")


def test_opencv_gets_the_layers_of_the_test_phase(load: Any) -> None:
    network = load(
        'layer { name: "noise" type: "Power" bottom: "x" top: "x" include { phase: TRAIN } }'
        'layer { name: "y" type: "ReLU" bottom: "x" top: "y" include { phase: TEST } }'
    )
    text = for_opencv(network)
    assert "noise" not in text
    assert "phase" not in text
    assert '"ReLU"' in text


@pytest.mark.parametrize(("mode", "ceiling"), [("FLOOR", "false"), ("CEIL", "true")])
def test_opencv_gets_the_round_mode_in_its_own_field(load: Any, mode: str, ceiling: str) -> None:
    pool = 'layer { name: "y" type: "Pooling" bottom: "x" top: "y" pooling_param { pool: AVE'
    text = for_opencv(load(f"{pool} kernel_size: 2 stride: 2 round_mode: {mode} }} }}"))
    assert f"ceil_mode: {ceiling}" in text
    assert "round_mode" not in text
    assert "kernel_size: 2" in text
    assert "ceil_mode" not in for_opencv(load(f"{pool} kernel_size: 2 stride: 2 }} }}"))


def test_opencv_gets_the_fields_of_forks(load: Any) -> None:
    text = for_opencv(
        load(
            'layer { name: "p" type: "Permute" bottom: "x" top: "p" '
            "permute_param { order: 0 order: 2 order: 3 order: 1 } }"
            'layer { name: "b" type: "PriorBox" bottom: "p" bottom: "x" top: "b" '
            "prior_box_param { min_size: 3 } }"
        )
    )
    assert "python_param" not in text
    assert re.search(r"permute_param \{\s*order: 0\s+order: 2", text)
    # OpenCV clips where the field is not there, the fork does not.
    assert re.search(r"prior_box_param \{[^}]*clip: false", text)


@pytest.mark.parametrize("kind", ["ConvolutionDepthwise", "DepthwiseConvolution"])
def test_opencv_gets_depthwise_types_as_grouped_convolutions(load: Any, kind: str) -> None:
    text = for_opencv(
        load(
            f'layer {{ name: "d" type: "{kind}" bottom: "x" top: "y" '
            "convolution_param { num_output: 4 kernel_size: 3 group: 4 } }"
        )
    )
    assert kind not in text
    assert re.search(r'type: "Convolution".*group: 4', text, re.DOTALL)


REFUSED = {
    'type: "InnerProduct" inner_product_param { num_output: 2 transpose: true }': "transpose",
    'type: "LRN" lrn_param { k: 2 }': "`k`",
    'type: "Log"': "Log",
    'type: "Tile" tile_param { tiles: 2 }': "Tile",
}


@pytest.mark.parametrize("layer", REFUSED)
def test_what_opencv_would_compute_otherwise_is_refused(load: Any, layer: str) -> None:
    network = load(f'layer {{ name: "odd" {layer} bottom: "x" top: "y" }}')
    with pytest.raises(InvalidInputError) as caught:
        for_opencv(network)
    assert "net.prototxt" in caught.value.line()
    assert "layer 'odd'" in caught.value.line()
    assert "OpenCV 4.14.0.94" in caught.value.line()
    assert REFUSED[layer] in caught.value.line()


def test_a_difference_is_of_the_versions_that_have_it(load: Any) -> None:
    network = load('layer { name: "e" type: "ELU" bottom: "x" top: "y" elu_param { alpha: 0.5 } }')
    for version in ("4.14", "4.6"):
        assert "alpha" in for_opencv(network, version)
    with pytest.raises(InvalidInputError, match=r"OpenCV 4\.5\.1\.48 takes no notice of `alpha`"):
        for_opencv(network, "4.5")
    same = load('layer { name: "e" type: "ELU" bottom: "x" top: "y" elu_param { alpha: 1 } }')
    assert "ELU" in for_opencv(same, "4.5")
    assert {one.layer for one in differences()} >= {"LRN", "InnerProduct", "ELU", "Log"}


@pytest.mark.parametrize(("version", "gives"), [("4.5.1", False), ("4.6", True), ("", True)])
def test_opencv_gets_caffes_default_where_its_own_is_another(
    load: Any, version: str, gives: bool
) -> None:
    network = load('layer { name: "n" type: "LRN" bottom: "x" top: "y" }')
    assert ("alpha: 1" in for_opencv(network, version)) == gives


def test_opencv_gets_the_bottoms_of_axpy_in_its_own_order(load: Any) -> None:
    network = load(
        'layer { name: "s" type: "Pooling" bottom: "x" top: "s"'
        "  pooling_param { pool: AVE global_pooling: true } }"
        'layer { name: "r" type: "ReLU" bottom: "x" top: "y" }'
        'layer { name: "a" type: "Axpy" bottom: "s" bottom: "y" bottom: "x" top: "z" }'
    )
    bottoms = re.findall(r'bottom: "(\w)"', for_opencv(network).rpartition("layer {")[2])
    assert bottoms == ["s", "x", "y"]


def as_it_is(network: Network, engine: str) -> RunOptions:
    options = RunOptions(engine=engine, protocol="inference", layer_values=True, repeats=3)
    options.check(network)
    return options


def test_layer_values_are_of_the_network_as_it_is(load: Any) -> None:
    network = load(
        'layer { name: "n" type: "LRN" bottom: "x" top: "y" }'
        'layer { name: "e" type: "InnerProduct" bottom: "y" top: "z"'
        "  inner_product_param { num_output: 3 transpose: true } }"
    )
    job = job_of(0, network, as_it_is(network, "opencv"))
    assert (job.engine, job.repeats, job.warmup) == ("opencv:fusion=off", 0, 0)
    assert "transpose: true" in job.prototxt
    assert "alpha" not in job.prototxt
    # What OpenCV cannot read has no values.
    unread = load('layer { name: "m" type: "ArgMax" bottom: "x" top: "y" }')
    with pytest.raises(InvalidInputError, match="has no layer type ArgMax"):
        job_of(0, unread, as_it_is(unread, "opencv"))


def test_layers_have_the_names_of_opencvs_importer(load: Any) -> None:
    network = load(
        'layer { name: "c" type: "Convolution" bottom: "x" top: "y"'
        "  convolution_param { num_output: 4 kernel_size: 1 } }"
        'layer { name: "r" type: "ReLU" bottom: "y" top: "y" }'
        'layer { name: "r" type: "Power" bottom: "y" top: "y" }'
        'layer { name: "s" type: "Split" bottom: "y" top: "u" top: "v" }'
        'layer { name: "cut" type: "Slice" bottom: "u" top: "a" top: "b" }'
        'layer { name: "off" type: "Silence" bottom: "v" }'
    )
    layers = job_of(0, network, as_it_is(network, "opencv")).layers
    assert [(one.index, one.layer, one.name, one.inside, one.top) for one in layers] == [
        (0, "data", "x", "", 0),
        (1, "c", "y", "y", 0),
        (2, "r", "y", "r", 0),
        (3, "r", "y", "r_1", 0),
        (5, "cut", "a", "cut", 0),
        (5, "cut", "b", "cut", 1),
    ]
    assert layers[-1].shape == (1, 2, 9, 9)
    # An ordinary run, and Caffe's, which always gives them, ask for none.
    plain = RunOptions(engine="opencv", protocol="inference")
    assert job_of(0, network, plain).layers == ()
    assert job_of(0, network, as_it_is(network, "caffe")).layers == ()


def test_only_engines_that_give_layer_values_are_asked_for_them(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load('layer { name: "r" type: "ReLU" bottom: "x" top: "x" }')
    without = replace(registry.engine_of("ncnn"), id="mute", label="Mute", layer_settings=None)
    monkeypatch.setitem(registry._registered, "mute", without)
    with pytest.raises(InvalidInputError, match="Mute does not give the values of its layers"):
        as_it_is(network, "mute")
    with pytest.raises(InvalidInputError, match="--keep-blobs is for Caffe"):
        RunOptions(engine="ncnn", protocol="inference", keep=("r",)).check(network)
    RunOptions(engine="ncnn", protocol="inference", keep=("r",), layer_values=True).check(network)


def test_inputs_and_outputs_are_in_caffes_order(load: Any) -> None:
    network = load(
        'layer { name: "b" type: "Slice" bottom: "x" top: "z" top: "a" }'
        'layer { name: "r" type: "ReLU" bottom: "a" top: "a" }'
    )
    ends = ends_of(network.shapes_under("inference"), "caffe")
    assert [(end.name, end.shape) for end in ends.inputs] == [("x", (1, 4, 9, 9))]
    # By name, and the layer that writes it last.
    assert [(end.name, end.inside, end.top) for end in ends.outputs] == [
        ("a", "r", 0),
        ("z", "b", 0),
    ]
    assert ends.outputs[0].shape == (1, 2, 9, 9)


@pytest.mark.parametrize(
    ("engine", "peak_mib", "verdict"),
    [
        ("onnxruntime", 860, "inconclusive"),
        ("onnxruntime", 1000, "inconclusive"),
        ("onnxruntime", 640, "fit"),
        ("onnxruntime", 1600, "no-fit"),
        ("ncnn", 730, "inconclusive"),
        ("ncnn", 720, "fit"),
        ("opencv", 860, "fit"),
        ("opencv", 930, "inconclusive"),
        ("caffe", 930, "borderline"),
    ],
)
def test_the_twin_decides_as_far_from_the_limit_as_the_builds_differ(
    engine: str, peak_mib: int, verdict: str
) -> None:
    seen = {"exit_status": 0, "swap_used_bytes": 0, "peak_rss_bytes": peak_mib * MIB}
    decided = decide(Observation(target="twin", engine=engine, **seen), PI)
    assert decided.verdict == verdict
    if verdict == "inconclusive":
        assert "--target vm decides" in decided.evidence.summary
    # The board's own build decides.
    vm = decide(
        Observation(target="vm", engine=engine, memory_limit_bytes=PI.usable_bytes, **seen), PI
    )
    assert "build" not in vm.evidence.summary


def test_an_engines_refused_block_is_its_own_message() -> None:
    message = "error: (-4:Insufficient memory) Failed to allocate 411041792 bytes in function"
    assert registry.refused_bytes("opencv==4.6", message) == 411041792
    assert not registry.is_refused_allocation("ncnn", message)
    arena = "Failed to allocate memory for requested buffer of size 411041792"
    assert registry.refused_bytes("onnxruntime", arena) == 411041792


def test_runs_of_two_versions_are_two_runs(make_record: Any) -> None:
    old, new = (
        make_record(engine="opencv", engine_version=version, record_id=digit * 32)
        for version, digit in (("4.6.0", "a"), ("4.14.0", "b"))
    )
    assert run_of(old).identity != run_of(new).identity
    names = labels_of([old, new])
    assert "opencv 4.6.0" in names["a" * 32]
    assert "opencv 4.14.0" in names["b" * 32]


@pytest.mark.parametrize(
    ("option", "value"), [("blas", "atlas"), ("setup", "paper-inferred"), ("keep", ("y",))]
)
def test_options_of_caffe_are_refused_for_other_engines(
    load: Any, option: str, value: object
) -> None:
    network = load('layer { name: "y" type: "ReLU" bottom: "x" top: "y" }')
    for engine in ("opencv", "onnxruntime", "ncnn"):
        options = RunOptions(engine=engine, protocol="inference", compute="real", **{option: value})
        with pytest.raises(InvalidInputError, match="is for Caffe"):
            options.check(network)
