"""Every bad prototxt gives one clear line; nothing else ever comes out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pibench import networks
from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import caffemodel, prototxt, repair, shapes
from pibench.errors import ExitCode, InvalidInputError
from tests.limits import without_root

GOOD = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }\n'
NET = GOOD + 'layer { name: "relu" type: "ReLU" bottom: "data" top: "data" }\n'


def read_net(path: Path | str) -> caffe.NetParameter:
    return prototxt.parse(prototxt.read_text(path), path)


def one_line(error: InvalidInputError) -> str:
    assert error.exit_code == ExitCode.INVALID_INPUT
    assert "\n" not in error.line()
    assert "net.prototxt" in error.line()
    return error.line()


def line_of(text: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        prototxt.parse(text, "net.prototxt")
    return one_line(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "net.prototxt: is empty: it contains no network; check the file"),
        ("# a comment\n", "net.prototxt: is empty: it contains no network; check the file"),
        (
            GOOD + "layer {\n name: 'x'\n",
            (
                "net.prototxt: line 2: the '{' opened here is never closed: the file is "
                "incomplete; add the missing '}' or copy the file again"
            ),
        ),
        (
            GOOD + "}",
            "net.prototxt: line 2: '}' closes nothing; remove it, or add the missing opening brace",
        ),
        (
            "\n\nlayer { pooling_param { ceil_mode: false } }",
            (
                "net.prototxt: line 3: stock Caffe has no field 'ceil_mode: false' in "
                "pooling_param (a private patch; stock Caffe has round_mode); use --repair to "
                "write it so"
            ),
        ),
        (
            'engine: "MKL2017"\n' + NET,
            (
                "net.prototxt: line 1: stock Caffe has no field 'engine: \"MKL2017\"' "
                "(an engine of Intel's fork); use --repair to take it out"
            ),
        ),
        (
            "layer { convolution_param { engine: MKL2017 } }",
            (
                "net.prototxt: line 1: stock Caffe has no value 'engine: MKL2017' in "
                "convolution_param (an engine of Intel's fork); use --repair to take it out"
            ),
        ),
        (
            "layer { data_param {\n shuffle_param { } } }",
            (
                "net.prototxt: line 2: stock Caffe has no field 'shuffle_param' in data_param "
                "(a field of Intel's fork); use --repair to take it out"
            ),
        ),
        (
            'layer { nmae: "x" }',
            (
                "net.prototxt: line 1: stock Caffe has no field 'nmae: \"x\"' in layer; "
                "correct the name, or use --repair to take it out"
            ),
        ),
        (
            "layer { convolution_param { kernel_sise: 3 } }",
            (
                "net.prototxt: line 1: stock Caffe has no field 'kernel_sise: 3' in "
                "convolution_param; did you mean 'kernel_size'?"
            ),
        ),
        (
            "layer { pooling_param { pool: STOCHASTICS } }",
            (
                "net.prototxt: line 1: stock Caffe has no value 'pool: STOCHASTICS' in "
                "pooling_param; did you mean 'STOCHASTIC'?"
            ),
        ),
        (
            GOOD + "layer { name: 3 }",
            "net.prototxt: line 2: Expected string but found: '3'; correct the line",
        ),
        (
            GOOD + "\0",
            "net.prototxt: line 2: contains a NUL character; copy the file again, as text",
        ),
        (
            'layer { name: "x" type: "Whatever" whatever_param { a: 1 } }',
            (
                "net.prototxt: layer 'x': stock Caffe has no layer type 'Whatever'; correct the "
                "type, or replace the layer by stock ones; plan and predict take it by its shape: "
                "--shape x=1x3x224x224"
            ),
        ),
        (
            "layer { type: 'MultiBoxLoss' include { phase: TRAIN } multibox_loss_param { a: 1 } }",
            (
                "net.prototxt: an unnamed MultiBoxLoss: stock Caffe has no layer type "
                "'MultiBoxLoss'; use --repair to take it out: it belongs to training only"
            ),
        ),
        (
            "layer { type: 'AnnotatedData' include { phase: TRAIN } annotated_data_param { } }",
            (
                "net.prototxt: an unnamed AnnotatedData: an AnnotatedData layer of a fork reads a "
                "database or files; use --repair to put an Input layer in its place"
            ),
        ),
        (
            "layers { bn_param { a: 1 } name: 'x'\n type: BN }",
            (
                "net.prototxt: line 2: stock Caffe has no layer type BN; 'layer' has it, as type: "
                "\"BN\": write every 'layers' in that form"
            ),
        ),
        (
            "layers { name: 'x' type: Softmax }",
            (
                "net.prototxt: line 1: stock Caffe has no layer type Softmax; did you mean "
                "'SOFTMAX'?"
            ),
        ),
        (
            "layers { name: 'x' type: CROP }",
            (
                "net.prototxt: line 1: stock Caffe has no layer type CROP; 'layer' has it, as "
                "type: \"Crop\": write every 'layers' in that form"
            ),
        ),
        (
            "layers { name: 'x' type: 'Softmax' }",
            (
                "net.prototxt: line 1: stock Caffe has no layer type 'Softmax'; types have quotes "
                "in 'layer', not in 'layers': write 'layer'"
            ),
        ),
        (
            "layer { name: 'x' type: 'ROIAlign' roi_pooling_param { pooled_h: 1 } }",
            (
                "net.prototxt: layer 'x': stock Caffe has no layer type 'ROIAlign'; correct the "
                "type, or replace the layer by stock ones; plan and predict take it by its shape: "
                "--shape x=1x3x224x224"
            ),
        ),
        (
            'name: "x"',
            "net.prototxt: contains no layer; check that this is a network, not a solver",
        ),
        (
            "layer {" * 500 + "}" * 500,
            "net.prototxt: line 1: braces nest deeper than 32; a network has at most five levels",
        ),
        (
            "layer { convolution_param { num_output: -3 } }",
            "net.prototxt: line 1: Value out of range: -3; correct the line",
        ),
    ],
)
def test_bad_text(text: str, line: str) -> None:
    assert line_of(text) == line


def test_lone_surrogates_are_refused() -> None:
    assert "surrogates not allowed" in line_of(GOOD + 'layer { name: "\ud800" }')


def test_good_text_is_read_with_comments_lists_and_either_brace() -> None:
    net = prototxt.parse(
        '# made by hand\nlayer < name: "a" bottom: ["x", "y"]; > layer: { name: \'b\' \'c\' }', "n"
    )
    assert [layer.name for layer in net.layer] == ["a", "bc"]
    assert list(net.layer[0].bottom) == ["x", "y"]


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "no.prototxt"
    with pytest.raises(InvalidInputError) as caught:
        read_net(path)
    assert caught.value.line() == f"{path}: no such file; check the path"


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_net(tmp_path)
    assert caught.value.line() == f"{tmp_path}: a directory, not a prototxt; name the file"


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.prototxt"
    path.write_bytes(b'name: "caf\xe9"\n')
    with pytest.raises(InvalidInputError) as caught:
        read_net(path)
    assert caught.value.line() == f"{path}: byte 10: is not UTF-8 text; save the file as UTF-8"


def test_huge_file(tmp_path: Path) -> None:
    path = tmp_path / "huge.prototxt"
    with path.open("wb") as file:
        file.truncate(prototxt.MAX_FILE_BYTES + 1)
    with pytest.raises(InvalidInputError, match="is too large for a prototxt"):
        read_net(path)


@pytest.mark.parametrize("name", ["Net", ""])
def test_caffemodel_given_as_prototxt(tmp_path: Path, name: str) -> None:
    net = caffe.NetParameter(name=name)
    net.layer.add(name="conv1", type="Convolution").blobs.add(data=[0.5] * 9)
    path = tmp_path / "weights.caffemodel"
    path.write_bytes(net.SerializeToString())
    with pytest.raises(InvalidInputError) as caught:
        read_net(path)
    assert caught.value.line() == (
        f"{path}: is a caffemodel (binary weights), not a prototxt (text); "
        "give the prototxt as the network and this file with --weights"
    )


def test_a_prototxt_that_starts_with_a_blank_line_is_text(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text("\n" + NET)
    assert len(read_net(path).layer) == 2


# Property tests: any input gives a network or InvalidInputError.

relaxed = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def survives(text: str) -> None:
    try:
        net = prototxt.parse(text, "net.prototxt")
    except InvalidInputError as error:
        one_line(error)
    else:
        assert prototxt.parse(prototxt.write(net), "again") == net


@relaxed
@given(st.text())
def test_any_text(text: str) -> None:
    survives(text)


@relaxed
@given(st.lists(st.sampled_from(
    ["layer", "layers", "name", "type", "bottom", "top", "dim", "shape", "input", "pool",
     "pooling_param", "convolution_param", "engine", "ceil_mode", "MAX", "false", "1", "-1",
     "1e999", "0x10", "nan", '"a"', "'b'", "{", "}", "<", ">", "[", "]", ":", ",", ";", "#", "\n",
     "/", "*", "\\", '"'])))  # fmt: skip
def test_any_tokens(parts: list[str]) -> None:
    survives(" ".join(parts))


@relaxed
@given(st.binary())
def test_any_bytes_in_a_file(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "net.prototxt"
    path.write_bytes(raw)
    try:
        read_net(path)
    except InvalidInputError as error:
        one_line(error)


SQUEEZENET = networks.load("SqueezeNet V1.1").prototxt


@settings(relaxed, max_examples=40)
@given(st.data())
def test_mutated_networks(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SQUEEZENET)))
    length = data.draw(st.integers(0, 40))
    survives(SQUEEZENET[:at] + data.draw(st.text(max_size=20)) + SQUEEZENET[at + length :])


NUMBERS = [match.span() for match in re.finditer(r"(?<=: )\d+", SQUEEZENET)]
TYPES = [match.span() for match in re.finditer(r'(?<=type: ")\w+', SQUEEZENET)]


@settings(relaxed, max_examples=40)
@given(
    number=st.sampled_from(NUMBERS),
    value=st.sampled_from(["0", "1", "-1", "3", "99999", "2147483647"]),
    layer=st.sampled_from(TYPES),
    kind=st.sampled_from([*shapes.RULES, "Data", "Filter", "Nonsense"]),
)
def test_mutated_numbers_and_types_never_break_shapes_or_repairs(
    number: tuple[int, int], value: str, layer: tuple[int, int], kind: str
) -> None:
    text = SQUEEZENET
    for (start, end), new in sorted([(number, value), (layer, kind)], reverse=True):
        text = text[:start] + new + text[end:]
    for load in (prototxt.parse, lambda text, path: repair.repair_text(text, path)[0]):
        try:
            shapes.infer(load(text, "net.prototxt"), path="net.prototxt")
        except InvalidInputError as error:
            one_line(error)


def test_a_byte_order_mark_is_stepped_over_as_caffe_does(tmp_path: Path) -> None:
    path = tmp_path / "bom.prototxt"
    path.write_bytes(b"\xef\xbb\xbf" + NET.encode())
    assert read_net(path) == prototxt.parse(NET, path)


def test_required_fields_are_asked_for() -> None:
    text = NET + 'layer { name: "c" type: "Clip" bottom: "data" top: "c" clip_param { max: 1 } }'
    assert line_of(text) == "net.prototxt: layer 'c': clip_param lacks min or max; give both"


def test_names_that_the_system_cannot_look_up(tmp_path: Path) -> None:
    for read in (read_net, caffemodel.index):
        with pytest.raises(InvalidInputError, match="File name too long"):
            read("x/" * 3000 + "net.prototxt")
        with pytest.raises(InvalidInputError, match="is not a file name"):
            read("a\0/net.prototxt")
    (tmp_path / "net.prototxt").symlink_to("net.prototxt")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_net(tmp_path / "net.prototxt")


def test_a_folder_that_may_not_be_entered(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    for read in (read_net, caffemodel.index):
        with without_root(), pytest.raises(InvalidInputError, match="Permission denied"):
            read(folder / "net.prototxt")


@pytest.mark.parametrize(
    "number", ["1_0", "0b1", "+1", "0o7", "09", "inff", "-NaNf", "- 5", "\u0661", "\xa01"]
)
def test_numbers_are_those_of_caffes_own_parser(number: str) -> None:
    text = f'layer {{ name: "d_1" type: "Input"\n input_param {{ shape {{ dim: {number} }} }} }}'
    with pytest.raises(InvalidInputError, match="net: line 2: "):
        prototxt.parse(text, "net")


@pytest.mark.parametrize("number", ["0x10", "020", "16"])
def test_numbers_in_other_bases(number: str) -> None:
    net = prototxt.parse(f"layer {{ input_param {{ shape {{ dim: {number} }} }} }} # \xe9", "net")
    assert list(net.layer[0].input_param.shape[0].dim) == [16]
