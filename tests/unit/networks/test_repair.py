"""Repairs: each is reported, each gives what stock Caffe runs, none happens unasked."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pibench import networks
from pibench.engines.caffe import prototxt, repair, shapes
from pibench.errors import InvalidInputError

INPUT = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [N, 3, 9, 9] } } }\n'
)
POOL = 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { EXTRA } }\n'

OLD = """
layers { name: "data" type: DATA top: "data" top: "label" include { phase: TRAIN }
         data_param { batch_size: 64 backend: LMDB } transform_param { crop_size: 28 } }
layers { name: "data" type: DATA top: "data" top: "label" include { phase: TEST }
         data_param { batch_size: 50 backend: LMDB } transform_param { crop_size: 28 } }
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2
         weight_decay: 1 weight_decay: 0 convolution_param { num_output: 20 kernel_size: 5 } }
layer { name: "drop" type: "Dropout" bottom: "conv1" top: "conv1" }
layers { name: "ip" type: INNER_PRODUCT bottom: "conv1" top: "ip"
         inner_product_param { num_output: 10 } }
layers { name: "accuracy" type: ACCURACY bottom: "ip" bottom: "label" top: "accuracy"
         include { phase: TEST } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "ip" bottom: "label" top: "loss" }
"""


def repaired_shapes(text: str) -> tuple[dict[str, shapes.Shape], list[str]]:
    net, done = repair.repair_text(text, "net.prototxt")
    again = prototxt.parse(prototxt.write(net), "again")
    return dict(shapes.infer(again).blobs), done


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    path = tmp_path / "train_val.prototxt"
    path.write_text(OLD)
    return path


def test_old_training_file(old_file: Path) -> None:
    network = networks.load(str(old_file), repair=True)
    assert dict(network.shapes.blobs) == {
        "data": (1, 3, 28, 28), "conv1": (1, 20, 24, 24), "ip": (1, 10), "loss": (1, 10),
    }  # fmt: skip
    assert network.repairs == (
        "turned 6 first-generation 'layers' into 'layer'",
        "took out layer 'data': it belongs to training only",
        "removed the phase rules of layer 'data': it belongs to every phase",
        (
            "put an Input of 1 x 3 x 28 x 28 in place of Data layer 'data' (3 channels assumed: "
            "the data decides)"
        ),
        "took out Accuracy layer 'accuracy': it needs labels",
        "made layer 'loss' a Softmax: there are no labels",
    )
    conv = network.net.layer[1]
    assert [(spec.lr_mult, spec.decay_mult) for spec in conv.param] == [(1, 1), (2, 0)]
    assert network.net.layer[2].type == "Dropout"


def test_old_layers_are_refused_unasked(old_file: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        networks.load(str(old_file))
    assert caught.value.line() == (
        f"{old_file}: mixes 6 first-generation 'layers {{ }}' with 'layer {{ }}'; "
        "use --repair to turn them into 'layer { }'"
    )


def test_data_layer_is_refused_unasked() -> None:
    text = 'layer { name: "d" type: "Data" top: "d" data_param { backend: LMDB } }'
    with pytest.raises(InvalidInputError) as caught:
        shapes.infer(prototxt.parse(text, "n"), path="train_val.prototxt")
    assert caught.value.line() == (
        "train_val.prototxt: layer 'd': a Data layer reads a database or files; "
        "use --repair to put an Input layer in its place"
    )


DOWN = INPUT.replace("N", "1") + POOL.replace("EXTRA", "kernel_size: 2 stride: 2 ceil_mode: false")


def test_ceil_mode_false_pools_down_as_its_author_does() -> None:
    blobs, done = repaired_shapes(DOWN)
    assert blobs["p"] == (1, 3, 4, 4)
    assert done == [
        "wrote 'ceil_mode: false' of pooling_param (line 2) as 'round_mode: FLOOR'",
    ]


def test_ceil_mode_false_is_taken_out_as_in_the_paper_by_name() -> None:
    net, done = repair.repair_text(DOWN, "net.prototxt", as_paper=True)
    assert shapes.infer(net).blobs["p"] == (1, 3, 5, 5)
    assert done == [
        (
            "took out 'ceil_mode: false' of pooling_param (line 2): the pooling now rounds sizes "
            "up, as in the paper; its author rounds them down"
        )
    ]


def test_ceil_mode_true_changes_nothing() -> None:
    _, done = repaired_shapes(
        INPUT.replace("N", "1") + POOL.replace("EXTRA", "kernel_size: 2 ceil_mode: true")
    )
    assert done == [
        "took out 'ceil_mode: true' of pooling_param (line 2): stock Caffe rounds sizes up anyway"
    ]


def test_fields_of_forks_are_removed_and_reported_once() -> None:
    conv = (
        'layer { name: "c%d" type: "Convolution" bottom: "data" top: "c%d" '
        "convolution_param { num_output: 2 kernel_size: 1 engine: MKL2017, } }\n"
    )
    text = 'engine: "MKL2017"\n' + INPUT.replace("N", "1") + conv % (1, 1) + conv % (2, 2)
    text += 'layer { name: "r" type: "ReLU" bottom: "c1" top: "c1" mystery { a { b: 1 } } }'
    _, done = repaired_shapes(text)
    assert done == [
        (
            "took out 'engine: \"MKL2017\"' (line 1): an engine of Intel's fork, "
            "unknown to stock Caffe"
        ),
        (
            "took out 'engine: MKL2017' of convolution_param (2 times, first on line 3): "
            "an engine of Intel's fork, unknown to stock Caffe"
        ),
        "took out 'mystery' of layer (line 5): unknown to stock Caffe",
    ]


def test_batch_becomes_one_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "deploy.prototxt"
    path.write_text(INPUT.replace("N", "10"))
    assert networks.load(str(path)).batch == 10
    network = networks.load(str(path), repair=True)
    assert network.batch == 1
    assert network.repairs == ("set the batch to 1, from 10",)


def test_legacy_input_stays_and_is_reported() -> None:
    blobs, done = repaired_shapes('input: "data" input_dim: [10, 3, 5, 5]')
    assert blobs == {"data": (1, 3, 5, 5)}
    assert done == [
        "left the legacy 'input' as it is: stock Caffe reads it as an Input layer",
        "set the batch to 1, from 10",
    ]


def test_layers_that_need_labels_are_removed() -> None:
    text = """
    layer { name: "d" type: "ImageData" top: "d" top: "label"
            image_data_param { new_height: 8 new_width: 6 is_color: false } }
    layer { name: "one" type: "Flatten" bottom: "label" top: "flat" }
    layer { name: "two" type: "EuclideanLoss" bottom: "d" bottom: "flat" top: "l" }
    layer { name: "r" type: "ReLU" bottom: "d" top: "r" }
    """
    blobs, done = repaired_shapes(text)
    assert blobs == {"d": (1, 1, 8, 6), "r": (1, 1, 8, 6)}
    assert "took out Flatten layer 'one': it needs labels" in done
    assert "took out EuclideanLoss layer 'two': it needs labels" in done


IMAGES = "image_data_param { new_height: 10 new_width: 9 } "
MEMORY = "memory_data_param { batch_size: 2 channels: 2 height: 10 width: 9 } "


@pytest.mark.parametrize(
    ("kind", "fields", "dims"),
    [
        # Caffe's own tops, but for the batch; ImageData read a file of 20 x 12 pixels.
        ("ImageData", IMAGES, (3, 10, 9)),
        ("ImageData", IMAGES + "transform_param { crop_size: 8 }", (3, 8, 8)),
        ("ImageData", IMAGES + "transform_param { force_gray: true }", (3, 10, 9)),
        ("ImageData", IMAGES.replace("}", "is_color: false }"), (1, 10, 9)),
        ("ImageData", IMAGES.replace("}", "crop_size: 8 }"), (3, 10, 9)),
        ("MemoryData", MEMORY, (2, 10, 9)),
        ("MemoryData", MEMORY + "transform_param { crop_size: 8 }", (2, 10, 9)),
        ("Data", "transform_param { crop_size: 8 force_gray: true }", (1, 8, 8)),
        ("Data", "transform_param { crop_size: 8 mean_value: [1, 2, 3, 4] }", (4, 8, 8)),
        ("WindowData", "transform_param { crop_size: 8 }", (3, 8, 8)),
        # Those of forks.
        ("DenseImageData", "dense_image_data_param { new_height: 10 new_width: 9 }", (3, 10, 9)),
        ("AnnotatedData", "transform_param { resize_param { height: 10 width: 9 } }", (3, 10, 9)),
        (
            "AnnotatedData",
            "transform_param { resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD PIXELS } }",
            (3, 10, 9),
        ),
        ("ImageSegData", "transform_param { crop_size: 8 }", (3, 8, 8)),
        ("MultiLabelImageData", IMAGES.replace("}", "is_color: false }"), (1, 10, 9)),
    ],
)
def test_data_layers_have_the_size_that_their_own_fields_set(
    kind: str, fields: str, dims: shapes.Shape
) -> None:
    top = f'layer {{ name: "d" type: "{kind}" top: "d" {fields} }}'
    blobs, _ = repaired_shapes(top.replace("PIXELS", "height: 10 width: 9"))
    assert blobs == {"d": (1, *dims)}


@pytest.mark.parametrize(
    ("kind", "fields", "line"),
    [
        ("Data", "", "the file does not state the image size of Data: no crop_size; give it: "),
        ("Data", IMAGES, "the file does not state the image size of Data"),
        ("ImageData", "image_data_param { new_height: 8 }", "no new_height and new_width, or crop"),
        ("DenseImageData", "", "the image size of DenseImageData: no crop_size; give it: --input"),
        ("MemoryData", "", "memory_data_param lacks channels, height or width; give all three"),
        ("HDF5Data", "", "are in the files that it reads; put an Input layer with the shapes of"),
        ("Python", "", "the image size of Python: its code decides; give it: --input HxW"),
        ("VideoData", "", "the shapes of VideoData are in the files that it reads"),
    ],
)
def test_data_layers_without_a_size_need_one(kind: str, fields: str, line: str) -> None:
    text = f'layer {{ name: "d" type: "{kind}" top: "d" {fields} }}'
    with pytest.raises(InvalidInputError) as caught:
        repair.repair_text(text, "net.prototxt")
    assert caught.value.line().startswith("net.prototxt: layer 'd': ")
    assert line in caught.value.line()
    assert "224" not in caught.value.line()


def test_the_image_size_of_a_data_layer_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "digits.prototxt"
    path.write_text('layer { name: "d" type: "Data" top: "d" top: "label" }')
    network = networks.load(str(path), repair=True, image=(28, 20))
    assert network.shapes.blobs == {"d": (1, 3, 28, 20)}
    with pytest.raises(InvalidInputError, match="reads a database or files"):
        networks.load(str(path), image=(28, 20))
    path.write_text('layer { name: "d" type: "Data" top: "d" transform_param { crop_size: 8 } }')
    assert networks.load(str(path), repair=True, image=(28, 20)).shapes.blobs["d"][2:] == (28, 20)


def test_a_size_belongs_to_the_layer_that_has_it() -> None:
    text = """
    input: "x" input_shape { dim: [1, 4] }
    layers { name: "r" type: RELU bottom: "x" top: "r" }
    layer { name: "a" type: "AnnotatedData" top: "a" include { phase: TRAIN }
            transform_param { resize_param { prob: 1 resize_mode: WARP height: 6 width: 5 } } }
    layer { name: "b" type: "AnnotatedData" top: "a" include { phase: TEST }
            transform_param { resize_param { prob: 1 height: 10 width: 9 } } }
    """
    blobs, _ = repaired_shapes(text)
    assert blobs == {"x": (1, 4), "r": (1, 4), "a": (1, 3, 10, 9)}


TWO_TOPS = """layer { name: "d" type: "Data" top: "d" top: "rois" transform_param { crop_size: 8 } }
layer { name: "pool" type: "ROIPooling" bottom: "d" bottom: "rois" top: "pool"
  roi_pooling_param { pooled_h: 2 pooled_w: 2 } }
