"""Networks in the styles that people publish with the layers of Caffe's forks; none is a copy.

One function per style; `FORKED` has them all by name.
"""

from __future__ import annotations

from tests.wild.text import Text


def _detector(
    net: Text, maps: list[str], sizes: list[tuple[int, int]], classes: int, boxes: int
) -> str:
    """SSD's heads over feature maps, and its output."""
    parts: dict[str, list[str]] = {"loc": [], "conf": [], "prior": []}
    for feature, (least, most) in zip(maps, sizes, strict=True):
        for part, outputs in (("loc", 4 * boxes), ("conf", classes * boxes)):
            net.conv(outputs, 3, "pad: 1", bottom=feature)
            net.add("Permute", None, "permute_param { order: 0 order: 2 order: 3 order: 1 }")
            parts[part].append(net.add("Flatten", None, "flatten_param { axis: 1 }"))
        parts["prior"].append(
            net.add(
                "PriorBox",
                [feature, "data"],
                f"prior_box_param {{ min_size: {least} max_size: {most} aspect_ratio: 2 flip: true "
                "clip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 offset: 0.5 }",
            )
        )
    location = net.add("Concat", parts["loc"])
    confidence = net.add("Concat", parts["conf"])
    shape = f"reshape_param {{ shape {{ dim: 0 dim: -1 dim: {classes} }} }}"
    net.add("Reshape", [confidence], shape)
    net.add("Softmax", None, "softmax_param { axis: 2 }")
    confidence = net.add("Flatten")
    priors = net.add("Concat", parts["prior"], "concat_param { axis: 2 }")
    return net.add(
        "DetectionOutput",
        [location, confidence, priors],
        "include { phase: TEST } detection_output_param { "
        f"num_classes: {classes} share_location: true background_label_id: 0 "
        "nms_param { nms_threshold: 0.45 top_k: 100 } code_type: CENTER_SIZE "
        "keep_top_k: 100 confidence_threshold: 0.25 }",
    )


def mobilenet_ssd() -> str:
    """Depthwise blocks with ReLU6, and heads on two maps."""
    net = Text("MobileNet-SSD style", 3, 160)
    net.conv(16, 3, "pad: 1 stride: 2 bias_term: false")
    net.norm()
    net.inplace("ReLU6")
    channels, maps = 16, []
    for outputs, stride in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 2)):
        grouped = f"num_output: {channels} group: {channels} pad: 1 kernel_size: 3"
        net.add("DepthwiseConvolution", None, f"convolution_param {{ {grouped} stride: {stride} }}")
        net.inplace("ReLU6")
        net.conv(outputs, 1)
        maps.append(net.inplace("ReLU6"))
        channels = outputs
    _detector(net, maps[-2:], [(32, 64), (64, 120)], classes=5, boxes=4)
    return net.text()


def face_detector() -> str:
    """A residual trunk with Normalize before its first head, as the face detectors have."""
    net = Text("res10 SSD style", 3, 200)
    net.conv(32, 7, "pad: 3 stride: 2")
    net.norm()
    net.inplace("ReLU")
    trunk = net.pool("MAX", 3, 2)
    maps = []
    for outputs in (64, 128, 256):
        net.conv(outputs, 3, "pad: 1 stride: 2", bottom=trunk)
        net.inplace("ReLU")
        left = net.conv(outputs, 3, "pad: 1")
        right = net.conv(outputs, 1, "stride: 2", bottom=trunk)
        net.add("Eltwise", [left, right])
        trunk = net.inplace("ReLU")
        maps.append(trunk)
    scaled = net.add(
        "Normalize",
        [maps[0]],
        'norm_param { across_spatial: false scale_filler { type: "constant" value: 20 } '
        "channel_shared: false }",
    )
    _detector(net, [scaled, *maps[1:]], [(20, 40), (40, 90), (90, 150)], classes=2, boxes=4)
    return net.text()


