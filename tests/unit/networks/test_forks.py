"""Layers of Caffe's forks: read, sized, and refused where their parameters are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from pibench import networks
from pibench.engines.caffe import forks, prototxt
from pibench.engines.caffe.shapes import forks as shapes
from pibench.errors import InvalidInputError
from pibench.networks.network import Network
from pibench.plan import layers
from tests.wild import fork_layers
from tests.wild.forks import FORKED

DATA = (
    'layer { name: "data" type: "Input" top: "data" '
    "input_param { shape { dim: 1 dim: 8 dim: 6 dim: 4 } } }\n"
)
REGIONS = 'layer { name: "r" type: "Input" top: "r" input_param { shape { dim: 5 dim: 5 } } }\n'
BOXES = "box_output_param { field_w: 9 field_h: 9 downsample_rate: 4 }"
VOLUME = (
    'layer { name: "w" type: "Input" top: "w" input_param { shape { dim: 6 dim: 2 dim: 5 } } }\n'
)
VECTOR = 'layer { name: "v" type: "Input" top: "v" input_param { shape { dim: 8 } } }\n'


def load(tmp_path: Path, text: str) -> Network:
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    return networks.load(str(path))


def layer(kind: str, body: str = "", bottoms: str = "data") -> str:
    wires = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    return f'layer {{ name: "l" type: "{kind}" {wires} top: "y" {body} }}\n'


def detections(*shapes: tuple[int, ...]) -> str:
    dims = " ".join(f"shape {{ {' '.join(f'dim: {size}' for size in shape)} }}" for shape in shapes)
    return (
        f'layer {{ name: "i" type: "Input" top: "a" top: "b" top: "c" input_param {{ {dims} }} }}\n'
        + layer("DetectionOutput", "detection_output_param { num_classes: 2 }", "a b c")
    )


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        (layer("Permute", "permute_param { order: 0 order: 2 }"), (1, 6, 8, 4)),
        (layer("Permute", "permute_param { order: 0 order: 2 };"), (1, 6, 8, 4)),
        (layer("Permute", "permute_param # {\n< order: [0, 2] # }\n>,"), (1, 6, 8, 4)),
        (layer("Permute", 'python_param { param_str: "order:0 order :2" }'), (1, 6, 8, 4)),
        (layer("ResizeBilinear", "resize_bilinear_param { scale_height: 1.375 }"), (1, 11, 6, 4)),
        (layer("Transpose", "transpose_param { dim: 3 dim: 0 dim: 2 dim: 1 }"), (4, 1, 6, 8)),
        (layer("Squeeze"), (8, 6, 4)),
        (layer("Squeeze", "squeeze_param { axis: -4 }"), (8, 6, 4)),
        (layer("Mul", "mul_param { mul_shape: 6 mul_shape: 1 }"), (1, 8, 6, 4)),
        (layer("ResizeBilinear", "resize_bilinear_param { scale_width: 1.3 }"), (1, 8, 7, 4)),
        (
            layer(
                "ResizeNearestNeighbor",
                'resize_nearest_neighbor_param { data_format: "NCHW" output_width: 3 }',
            ),
            (1, 8, 6, 3),
        ),
        (
            layer(
                "PriorBoxClustered",
                "prior_box_param { width: [1, 2] height: [3, 4] }",
                "data data",
            ),
            (1, 2, 4 * 2 * 24),
        ),
        (
            layer(
                "Python",
                "python_param { module: 'spatial_dropout' layer: 'SpatialDropoutLayer' "
                "param_str: \"{'phase': 'TEST', 'p': '0.01'}\" }",
            ),
            (1, 8, 6, 4),
        ),
        (layer("Normalize"), (1, 8, 6, 4)),
        (layer("BN", "bn_param { frozen: true }"), (1, 8, 6, 4)),
        (layer("ReLU6"), (1, 8, 6, 4)),
        (layer("Upsample", "upsample_param { scale: 3 }"), (1, 8, 18, 12)),
        (layer("Unpooling", "unpooling_param { unpool_size: 13 }", "data data"), (1, 8, 13, 13)),
        (layer("BReLU", "brelu_param { minval: 0 maxval: 1 }"), (1, 8, 6, 4)),
        (layer("Upsample", "upsample_param { scale: 2 pad_out_h: true }"), (1, 8, 11, 8)),
        (layer("Interp", "interp_param { zoom_factor: 2 }"), (1, 8, 11, 7)),
        (layer("Interp", "interp_param { shrink_factor: 2 pad_beg: -1 }"), (1, 8, 3, 2)),
        (layer("Reorg", "reorg_param { stride: 2 }"), (1, 32, 3, 2)),
        (layer("Reverse", "reverse_param { axis: 2 }"), (1, 8, 6, 4)),
        (layer("ShuffleChannel", "shuffle_channel_param { group: 4 }"), (1, 8, 6, 4)),
        (
            layer("CropCenter", "crop_center_param { crop_size: [0, 2, 1, 0] }"),
            (1, 4, 4, 4),
        ),
        (
            layer("PriorBox", "prior_box_param { min_size: 9 aspect_ratio: 2 }", "data data"),
            (1, 2, 4 * 3 * 24),
        ),
        (
            layer(
                "ContinuationIndicator",
                "continuation_indicator_param { time_step: 7 batch_size: 2 }",
            ),
            (7, 2),
        ),
        (
            REGIONS
            + layer("ROIPooling", "roi_pooling_param { pooled_h: 2 pooled_w: 3 }", "data r"),
            (5, 8, 2, 3),
        ),
        (
            REGIONS
            + layer(
                "PSROIPooling", "psroi_pooling_param { output_dim: 2 group_size: 2 }", "data r"
            ),
            (5, 2, 2, 2),
        ),
        (
            layer("ContinuationIndicator", "continuation_indicator_param { time_step: 7 axis: 1 }"),
            (7, 8),
        ),
        (
            layer(
                "BoxOutput",
                "bbox_reg_param { bbox_mean: [0, 0, 0, 0]\n bbox_std: [1, 1, 1, 1] }\n"
                "box_output_param { field_w: 9 field_h: 9 downsample_rate: 4 max_nms_num: 50 }",
            ),
            (50, 5, 1, 1),
        ),
        (
            layer("BoxOutput", BOXES),
            (24, 5, 1, 1),
        ),
        (layer("Interp", "interp_param { use_blob_size: true }", "data data"), (1, 8, 6, 4)),
        (VOLUME + layer("Lstm", "lstm_param { num_output: 3 }", "w"), (6, 2, 3)),
        (VOLUME + layer("CTCGreedyDecoder", bottoms="w"), (2, 6, 1, 1)),
        (
            REGIONS
            + 'layer { name: "e" type: "Input" top: "e" input_param { shape { dim: 5 dim: 8 } } }\n'
            + layer("DecodeBBox", bottoms="e r"),
            (5, 5),
        ),
        (
            layer("PriorBox", "prior_box_param { min_size: [9, 8] density: [3, 1] }", "data data"),
            (1, 2, 4 * 10 * 24),
        ),
        (
            layer("ConvolutionDepthwise", "convolution_param { num_output: 8 kernel_size: 3 }"),
            (1, 8, 4, 2),
        ),
    ],
)
def test_tops_have_the_shapes_of_the_forks(
    text: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    network = load(tmp_path, DATA + text)
    assert network.shapes.blobs["y"] == shape
    assert network.fork_layers
    # What a target gets is read back to the same network.
    again = load(tmp_path, network.prototxt)
    assert again.prototxt == network.prototxt


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            layer("Permute", "permute_param {\n order: 0\n step: 2 }"),
            "line 4: the permute_param that pibench implements has no field 'step'",
        ),
        (layer("Permute", "permute_param { order: 7 }"), "order is no permutation"),
        (
            layer("ReLU", "permute_param { order: 0 }"),
            "ReLU has no permute_param: that is of Permute",
        ),
        (layer("PriorBox", "prior_box_param { }", "data data"), "min_size is missing"),
        (
            layer("PriorBoxClustered", "prior_box_param { width: 2 }", "data data"),
            "1 width for 0 height",
        ),
        (layer("Transpose", "transpose_param { dim: 1 }"), "dim names 1 axes"),
        (layer("Squeeze", "squeeze_param { axis: 1 }"), "[1] are not all axes of size 1"),
        (layer("Mul", "mul_param { mul_shape: 3 }"), "cannot multiply"),
        (
            layer("Python", "python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' }"),
            "a Python layer's code decides its shapes",
        ),
        (layer("BReLU", "brelu_param { minval: 0 }"), "minval or maxval is missing"),
        (layer("Unpooling", "unpooling_param { unpool: TILE }"), "is not by a mask"),
        (layer("Unpooling", "unpooling_param { pad: 0 }", "data data"), "unpool_size is missing"),
        (layer("Reorg", "reorg_param { stride: 4 }"), "cannot be divided by stride 4"),
        (layer("Interp", "interp_param { pad_beg: 1 }"), "pad_beg or pad_end is above 0"),
        (layer("ShuffleChannel", "shuffle_channel_param { group: 3 }"), "are no 3 groups"),
        (layer("Upsample", 'upsample_param { scale: "x" }'), "upsample_param:"),
        (
            layer("Interp", "interp_param { use_blob_size: true }"),
            "has 1 bottom(s); a second one goes with use_blob_size",
        ),
        (layer("Interp", "interp_param { height: 9 }", "data data"), "has 2 bottom(s); a second"),
        (
            layer("Interp", "interp_param { height: 9\n use_blob: true }"),
            "the interp_param that pibench implements has no field 'use_blob'; correct the",
        ),
        (layer("Lstm", "lstm_param { }"), "num_output is missing"),
        (layer("Lstm", "lstm_param { num_output: 2 }"), "needs steps x sequences x inputs"),
        (layer("CTCGreedyDecoder"), "needs steps x sequences x classes"),
        (VOLUME + layer("CTCGreedyDecoder", bottoms="w data"), "has marks of 1 x 8 x 6 x 4"),
        (layer("ROIPooling", "", "data data"), "pooled_h or pooled_w is missing"),
        (
            layer("ROIPooling", "roi_pooling_param { pooled_h: 1 pooled_w: 1 }", "data data"),
            "has regions of 1 x 8 x 6 x 4, not regions x 5",
        ),
        (
            REGIONS
            + layer("PSROIPooling", "psroi_pooling_param { output_dim: 8 group_size: 1 }", "r r"),
            "needs four axes",
        ),
        (layer("Permute", "permute_param"), "permute_param: has no { }"),
        (layer("Permute", 'python_param { param_str: "step: 2" }'), 'no field named "step"'),
        (
            layer("Normalize", 'norm_param { scale_filler { type: "a b" } }'),
            "has a text of several words",
        ),
        (
            layer("Normalize", 'norm_param { scale_filler { type: "other" } }'),
            "scale_filler has no type 'other'",
        ),
        (
            layer("BN", 'bn_param { shift_filler { type: "gaussian" std: 0 } }'),
            "shift_filler: std is 0",
        ),
        (
            layer(
                "DepthwiseConvolution",
                'convolution_param { num_output: 8 kernel_size: 1 weight_filler { type: "o" } }',
            ),
            "weight_filler has no type 'o'",
        ),
        (VECTOR + layer("BN", bottoms="v"), "needs 2 to 4 axes, not 8"),
        (VECTOR + layer("SpatialDropout", bottoms="v"), "needs two axes"),
        (VECTOR + layer("Axpy", bottoms="v v v"), "cannot scale"),
        (
            layer("SpatialDropout", "spatial_dropout_param { p: 2 train: true }"),
            "p is 2",
        ),
        *(
            (layer("PriorBox", f"prior_box_param {{ min_size: 9 {more} }}", "data data"), problem)
            for more, problem in (
                ("aspect_ratio: 0", "wrong aspect_ratio"),
                ("aspect_ratio: nan", "wrong aspect_ratio"),
                ("min_size: inf", "wrong min_size"),
                ("variance: [1, 2, 3]", "has 3 variance"),
                ("density: [1, 2]", "2 density for 1 min_size"),
                ("density: 65", "wrong density"),
            )
        ),
        *(
            (layer("ResizeBilinear", f"resize_bilinear_param {{ scale_width: {scale} }}"), problem)
            for scale, problem in (
                ("nan", "its scale is nan"),
                ("1e400", "its scale is inf"),
                ("-1", "its scale is -1"),
                ("0.1", "output_width leaves nothing: 0"),
            )
        ),
        (layer("Reorg", "reorg_param { stride: 0 }"), "stride leaves nothing"),
        (layer("Reorg", "reorg_param { reverse: true }"), "reverse is not supported"),
        (layer("Interp", "interp_param { shrink_factor: 0 }"), "shrink_factor leaves nothing"),
        (layer("Interp", "interp_param { zoom_factor: 0 }"), "zoom_factor leaves nothing"),
        (layer("Interp", "interp_param { height: 0 }"), "every dimension must be positive"),
        (layer("Upsample", "upsample_param { scale_h: 0 }"), "every dimension must be positive"),
        (layer("Mul", "mul_param { mul_shape: 16777217 }"), "16777216 is the most"),
        (
            layer("Reverse", "reverse_param { axis: 1 }").replace('top: "y"', 'top: "data"'),
            "Reverse cannot work in place",
        ),
        *(
            (detections(*shapes), problem)
            for shapes, problem in (
                (((1, 16), (1, 8), (1, 1, 16)), "has default boxes of 1 x 1 x 16"),
                (((2, 16), (1, 8), (1, 2, 16)), "both begin with the images"),
                (((), (1, 8), (1, 2, 16)), "has locations of a scalar"),
            )
        ),
        (
            detections((2, 16), (2, 8), (1, 2, 16)).replace(
                'bottom: "c"', 'bottom: "c" bottom: "a"'
            ),
            "has a first stage of 2 x 16 for 4 boxes",
        ),
        (
            layer(
                "DetectionOutput",
                "detection_output_param { num_classes: 2 nms_param { soft_nms: true } }",
                "data data data",
            ),
            "soft_nms is not supported",
        ),
        (
            layer(
                "ROIPooling", "roi_pooling_param { pooled_h: 1 pooled_w: 1 pad_ratio: -1 }"
            ).replace('"data" top', '"data" bottom: "data" top'),
            "pad_ratio is -1",
        ),
        *(
            (layer("BoxOutput", f"box_output_param {{ {body} }}"), problem)
            for body, problem in (
                ("field_w: 9 field_h: 9", "has 0 downsample_rate(s) and needs 1"),
                ("field_w: 9 field_h: 0 downsample_rate: 4", "field_h leaves nothing"),
                ("nms_type: 'OTHER'", "has no nms_type 'OTHER'"),
                ("field_whr: 0", "wrong field_whr or field_xyr"),
                ("bbox_reg_param { bbox_mean: 1 }", "has 1 bbox_mean(s) and needs 4"),
            )
        ),
        (
            layer("BoxGroupOutput", "box_group_output_param { }", "data data"),
            "has 0 box_group_param(s) and needs 1",
        ),
        (
            layer(
                "BoxGroupOutput",
                "box_group_output_param { box_group_param { stride: 8 field_w: 9 field_h: 9 } }",
                "data data",
            ),
            "has scores of 1 x 8 x 6 x 4 and deltas of 1 x 8 x 6 x 4 for 1 fields",
        ),
        (
            layer(
                "BoxGroupOutput",
                "box_group_output_param { box_group_param { stride: 8 field_w: 9 } }",
                "data data",
            ),
            "has groups of different sizes",
        ),
        *(
            (layer("BoxOutput", body), problem)
            for body, problem in (
                ("box_output_param { }\nbox_output_param { }", "line 3: a second box_output_param"),
                (
                    "bbox_reg_param {\n bbox_men: 0 }\nbox_output_param { }",
                    "line 3: the bbox_reg_param that pibench implements has no field 'bbox_men'",
                ),
                (
                    "box_output_param {\n}\nbbox_reg_param {\n bbox_men: 0 }",
                    "line 5: the bbox_reg_param that pibench implements has no field 'bbox_men'",
                ),
                (
                    BOXES.replace("}", "max_nms_num: 2147483648 max_post_nms_num: 9 }"),
                    "finds 2147483648 regions",
                ),
            )
        ),
        (
            layer("PriorBox", "prior_box_param { min_size: 9 }\nbbox_reg_param { }", "data data"),
            "line 3: bbox_reg_param: goes with other layers, not with prior_box_param",
        ),
        (layer("DecodeBBox", bottoms="data data"), "has deltas of 1 x 8 x 6 x 4 for regions"),
        (
            layer("ContinuationIndicator", "continuation_indicator_param { time_step: 1 axis: 4 }"),
            "axis is outside of 1 x 8 x 6 x 4",
        ),
        (
            layer("ContinuationIndicator", "continuation_indicator_param { time_step: 1 }", ""),
            "time_step or batch_size is missing",
        ),
        (
            layer("YoloDetectionOutput", "yolo_detection_output_param { num_box: 2 }"),
            "needs 50 channels",
        ),
        (
            layer(
                "YoloDetectionOutput", "yolo_detection_output_param { num_box: 1 num_classes: 3 }"
            ),
            "has 0 bias(s) and needs 2",
        ),
        (
            layer(
                "Yolov3DetectionOutput",
                "yolov3_detection_output_param { num_box: 1 num_classes: 3 biases: [1, 1] "
                "mask: 1 anchors_scale: 32 }",
            ),
            "mask 1 is beyond 2 biases",
        ),
    ],
)
def test_wrong_parameters_are_refused_in_one_line(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load(tmp_path, DATA + text)
    assert problem in caught.value.line()
    assert "\n" not in caught.value.line()


def test_parameters_become_text_that_stock_caffe_reads() -> None:
    text = DATA + layer(
        "DetectionOutput",
        "detection_output_param { num_classes: 3 nms_param { top_k: 9 } code_type: CENTER_SIZE\n"
        '  save_output_param { output_directory: "/tmp" } }',
    )
    net = prototxt.parse(text, "net")
    parameter = net.layer[1].python_param
    assert parameter.layer == "detection_output_param"
    assert parameter.param_str == "num_classes: 3 nms_param { top_k: 9 } code_type: CENTER_SIZE"
    asked = forks.parameters(net.layer[1])
    assert (asked.num_classes, asked.keep_top_k, asked.nms_param.top_k) == (3, -1, 9)


@pytest.mark.parametrize(
    "text",
    [
        "'feat_stride': 8",
        "{'feat_stride': 8, 'scales': [8, 16, 32]}",
        "feat_stride: 8\\nscales:\\n- 8\\n- 16\\n- 32",
    ],
)
def test_python_layers_of_published_networks_become_pibenchs(text: str) -> None:
    body = (
        "python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' "
        f'param_str: "{text}" }}'
    )
    net = prototxt.parse(DATA + layer("Python", body, "data data data"), "net")
    asked = forks.parameters(net.layer[1])
    assert net.layer[1].type == "Proposal"
    assert (asked.feat_stride, asked.post_nms_topn) == (8, 300)
    assert list(asked.scale) in ([], [8, 16, 32])


def test_every_type_is_known_everywhere() -> None:
    assert set(forks.LAYERS) == set(shapes.RULES)
    assert set(forks.LAYERS) <= set(layers.LAYERS)
    assert set(forks.LAYERS) == set(fork_layers.LAYERS)
    sources = "".join(path.read_text() for path in Path("qemu/caffe-layers").resolve().glob("*.cc"))
    assert [kind for kind in forks.LAYERS if f'("{kind}")' not in sources] == []


@pytest.mark.parametrize("name", FORKED)
def test_published_styles_load(name: str, tmp_path: Path) -> None:
    network = load(tmp_path, FORKED[name]())
    assert all("implemented by pibench" in label for label in network.fork_layers)
    assert network.fork_layers