"""


@pytest.mark.parametrize(
    ("reader", "blob"),
    [
        ('type: "InnerProduct" bottom: "pool" inner_product_param { num_output: 2 }', "pool"),
        ('type: "SoftmaxWithLoss" bottom: "pool" bottom: "rois"', "pool"),
    ],
)
def test_what_is_deployed_is_never_taken_out_with_the_labels(reader: str, blob: str) -> None:
    text = TWO_TOPS + f'layer {{ name: "l" top: "l" {reader} }}'
    with pytest.raises(InvalidInputError) as caught:
        repair.repair_text(text, "net.prototxt")
    assert caught.value.line() == (
        f"net.prototxt: layer 'l': '{blob}' is made of more than the images that a data layer "
        "gives; put Input layers in place of the data layer, one for each of its tops"
    )
    source = 'layer { name: "%s" type: "Input" top: "%s" input_param { shape { dim: [%s] } } }\n'
    inputs = source % ("d", "d", "1,3,8,8") + source % ("rois", "rois", "4,5")
    blobs, _ = repaired_shapes(inputs + text.split("\n", 1)[1])
    assert blobs["pool"] == (4, 3, 2, 2)


def test_a_source_of_training_alone_is_kept() -> None:
    source = 'layer { name: "d" type: "Data" top: "d" include { phase: TRAIN } %s }'
    source %= "transform_param { crop_size: 8 }"
    dropped = 'layer { name: "t" type: "ReLU" bottom: "d" top: "t" include { phase: TRAIN } }'
    stage = 'layer { name: "d" type: "Data" top: "d" include { phase: TEST stage: "a" } }'
    blobs, done = repaired_shapes(
        source + stage + dropped + 'layer { name: "r" type: "ReLU" bottom: "d" top: "r" }'
    )
    assert blobs == {"d": (1, 3, 8, 8), "r": (1, 3, 8, 8)}
    assert "kept layer 'd': the test phase has no other source" in done
    assert "took out layer 't': it belongs to training only" in done


def test_a_clean_network_is_left_alone() -> None:
    net = networks.load("AlexNet").net
    repaired, done = repair.repair(net, "alexnet")
    assert repaired == net
    assert done == []


def test_an_engine_for_gpus_is_removed_and_reported_once() -> None:
    text = (
        'input: "data" input_dim: [1, 3, 8, 8]\n'
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" relu_param { engine: CUDNN } }'
    )
    with pytest.raises(InvalidInputError) as caught:
        shapes.infer(prototxt.parse(text, "net"), path="net")
    assert caught.value.line() == (
        "net: layer 'r': engine: CUDNN in relu_param, for GPUs; use --repair to take it out"
    )
    net, done = repair.repair_text(text, "net")
    assert "took 'engine: CUDNN' out of layer 'r': it is for GPUs" in done
    assert "CUDNN" not in prototxt.write(net)


def test_layers_that_run_others_inside_are_refused() -> None:
    text = (
        INPUT.replace("N", "1") + 'layer { name: "n" type: "LRN" bottom: "data" top: "n"\n'
        "  lrn_param { fuse_type: FUSED_POOL_MAX pooling_param { pool: MAX kernel_size: 3 } } }\n"
    )
    with pytest.raises(
        InvalidInputError, match=r"runs other layers inside \(fuse_type: FUSED_POOL"
    ):
        repair.repair_text(text, "net")
    net, _ = repair.repair_text(text.replace("FUSED_POOL_MAX", "UNFUSED"), "net")
    assert net.layer[-1].name == "n"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('type: "BatchNorm" batch_norm_param { scale_bias: %s }', "scales and shifts too"),
        ('type: "Dropout" dropout_param { scale_train: %s }', "scales when testing"),
        ('type: "Dropout" dropout_param { sample_weights_test: %s }', "drops when testing too"),
        ('type: "Concat" concat_param { per_fla_fuse: %s }', "permutes and flattens its bottoms"),
    ],
)
def test_what_forks_compute_beyond_stock_is_not_taken_out(body: str, problem: str) -> None:
    text = INPUT.replace("N", "1") + 'layer { name: "l" bottom: "data" top: "y" ' + body + " }\n"
    means, idle = ("false", "true") if "scale_train" in body else ("true", "false")
    with pytest.raises(InvalidInputError, match=problem):
        repair.repair_text(text % means, "net")
    _, done = repair.repair_text(text % idle, "net")
    assert "unknown to stock Caffe" in " ".join(done)


def test_the_first_of_several_sizes_is_taken_unless_one_is_given() -> None:
    sizes = " ".join(f"resize_param {{ height: {size} width: {size} }}" for size in (416, 608, 320))
    text = f'layer {{ name: "d" type: "AnnotatedData" top: "d" transform_param {{ {sizes} }} }}'
    net, _ = repair.repair_text(text, "net")
    assert list(net.layer[0].input_param.shape[0].dim) == [1, 3, 416, 416]
    net, done = repair.repair_text(text, "net", image=(64, 32))
    assert list(net.layer[0].input_param.shape[0].dim) == [1, 3, 64, 32]
    assert any("put an Input of 1 x 3 x 64 x 32" in sentence for sentence in done)


def test_layers_of_patches_become_stock_ones() -> None:
    blobs, done = repaired_shapes(
        INPUT.replace("N", "1")
        + 'layer { name: "dw" type: "DepthwiseConv" bottom: "data" top: "dw"\n'
        "  convolution_param { num_output: 3 kernel_size: 3 } }\n"
        + 'layer { name: "more" type: "DepthwiseConv" bottom: "dw" top: "more"\n'
        "  convolution_param { num_output: 3 kernel_size: 3 } }\n"
    )
    assert blobs["dw"] == (1, 3, 7, 7)
    assert done == [
        "made DepthwiseConv layer 'dw' and 1 more a Convolution with a group for each channel",
    ]
    net, _ = repair.repair_text(
        INPUT.replace("N", "1")
        + 'layer { name: "dw" type: "DepthwiseConv" bottom: "data" top: "dw"\n'
        "  convolution_param { num_output: 6 group: 3 kernel_size: 3 } }\n",
        "net.prototxt",
    )
    assert net.layer[1].convolution_param.group == 3


CONV = (
    'layer { name: "c" type: "Convolution" bottom: "data" top: "c"\n  convolution_param { P } }\n'
)
SIDES = "num_output: 2 kernel_size: 3 "


@pytest.mark.parametrize(
    ("fields", "top", "written"),
    [
        ("pad_l: 1 pad_r: 1 pad_t: 1 pad_b: 1", (9, 9), "pad_h: 1 pad_w: 1"),
        ("pad_left: 1 pad_right: 1 pad_top: 2 pad_bottom: 2", (11, 9), "pad_h: 2 pad_w: 1"),
        ("pad_t: 3 pad_b: 3", (13, 7), "pad_h: 3 pad_w: 0"),
        ("pad_l: 0 pad_r: 0", (7, 7), "pad_h: 0 pad_w: 0"),
        ("hole: 2", (5, 5), "dilation: 2"),
        ("hole_h: 2 hole_w: 3", (5, 3), "dilation: 2 dilation: 3"),
    ],
)
def test_fields_of_forks_that_stock_caffe_has_by_another_name(
    fields: str, top: tuple[int, int], written: str
) -> None:
    text = INPUT.replace("N", "1") + CONV.replace("P", SIDES + fields)
    with pytest.raises(InvalidInputError, match="use --repair to write it so"):
        prototxt.parse(text, "net")
    blobs, done = repaired_shapes(text)
    assert blobs["c"] == (1, 2, *top)
    assert done == [f"wrote '{fields}' of convolution_param (line 3) as '{written}'"]


def test_equal_pads_of_poolings_and_first_generation_layers() -> None:
    blobs, done = repaired_shapes(
        'input: "data" input_dim: [1, 3, 9, 9]\n'
        'layers { name: "p" type: POOLING bottom: "data" top: "p"\n'
        "pooling_param { pad_l: 1 pad_r: 1 kernel_size: 3 stride: 2 ceil_mode: 0 } }\n"
        'layers { name: "q" type: POOLING bottom: "data" top: "q"\n'
        "pooling_param { pad_l: 1 pad_r: 1 kernel_size: 3 stride: 2 } }"
    )
    assert (blobs["p"], blobs["q"]) == ((1, 3, 4, 5), (1, 3, 4, 5))
    assert done[:2] == [
        "wrote 'ceil_mode: 0' of pooling_param (line 3) as 'round_mode: FLOOR'",
        (
            "wrote 'pad_l: 1 pad_r: 1' of pooling_param (2 times, first on line 3) as "
            "'pad_h: 0 pad_w: 1'"
        ),
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("pad_l: 0 pad_r: 1", "pads 0 left, 1 right, 0 above and 0 below"),
        ("pad_left: 1 pad_right: 1 pad_bottom: 1", "pads 1 left, 1 right, 0 above and 1 below"),
        ("pad: 1 pad_l: 1 pad_r: 1", "has pad and pad_l: 1 pad_r: 1; keep one of them"),
        ("pad_type: 1", "pads by pad_type: 1, which stock Caffe lacks"),
        ("pad_l: -1 pad_r: -1", "pad_l is '-1'; write a whole number"),
        ("hole: 2 dilation: 2", "has hole and another dilation; keep one of them"),
    ],
)
def test_fields_that_stock_caffe_cannot_express_are_refused(fields: str, words: str) -> None:
    text = INPUT.replace("N", "1") + CONV.replace("P", SIDES + fields)
    with pytest.raises(InvalidInputError) as caught:
        repair.repair_text(text, "net.prototxt")
    assert caught.value.line().startswith(f"net.prototxt: layer 'c': {words}")


def test_ceil_mode_against_round_mode_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="has ceil_mode and another round_mode"):
        repaired_shapes(DOWN.replace("ceil_mode", "round_mode: CEIL ceil_mode"))


def test_a_first_generation_type_of_a_fork_is_not_taken_out() -> None:
    text = 'input: "data" input_dim: [1, 3, 9, 9]\nlayers { type: MYSTERY bottom: "data" RULE }'
    with pytest.raises(InvalidInputError, match="line 2: stock Caffe has no layer type MYSTERY"):
        repair.repair_text(text.replace("RULE", ""), "net")
    net, _ = repair.repair_text(
        text.replace("RULE", "include { phase: TRAIN }") + " layers { type: RELU bottom: 'data' }",
        "net",
    )
    assert [layer.type for layer in net.layer] == ["ReLU"]


@pytest.mark.parametrize(
    ("dims", "layer"),
    [
        ("8 dim: 10", 'type: "Reshape" reshape_param { shape { dim: 4 dim: 2 dim: 10 } }'),
        ("8 dim: 10", 'type: "Reshape" reshape_param { shape { dim: 2 dim: -1 } }'),
        ("4 dim: 3", 'type: "Slice" top: "z" slice_param { axis: 0 }'),
        ("4 dim: 3", 'type: "InnerProduct" inner_product_param { num_output: 2 axis: 0 }'),
        ("4 dim: 3", 'type: "Permute" permute_param { order: 1 order: 0 }'),
    ],
)
def test_a_first_dimension_that_is_not_the_batch_stays(dims: str, layer: str) -> None:
    text = (
        f'layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: {dims} }} }} }}\n'
        f'layer {{ name: "l" bottom: "x" top: "y" {layer} }}'
    )
    net, done = repair.repair_text(text, "net")
    assert done == []
    assert net == prototxt.parse(text, "net")


@pytest.mark.parametrize("rule", ["", "include { phase: TRAIN }"])
def test_what_stock_caffe_runs_is_left_alone(rule: str) -> None:
    source = 'layer { name: "d" type: "DummyData" top: "x" top: "l" RULE dummy_data_param {'
    source += " shape { dim: 1 dim: 3 } shape { dim: 1 } } }\n"
    text = source.replace("RULE", rule) + (
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "l" top: "y" }\n'
        'layer { name: "a" type: "Accuracy" bottom: "x" bottom: "l" top: "a"\n'
        "exclude { phase: TRAIN } }"
    )
    net, done = repair.repair_text(text, "net")
    assert (net, done) == (prototxt.parse(text, "net"), [])


DETECTOR = """
layer { name: "train" type: "Data" top: "data" top: "label" include { phase: TRAIN }
        transform_param { crop_size: 8 } }