def enet() -> str:
    """Encoder and decoder, with masks of poolings and BN of SegNet's fork."""
    net = Text("ENet style", 3, 128)
    body = (
        'bn_param { bn_mode: LEARN scale_filler { type: "constant" value: 1 } '
        'shift_filler { type: "constant" value: 0.001 } }'
    )
    masks = []
    for outputs in (16, 32, 64):
        net.conv(outputs, 3, "pad: 1")
        net.add("BN", None, body)
        net.inplace("PReLU")
        mask = f"mask{outputs}"
        net.add(
            "Pooling",
            None,
            "pooling_param { pool: MAX kernel_size: 2 stride: 2 }",
            f"pool{outputs}",
            mask,
        )
        masks.append(mask)
    for outputs, mask in zip((32, 16, 8), reversed(masks), strict=True):
        net.add("Upsample", [net.top, mask], "upsample_param { scale: 2 }")
        net.conv(outputs, 3, "pad: 1")
        net.add("BN", None, body)
        net.inplace("ReLU")
    net.conv(12, 1)
    net.add("Softmax")
    return net.text()


def pspnet() -> str:
    """A pyramid of poolings, each interpolated back to the map's size."""
    net = Text("PSPNet style", 3, 121)
    bn = "bn_param { slope_filler { value: 1 } bias_filler { value: 0 } frozen: true eps: 1e-5 }"
    for outputs, stride in ((32, 2), (64, 2), (128, 1)):
        net.conv(outputs, 3, f"pad: 1 stride: {stride} bias_term: false")
        net.add("BN", None, bn)
        net.inplace("ReLU")
    features = net.top
    branches = [features]
    for size in (31, 16, 6):
        net.add(
            "Pooling",
            [features],
            f"pooling_param {{ pool: AVE kernel_size: {size} stride: {size} }}",
        )
        net.conv(32, 1)
        net.inplace("ReLU")
        branches.append(net.add("Interp", None, "interp_param { height: 31 width: 31 }"))
    net.add("Concat", branches)
    net.conv(64, 3, "pad: 1")
    net.inplace("ReLU")
    net.conv(21, 1)
    net.add("Interp", None, "interp_param { zoom_factor: 4 }")
    return net.text()


def faster_rcnn() -> str:
    """Proposals over a map, and a head on each region."""
    net = Text("Faster R-CNN style", 3, 224)
    for outputs in (32, 64, 128, 128):
        net.conv(outputs, 3, "pad: 1")
        net.inplace("ReLU")
        net.pool("MAX", 2, 2)
    features = net.top
    net.conv(128, 3, "pad: 1")
    shared = net.inplace("ReLU")
    scores = net.conv(18, 1, bottom=shared)
    deltas = net.conv(36, 1, bottom=shared)
    image = net.add("Input", [], "input_param { shape { dim: 1 dim: 3 } }", "im_info")
    regions = net.add(
        "Proposal",
        [scores, deltas, image],
        "proposal_param { feat_stride: 16 pre_nms_topn: 300 post_nms_topn: 32 }",
        "rois",
    )
    net.add(
        "ROIPooling",
        [features, regions],
        "roi_pooling_param { pooled_h: 6 pooled_w: 6 spatial_scale: 0.0625 }",
    )
    net.dense(512)
    net.inplace("ReLU")
    net.dense(21)
    net.add("Softmax")
    return net.text()


def shufflenet() -> str:
    """Grouped and depthwise convolutions with channels shuffled between them."""
    net = Text("ShuffleNet style", 3, 112)
    net.conv(24, 3, "pad: 1 stride: 2")
    net.inplace("ReLU")
    for _ in range(3):
        block = net.top
        net.conv(24, 1, "group: 3")
        net.norm()
        net.inplace("ReLU")
        net.add("ShuffleChannel", None, "shuffle_channel_param { group: 3 }")
        net.add(
            "ConvolutionDepthwise",
            None,
            "convolution_param { num_output: 24 pad: 1 kernel_size: 3 bias_term: false }",
        )
        net.norm()
        net.conv(24, 1, "group: 3")
        net.add("Eltwise", [block, net.top])
        net.inplace("ReLU")
    net.add("Pooling", None, "pooling_param { pool: AVE global_pooling: true }")
    net.dense(10)
    net.add("Softmax")
    return net.text()


