"""The batch of every kind of source: set, or refused with the reason, and never passed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pibench import networks
from pibench.errors import InvalidInputError
from pibench.networks.network import Network

CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 3 } }"""
DATA = 'layer { name: "data" type: "%s" top: "data" '
SHAPE = "shape { dim: 16 dim: 3 dim: 8 dim: 9 }"
INPUT = DATA % "Input" + f"input_param {{ {SHAPE} }} }}"
DUMMY = DATA % "DummyData"
LEGACY_INPUT = 'input: "data" '
CASES = {
    "Input": INPUT + CONV,
    "DummyData": DUMMY + f"dummy_data_param {{ {SHAPE} }} }}" + CONV,
    "DummyData by num, channels, height and width": DUMMY
    + "dummy_data_param { num: 16 channels: 3 height: 8 width: 9 } }"
    + CONV,
    "input_dim": LEGACY_INPUT + "input_dim: [16, 3, 8, 9] " + CONV,
    "input_shape": LEGACY_INPUT + "input_shape { dim: [16, 3, 8, 9] } " + CONV,
    "first generation": LEGACY_INPUT
    + "input_dim: [16, 3, 8, 9] "
    + CONV.replace("layer {", "layers {").replace('"Convolution"', "CONVOLUTION"),
}
TWO_PHASES = (
    DUMMY
    + f"include {{ phase: TRAIN }} dummy_data_param {{ {SHAPE} }} }}"
    + DUMMY
    + "include { phase: TEST } dummy_data_param { shape { dim: [1, 3, 8, 9] } } }"
    + CONV
)


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Network]:
    """Loads a network from text."""

    def from_text(text: str, **options: object) -> Network:
        (tmp_path / "net.prototxt").write_text(text)
        return networks.load(str(tmp_path / "net.prototxt"), **options)  # type: ignore[arg-type]

    return from_text


@pytest.mark.parametrize("name", CASES)
def test_every_source_takes_the_batch(load: Callable[..., Network], name: str) -> None:
    repair = name == "first generation"
    own, changed = load(CASES[name], repair=repair), load(CASES[name], batch=5, repair=repair)
    assert own.batch == (1 if repair else 16)
    assert changed.batch == changed.batch_under("caffe-time") == 5
    assert changed.shapes.blobs["conv"] == (5, 2, 6, 7)
    assert changed.shapes.params == own.shapes.params


@pytest.mark.parametrize("name", CASES)
def test_every_source_takes_the_image_size(load: Callable[..., Network], name: str) -> None:
    changed = load(CASES[name], image=(20, 30), repair=name == "first generation")
    assert changed.shapes.blobs["conv"][2:] == (18, 28)


def test_values_for_all_tops_are_set_for_each_alone(load: Callable[..., Network]) -> None:
    text = (
        'layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param '
        "{ num: 4 channels: 3 channels: 1 height: 8 width: 8 width: 1 } }" + CONV
    )
    assert load(text).shapes.blobs["label"] == (4, 1, 8, 1)
    changed = load(text, batch=7, image=(16, 16))
    assert changed.shapes.blobs["data"] == (7, 3, 16, 16)
    assert changed.shapes.blobs["label"] == (7, 1, 8, 1)


def test_dummy_data_needs_each_value_once_or_per_top(load: Callable[..., Network]) -> None:
    text = 'layer { name: "d" type: "DummyData" top: "a" top: "b" top: "c" dummy_data_param { %s }}'
    with pytest.raises(InvalidInputError, match=r"3 top\(s\) but 2 channels; give one for all"):
        load(text % "num: 4 channels: 3 channels: 1 height: 8 width: 8")
    with pytest.raises(InvalidInputError, match=r"3 top\(s\) but 0 width"):
        load(text % "num: 4 channels: 3 height: 8")


def test_the_batch_is_that_of_the_protocols_phase(load: Callable[..., Network]) -> None:
    network = load(TWO_PHASES)
    assert network.batch_under("caffe-time") == 16
    assert network.batch_under("inference") == network.batch == 1
    both = load(TWO_PHASES, batch=3)
    assert both.training_shapes.blobs["data"] == both.shapes.blobs["data"] == (3, 3, 8, 9)


REFUSED = {
    "no source": (
        """layer { name: "p" type: "Parameter" top: "p"
             parameter_param { shape { dim: 16 dim: 2 } } }
           layer { name: "r" type: "ReLU" bottom: "p" top: "r" }""",
        "it has no Input and no DummyData with a dimension",
    ),
    "a scalar": (
        DUMMY + "dummy_data_param { shape { } } }",
        "it has no Input and no DummyData with a dimension",
    ),
    "two first dimensions": (
        """layer { name: "d" type: "DummyData" top: "data" top: "rois"
             dummy_data_param { shape { dim: [16, 3, 8, 9] } shape { dim: [300, 5] } } }"""
        + CONV,
        "'data' has a first dimension of 16 and 'rois' one of 300",
    ),
    "two first dimensions in training alone": (
        TWO_PHASES
        + """layer { name: "rois" type: "DummyData" top: "rois" include { phase: TRAIN }
             dummy_data_param { shape { dim: [300, 5] } } }""",
        "'data' has a first dimension of 16 and 'rois' one of 300",
    ),
    "channels first": (
        INPUT.replace("dim: 16", "")
        + """layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
             inner_product_param { num_output: 4 axis: 0 } }""",
        "layer 'ip' would get parameters of 4 x 360 and 4 instead of 4 x 216 and 4: the first",
    ),
    "a fixed shape": (
        INPUT
        + """layer { name: "r" type: "Reshape" bottom: "data" top: "r"
             reshape_param { shape { dim: [16, 216] } } }""",
        "with batch 5: .*layer 'r'",
    ),
    **{
        kind: (
            DATA % kind + "}" + CONV,
            f"^[^:]*net.prototxt: layer 'data': {named} layer reads a database or files",
        )
        for named in ("a Data", "an ImageData", "an HDF5Data", "a MemoryData", "a WindowData")
        for kind in [named.split()[1]]
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_batch_that_means_nothing_is_refused(load: Callable[..., Network], name: str) -> None:
    text, why = REFUSED[name]
    with pytest.raises(InvalidInputError, match=why):
        load(text, batch=5)


def test_the_batch_that_it_has_is_never_refused(load: Callable[..., Network]) -> None:
    text, _ = REFUSED["two first dimensions"]
    assert load(text, batch=16).sha256 == load(text).sha256


def test_a_file_of_a_batch_that_caffe_cannot_count_takes_a_smaller_one(
    load: Callable[..., Network],
) -> None:
    text = INPUT.replace("dim: 16", "dim: 2000000000") + CONV
    assert load(text, batch=5).batch == 5


def test_data_layers_take_the_batch_once_repaired(load: Callable[..., Network]) -> None:
    text = DATA % "Data" + "data_param { batch_size: 64 } transform_param { crop_size: 8 } }" + CONV
    assert load(text, repair=True).batch == 1
    assert load(text, repair=True, batch=5).shapes.blobs["data"] == (5, 3, 8, 8)


def test_repair_leaves_a_batch_that_it_cannot_set(load: Callable[..., Network]) -> None:
    text, _ = REFUSED["two first dimensions"]
    repaired = load(text, repair=True)
    assert (repaired.batch, repaired.repairs) == (16, ())