layer { name: "test" type: "Data" top: "data" top: "label" include { phase: TEST }
        transform_param { crop_size: 8 } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "l"
        include { phase: TRAIN } }
layer { name: "prob" type: "Softmax" bottom: "c" top: "prob" include { phase: TEST } }
layer { name: "best" type: "ArgMax" bottom: "prob" top: "best" include { phase: TEST } }
"""


def test_a_rule_is_removed_only_where_training_needs_the_layer() -> None:
    net, done = repair.repair_text(DETECTOR, "net")
    assert done == [
        "took out layer 'train': it belongs to training only",
        "took out layer 'loss': it belongs to training only",
        "removed the phase rules of layer 'test': it belongs to every phase",
        (
            "put an Input of 1 x 3 x 8 x 8 in place of Data layer 'test' (3 channels assumed: "
            "the data decides)"
        ),
    ]
    assert [layer.name for layer in shapes.infer(net, phase="TRAIN").layers] == ["test", "c"]
    assert list(shapes.infer(net).blobs) == ["data", "c", "prob", "best"]


def test_rules_are_removed_where_training_would_have_no_layer() -> None:
    text = (
        'layer { name: "d" type: "Data" top: "data" transform_param { crop_size: 9 } RULE }\n'
        + POOL.replace("EXTRA }", "kernel_size: 3 } RULE")
    ).replace("RULE", "include { phase: TEST }")
    net, done = repair.repair_text(text, "net")
    assert done[:2] == [
        "removed the phase rules of layer 'd': it belongs to every phase",
        "removed the phase rules of layer 'p': it belongs to every phase",
    ]
    assert len(shapes.infer(net, phase="TRAIN").layers) == 2


def test_a_python_source_becomes_an_input_of_the_size_that_is_given() -> None:
    text = (
        'layer { name: "d" type: "Python" top: "data" top: "label" '
        'python_param { module: "voc_layers" layer: "VOCSegDataLayer" } }\n'
        + POOL.replace("EXTRA", "kernel_size: 2")
    )
    net, done = repair.repair_text(text, "net", image=(50, 60))
    assert shapes.infer(net).blobs["data"] == (1, 3, 50, 60)
    assert done[0].startswith("put an Input of 1 x 3 x 50 x 60 in place of Python layer 'd'")
    with pytest.raises(InvalidInputError, match="image size of Python"):
        repair.repair_text(text, "net")


def test_layers_that_training_needs_are_found_along_a_chain_in_linear_time(tmp_path: Path) -> None:
    count = 700
    only_test = "include { phase: TEST }"
    text = INPUT.replace("N", "1") + "".join(
        f'layer {{ name: "a{i}" type: "ReLU" bottom: "{f"b{i - 1}" if i else "data"}" '
        f'top: "a{i}" {only_test} }}\n'
        f'layer {{ name: "b{i}" type: "ReLU" bottom: "a{i}" top: "b{i}" '
        f"{only_test if i % 2 else ''} }}\n"
        for i in range(count)
    )
    started = time.process_time()
    net, done = repair.repair_text(text, tmp_path / "net.prototxt")
    assert time.process_time() - started < 10
    assert len(net.layer) == 1 + 2 * count
    # Training reads none of the last two.
    assert sum("removed the phase rules" in sentence for sentence in done) == count + count // 2 - 2


def test_the_size_of_a_data_layer_of_a_fork_is_that_of_its_own_message(tmp_path: Path) -> None:
    data = (
        'name: "d" type: "DenseImageData" top: "data" '
        "dense_data_param { new_height: %s new_width: 4 }"
    )
    pads = "pad_l: 1000000001 pad_r: 1000000001 }"
    padding = 'layers { layer { type: "padding" pad: 1 } bottom: "d" top: "e" }\n'
    _, done = repair.repair_text(f"layer {{ {data % 3} }}", tmp_path / "net.prototxt")
    assert "Input of 1 x 3 x 3 x 4" in " ".join(done)
    for text, problem in (
        (f"layer {{ {data % ('9' * 5000)} }}", "does not state the image size"),
        (f"layer {{ {data % (1 << 33)} }}", "does not state the image size"),
        # A field outside of layers, and one in a file whose padding layers go.
        (
            'dense_data_param { height: 3 width: 4 }\nlayer { type: "DenseImageData" top: "d" }',
            "does not state the image size",
        ),
        (
            'layers { layer { type: "data" } top: "d" }\n' + padding
            + "layers { bottom: 'd' top: 'f' a_data_param { height: 3 width: 4 } layer { type:"
            " 'relu' } }",
            "does not state the image size",
        ),
        (INPUT.replace("N", "1") + CONV.replace("P }", SIDES + pads), "below 10^9"),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError) as caught:
            repair.repair_text(text, tmp_path / "net.prototxt")
        assert problem in caught.value.line()


def test_channels_that_only_the_data_has_are_the_first_that_all_layers_can_take() -> None:
    pair = """layer { name: "pair" type: "Data" top: "pair" top: "sim" }
    layer { name: "cut" type: "Slice" bottom: "pair" top: "a" top: "b"
      slice_param { slice_point: 1 } }
    layer { name: "c" type: "Convolution" bottom: "a" top: "c" param { name: "w" }
      convolution_param { num_output: 2 kernel_size: 3 } }
    layer { name: "d" type: "Convolution" bottom: "b" top: "d" param { name: "w" }
      convolution_param { num_output: 2 kernel_size: 3 } }
    """
    net, done = repair.repair_text(pair, "net", image=(9, 8))
    assert shapes.infer(net).blobs["pair"] == (1, 2, 9, 8)
    assert len(done) == 1
    assert done[0] == (
        "put an Input of 1 x 2 x 9 x 8 in place of Data layer 'pair' (2 channels assumed: the data "
        "decides, but the layers after it cannot take 3)"
    )
    # No number is right: that is not the reason.
    net, done = repair.repair_text(pair.replace("slice_point: 1", "axis: 7"), "net", image=(9, 8))
    assert "1 x 3 x 9 x 8" in done[0]


def test_shapes_that_are_given_are_those_of_a_source_whose_size_no_field_sets(
    tmp_path: Path,
) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "d" type: "HDF5Data" top: "data" top: "label" }\n'
        'layer { name: "d" type: "ImageData" top: "image" top: "list"\n'
        "  image_data_param { new_height: 10 new_width: 9 } }\n"
        + POOL.replace("EXTRA", "kernel_size: 2 ceil_mode: false")
    )
    given = ("d=2x3x9x9", "d=2")
    network = networks.load(str(path), repair=True, python_shapes=given)
    assert dict(network.shapes.blobs) == {
        "data": (2, 3, 9, 9), "label": (2,), "image": (1, 3, 10, 9), "p": (2, 3, 8, 8),
    }  # fmt: skip
    with pytest.raises(InvalidInputError, match="plan and predict take them by --shape"):
        networks.load(str(path), repair=True)


def test_what_other_rules_leave_out_does_not_belong_to_training() -> None:
    text = (
        'layer { name: "d" type: "Data" top: "data" include { stage: "val" }\n'
        "  transform_param { crop_size: 9 } }\n"
        + POOL.replace("EXTRA", "kernel_size: 2")
        + 'layer { name: "s" type: "Softmax" bottom: "p" top: "s" include { stage: "deploy" } }\n'
    )
    net, done = repair.repair_text(text, "net")
    assert done[:2] == [
        "kept layer 'd': the test phase has no other source",
        "took out layer 's': its rules leave it out of both phases",
    ]
    net, _ = repair.repair_text(text + 'layer { name: "r" type: "ReLU" bottom: "s" top: "r" }', "")
    with pytest.raises(InvalidInputError) as caught:
        shapes.infer(net, path="net")
    assert caught.value.line() == (
        "net: layer 'r': phase TEST has no source of bottom 's': Softmax layer 's' is left out by "
        "its rules; correct its rules, or add an Input layer"
    )


def test_a_layer_without_a_name_is_named_by_its_type_once() -> None:
    text = (
        'layer { type: "Data" top: "data" top: "label" transform_param { crop_size: 9 } }\n'
        'layer { type: "EuclideanLoss" bottom: "data" bottom: "label" top: "loss" }\n'
        'layer { type: "ReLU" bottom: "data" top: "r" }'
    )
    _, done = repair.repair_text(text, "net")
    assert "in place of an unnamed Data (3 channels" in done[0]
    assert done[1] == "took out an unnamed EuclideanLoss: it needs labels"


def test_a_network_of_which_nothing_but_inputs_is_left_is_refused() -> None:
    text = (
        'layer { name: "d" type: "Data" top: "d" top: "label" transform_param { crop_size: 9 } }\n'
        'layer { name: "all" type: "Engine" bottom: "d" bottom: "label" top: "accuracy" }'
    )
    with pytest.raises(InvalidInputError, match=r"^net: nothing but inputs is left without the"):
        repair.repair_text(text, "net")
