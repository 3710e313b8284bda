"""One function per style; `WILD` has them all by name."""

from __future__ import annotations

from tests.wild.text import Text
from tests.wild.trained import (
    autoencoder,
    forced_backward,
    frozen_fine_tuning,
    siamese,
    train_val,
)


def caffenet() -> str:
    """Pooling before LRN across channels, groups, dropout in place."""
    net = Text("CaffeNet style", 3, 227)
    for outputs, kernel, more in ((96, 11, "stride: 4"), (256, 5, "pad: 2 group: 2")):
        net.conv(outputs, kernel, more)
        net.inplace("ReLU")
        net.pool("MAX", 3, 2)
        net.add("LRN", None, "lrn_param { local_size: 5 alpha: 0.0001 }")
    for outputs, group in ((384, 1), (384, 2), (256, 2)):
        net.conv(outputs, 3, f"pad: 1 group: {group}")
        net.inplace("ReLU")
    net.pool("MAX", 3, 2)
    for outputs in (4096, 4096):
        net.dense(outputs)
        net.inplace("ReLU")
        net.inplace("Dropout", "dropout_param { dropout_ratio: 0.5 }")
    net.dense(20)
    net.add("Softmax")
    return net.text()


def cifar_within_channel() -> str:
    """LRN within channels and average pooling on small images."""
    net = Text("cifar full style", 3, 32)
    for outputs, pool in ((32, "MAX"), (32, "AVE"), (64, "AVE")):
        net.conv(outputs, 5, "pad: 2")
        net.pool(pool, 3, 2)
        net.inplace("ReLU")
        net.add("LRN", None, "lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }")
    net.dense(10)
    net.add("Softmax")
    return net.text()


def within_channel_large() -> str:
    """The same at a size where its blobs matter."""
    net = Text("within", 3, 160)
    net.conv(64, 7, "pad: 3 stride: 2")
    net.add("LRN", None, "lrn_param { local_size: 5 norm_region: WITHIN_CHANNEL }")
    net.conv(64, 3, "pad: 1")
    net.inplace("ReLU")
    net.pool("AVE", 80, 1)
    return net.text()


def fcn() -> str:
    """Skip connections, deconvolution and crop over a score map."""
    net = Text("fcn style", 3, 160)
    tops = []
    for outputs in (32, 64, 128, 128):
        net.conv(outputs, 3, "pad: 1")
        net.inplace("ReLU")
        tops.append(net.pool("MAX", 2, 2))
    net.conv(512, 5)
    net.inplace("ReLU")
    net.inplace("Dropout")
    score = net.conv(21, 1)
    up = net.add(
        "Deconvolution",
        [score],
        "convolution_param { num_output: 21 kernel_size: 4 stride: 2 bias_term: false }",
    )
    skip = net.conv(21, 1, bottom=tops[2])
    skip = net.add("Crop", [skip, up], "crop_param { axis: 2 offset: 1 }")
    fused = net.add("Eltwise", [up, skip])
    up = net.add(
        "Deconvolution",
        [fused],
        "convolution_param { num_output: 21 kernel_size: 16 stride: 8 group: 21 bias_term: false }",
    )
    net.add("Softmax", [up])
    return net.text()


def inception_tower() -> str:
    """Towers with asymmetric kernels, joined; batch norm not in place."""
    net = Text("inception style", 3, 149)
    net.conv(32, 3, "stride: 2 bias_term: false")
    net.norm(in_place=False)
    net.inplace("ReLU")
    net.pool("MAX", 3, 2)
    for _ in range(3):
        source = net.top
        one = net.conv(64, 1, bottom=source)
        net.conv(48, 1, bottom=source)
        net.add(
            "Convolution",
            None,
            "convolution_param { num_output: 64 kernel_h: 1 kernel_w: 7 pad_h: 0 pad_w: 3 }",
        )
        net.inplace("ReLU")
        two = net.add(
            "Convolution",
            None,
            "convolution_param { num_output: 64 kernel_h: 7 kernel_w: 1 pad_h: 3 pad_w: 0 }",
        )
        net.top = source
        net.pool("AVE", 3, 1, "pad: 1")
        three = net.conv(32, 1)
        net.add("Concat", [one, two, three])
    net.add("Pooling", None, "pooling_param { pool: AVE global_pooling: true }")
    net.dense(100)
    net.add("Softmax")
    return net.text()


def residual(depth: int = 4) -> str:
    """Bottlenecks with shortcuts, batch norm in place, and sums."""
    net = Text("residual style", 3, 224)
    net.conv(64, 7, "pad: 3 stride: 2 bias_term: false")
    net.norm()
    net.inplace("ReLU")
    net.pool("MAX", 3, 2)
    for width in (64, 128):
        for block in range(depth):
            source = net.top
            stride = "stride: 2" if block == 0 else ""
            shortcut = source
            if block == 0:
                net.conv(4 * width, 1, f"{stride} bias_term: false", bottom=source)
                shortcut = net.norm()
            net.conv(width, 1, f"{stride} bias_term: false", bottom=source)
            net.norm()
            net.inplace("ReLU")
            net.conv(width, 3, "pad: 1 bias_term: false")
            net.norm()
            net.inplace("ReLU")
            net.conv(4 * width, 1, "bias_term: false")
            branch = net.norm()
            net.add("Eltwise", [shortcut, branch], "eltwise_param { operation: SUM }")
            net.inplace("ReLU")
    net.add("Pooling", None, "pooling_param { pool: AVE global_pooling: true }")
    net.dense(1000)
    return net.text()