def yolo() -> str:
    """A map reorganized beside a deeper one, and the heads of two sizes."""
    net = Text("YOLO style", 3, 160)
    for outputs in (16, 32, 64):
        net.conv(outputs, 3, "pad: 1")
        net.inplace("ReLU", "relu_param { negative_slope: 0.1 }")
        net.pool("MAX", 2, 2)
    fine = net.conv(64, 3, "pad: 1")
    net.pool("MAX", 2, 2)
    coarse = net.conv(128, 3, "pad: 1")
    folded = net.add("Reorg", [fine], "reorg_param { stride: 2 }")
    net.add("Concat", [folded, coarse])
    net.conv(128, 3, "pad: 1")
    deep = net.inplace("HardSwish")
    first = net.conv(75, 1, bottom=deep)
    up = net.add("Upsample", [deep], "upsample_param { scale: 2 }")
    net.add("Concat", [up, fine])
    second = net.conv(75, 1)
    net.add(
        "Yolov3DetectionOutput",
        [first, second],
        "include { phase: TEST } yolov3_detection_output_param { num_classes: 20 "
        "confidence_threshold: 0.3 nms_threshold: 0.45 biases: 10 biases: 14 biases: 23 "
        "biases: 27 biases: 37 biases: 58 biases: 81 biases: 82 biases: 90 biases: 99 biases: 120 "
        "biases: 130 mask: 3 mask: 4 mask: 5 mask: 0 mask: 1 mask: 2 "
        "anchors_scale: 16 anchors_scale: 8 mask_group_num: 2 }",
    )
    return net.text()


def squeeze_and_excitation() -> str:
    """SENet's blocks, with Axpy for scale and sum."""
    net = Text("SENet style", 3, 112)
    net.conv(32, 3, "pad: 1 stride: 2")
    net.inplace("ReLU")
    for _ in range(3):
        block = net.top
        body = net.conv(32, 3, "pad: 1")
        net.add("Pooling", None, "pooling_param { pool: AVE global_pooling: true }")
        net.conv(4, 1)
        net.inplace("ReLU")
        net.conv(32, 1)
        scale = net.inplace("Sigmoid")
        net.add("Axpy", [scale, body, block])
        net.inplace("ReLU")
    net.dense(10)
    net.add("Softmax")
    return net.text()


def bn_inception() -> str:
    """Branches of convolutions with BN, side by side."""
    net = Text("BN-Inception style", 3, 112)
    net.conv(32, 3, "pad: 1 stride: 2")
    for _ in range(3):
        block, branches = net.top, []
        for _ in range(4):
            net.conv(32, 1, bottom=block)
            net.add("BN", None, "bn_param { frozen: true slope_filler { value: 1 } }")
            branches.append(net.inplace("ReLU"))
        net.add("Concat", branches)
    net.add("Pooling", None, "pooling_param { pool: AVE global_pooling: true }")
    net.dense(10)
    net.add("Softmax")
    return net.text()


def crnn() -> str:
    """The published size: columns of a map of text as time steps, an LSTM in each direction."""
    net = Text("CRNN style", 1, 32)
    halved = "kernel_h: 2 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 0 pad_w: 1"
    for outputs, normed, pooling in (
        (64, False, "kernel_size: 2 stride: 2"), (128, False, "kernel_size: 2 stride: 2"),
        (256, True, ""), (256, False, halved), (512, True, ""), (512, False, halved),
    ):  # fmt: skip
        net.conv(outputs, 3, "pad: 1")
        if normed:
            net.norm()
        net.inplace("ReLU")
        if pooling:
            net.add("Pooling", None, f"pooling_param {{ pool: MAX {pooling} }}")
    net.conv(512, 2)
    net.add("Permute", None, "permute_param { order: 3 order: 0 order: 1 order: 2 }")
    steps = net.add("Reshape", None, "reshape_param { shape { dim: 0 dim: 0 dim: -1 } }")
    marks = net.add(
        "ContinuationIndicator", [], "continuation_indicator_param { time_step: 26 batch_size: 1 }"
    )
    reads = "recurrent_param { num_output: 256 }"
    forward = net.add("LSTM", [steps, marks], reads)
    net.add("Reverse", [steps], "reverse_param { axis: 0 }")
    net.add("LSTM", [net.top, marks], reads)
    backward = net.add("Reverse", None, "reverse_param { axis: 0 }")
    net.add("Concat", [forward, backward], "concat_param { axis: 2 }")
    net.dense(37, "axis: 2")
    net.add("Softmax", None, "softmax_param { axis: 2 }")
    return net.text().replace("dim: 32 dim: 32", "dim: 32 dim: 100")


FORKED = {
    build.__name__: build
    for build in (
        bn_inception, crnn, enet, face_detector, faster_rcnn, mobilenet_ssd, pspnet, shufflenet,
        squeeze_and_excitation, yolo,
    )
}  # fmt: skip