def depthwise() -> str:
    """Groups of one channel, as stock Caffe must write them; ReLU not in place."""
    net = Text("depthwise style", 3, 192)
    net.conv(32, 3, "pad: 1 stride: 2")
    for outputs, stride in ((64, 1), (128, 2), (128, 1), (256, 2)):
        channels = {64: 32, 128: 64 if stride == 2 else 128, 256: 128}[outputs]
        net.conv(channels, 3, f"pad: 1 stride: {stride} group: {channels}")
        net.add("ReLU")
        net.conv(outputs, 1)
        net.add("PReLU", [net.top], "", net.top)
    net.pool("AVE", 24, 1)
    return net.text()


def maxout_pyramid() -> str:
    """Slices, an element-wise maximum, and a spatial pyramid."""
    net = Text("maxout style", 3, 150)
    net.conv(64, 5, "stride: 2")
    halves = ("first", "second")
    net.add("Slice", None, "slice_param { axis: 1 }", *halves)
    net.add("Eltwise", list(halves), "eltwise_param { operation: MAX }")
    net.conv(96, 3, "pad: 1")
    net.add("AbsVal")
    net.add("SPP", None, "spp_param { pyramid_height: 3 pool: MAX }")
    net.dense(300, "transpose: true")
    net.add("BNLL")
    net.dense(12, "bias_term: false")
    return net.text()


def attention() -> str:
    """Squeeze and excite: a gate broadcast by Scale with two bottoms; Swish and Clip."""
    net = Text("gated style", 3, 128)
    net.conv(64, 3, "pad: 1 stride: 2")
    trunk = net.add("Swish")
    net.add("Pooling", None, "pooling_param { pool: AVE global_pooling: true }")
    net.conv(16, 1)
    net.inplace("ReLU")
    net.conv(64, 1)
    net.inplace("Sigmoid")
    gate = net.add("Flatten")
    net.add("Scale", [trunk, gate], "scale_param { axis: 0 }")
    net.add("Clip", None, "clip_param { min: 0 max: 6 }")
    net.conv(128, 3, "pad: 1 stride: 2")
    net.norm(in_place=False)
    net.add("Power", None, "power_param { power: 2 scale: 0.5 shift: 1 }")
    net.add("Reduction", None, "reduction_param { axis: 2 operation: MEAN }")
    net.dense(10)
    return net.text()


def dense_blocks() -> str:
    """Pre-activation and growing concatenations."""
    net = Text("dense style", 3, 128)
    net.conv(32, 7, "pad: 3 stride: 2 bias_term: false")
    features = net.pool("MAX", 3, 2)
    for _ in range(8):
        net.top = features
        net.norm(in_place=False)
        net.inplace("ReLU")
        net.conv(16, 3, "pad: 1 bias_term: false")
        net.inplace("Dropout", "dropout_param { dropout_ratio: 0.2 }")
        features = net.add("Concat", [features, net.top])
    net.add("Pooling", None, "pooling_param { pool: AVE global_pooling: true }")
    net.add("Reshape", None, "reshape_param { shape { dim: 0 dim: -1 } }")
    net.dense(64)
    return net.text()


def normalised_photometry() -> str:
    """MVN in front, Bias, TanH, Tile, logarithm and exponential."""
    net = Text("mvn style", 3, 144)
    net.add("MVN")
    net.conv(40, 5, "stride: 2 bias_term: false")
    net.add("Bias", None, "bias_param { axis: 1 }")
    net.add("TanH")
    net.pool("AVE", 2, 2)
    net.add("Exp")
    net.add("Log", None, "log_param { shift: 1 }")
    net.add("Tile", None, "tile_param { axis: 1 tiles: 2 }")
    net.conv(64, 3)
    net.inplace("PReLU", "prelu_param { channel_shared: true }")
    net.dense(32)
    return net.text()


def dilated() -> str:
    """Context by dilation at full resolution."""
    net = Text("dilated style", 3, 96)
    for dilation in (1, 2, 4, 8):
        net.conv(48, 3, f"pad: {dilation} dilation: {dilation}")
        net.inplace("ReLU")
    net.conv(19, 1)
    net.add("Softmax")
    return net.text()


def big_classifier() -> str:
    """Few positions, many weights."""
    net = Text("wide classifier", 3, 64)
    net.conv(128, 5, "stride: 2 pad: 2")
    net.inplace("ReLU")
    net.pool("MAX", 2, 2)
    net.dense(2048)
    net.inplace("ReLU")
    net.dense(6000)
    net.add("Softmax")
    return net.text()


def tiny() -> str:
    """LeNet: smaller than the program that runs it."""
    net = Text("lenet style", 1, 28)
    net.conv(20, 5)
    net.pool("MAX", 2, 2)
    net.conv(50, 5)
    net.pool("MAX", 2, 2)
    net.dense(500)
    net.inplace("ReLU")
    net.dense(10)
    net.add("Softmax")
    return net.text()


WILD = {
    build.__name__: build
    for build in (
        attention, autoencoder, big_classifier, caffenet, cifar_within_channel, dense_blocks,
        depthwise, dilated, fcn, forced_backward, frozen_fine_tuning, inception_tower,
        maxout_pyramid, normalised_photometry, residual, siamese, tiny, train_val,
        within_channel_large,
    )
}  # fmt: skip
