"""Single layers in all their variants, for engines that run them as Caffe does or not at all."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """The shapes of inputs a, b, ..., and the layers after them."""

    layers: str
    inputs: tuple[tuple[int, ...], ...] = ((1, 6, 9, 11),)
    low: float = -1.0
    """The least input as a part of the largest."""
    scale: float = 3.0
    """The largest input."""

    @property
    def text(self) -> str:
        """The prototxt."""
        heads = (
            f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
            f"{' '.join(f'dim: {size}' for size in shape)} }} }} }}"
            for name, shape in zip("abc", self.inputs, strict=False)
        )
        return "\n".join([*heads, self.layers])


def _layer(kind: str, body: str = "", bottoms: str = "a", top: str = "y") -> str:
    wires = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    return f'layer {{ name: "{kind}" type: "{kind}" {wires} top: "{top}" {body} }}'


def _one(
    kind: str, body: str = "", *inputs: tuple[int, ...], low: float = -1.0, scale: float = 3.0
) -> Case:
    bottoms = " ".join("abc"[: max(len(inputs), 1)])
    return Case(_layer(kind, body, bottoms), inputs or ((1, 6, 9, 11),), low, scale)


_POOLS = {
    f"Pooling {kind} {window}{more and ' ' + more}": _one(
        "Pooling", f"pooling_param {{ pool: {kind} {fields} {more} }}"
    )
    for kind in ("MAX", "AVE")
    for window, fields in {
        "3/2": "kernel_size: 3 stride: 2",
        "2/2": "kernel_size: 2 stride: 2",
        "3/2 pad 1": "kernel_size: 3 stride: 2 pad: 1",
        "2/2 pad 1": "kernel_size: 2 stride: 2 pad: 1",
        "5/3 pad 2": "kernel_size: 5 stride: 3 pad: 2",
        "4x3/3x2 pad 1x0": "kernel_h: 4 kernel_w: 3 stride_h: 3 stride_w: 2 pad_h: 1 pad_w: 0",
        "3/1 pad 1": "kernel_size: 3 stride: 1 pad: 1",
        "global": "global_pooling: true",
    }.items()
    for more in ("", "round_mode: FLOOR")
    if not (window == "global" and more)
}
_CONV = "convolution_param { num_output: 8 kernel_size: 3"
_FLAT, _ROWS = (1, 12), (1, 5, 12)
CASES = {
    **_POOLS,
    "Convolution": _one("Convolution", f"{_CONV} }}"),
    "Convolution pad stride": _one("Convolution", f"{_CONV} pad: 1 stride: 2 bias_term: false }}"),
    "Convolution dilation group": _one("Convolution", f"{_CONV} dilation: 2 group: 2 pad: 2 }}"),
    "Convolution unequal": _one(
        "Convolution",
        "convolution_param { num_output: 4 kernel_h: 1 kernel_w: 3 pad_h: 0 pad_w: 1 "
        "stride_h: 2 stride_w: 1 }",
    ),
    "Convolution 1 axis": _one("Convolution", f"{_CONV} }}", (2, 6, 9)),
    "Convolution depthwise": _one("Convolution", f"{_CONV} group: 4 pad: 1 }}", (1, 4, 9, 9)),
    "ConvolutionDepthwise": _one("ConvolutionDepthwise", f"{_CONV} pad: 1 }}", (1, 8, 9, 9)),
    "Deconvolution": _one("Deconvolution", f"{_CONV} stride: 2 pad: 1 }}"),
    "Deconvolution group": _one(
        "Deconvolution",
        "convolution_param { num_output: 4 kernel_h: 4 kernel_w: 3 stride: 2 group: 2 }",
    ),
    "Deconvolution depthwise": _one(
        "Deconvolution",
        "convolution_param { num_output: 6 kernel_size: 4 stride: 2 pad: 1 "
        "group: 6 bias_term: false }",
    ),
    "Deconvolution dilation": _one("Deconvolution", f"{_CONV} dilation: 2 }}"),
    "InnerProduct": _one("InnerProduct", "inner_product_param { num_output: 7 }"),
    "InnerProduct flat": _one("InnerProduct", "inner_product_param { num_output: 7 }", _FLAT),
    "InnerProduct rows": _one("InnerProduct", "inner_product_param { num_output: 7 }", _ROWS),
    "InnerProduct one row": _one(
        "InnerProduct", "inner_product_param { num_output: 7 }", (1, 1, 12)
    ),
    "InnerProduct axis 2": _one(
        "InnerProduct", "inner_product_param { num_output: 7 axis: 2 }", _ROWS
    ),
    "InnerProduct axis 3": _one(
        "InnerProduct", "inner_product_param { num_output: 7 axis: -1 bias_term: false }"
    ),
    "InnerProduct transpose": _one(
        "InnerProduct", "inner_product_param { num_output: 7 transpose: true }", _FLAT
    ),
    "InnerProduct batch": _one("InnerProduct", "inner_product_param { num_output: 7 }", (3, 2, 4)),
    "Embed": _one("Embed", "embed_param { num_output: 3 input_dim: 20 }", (1, 4), low=0, scale=19),
    "LRN": _one("LRN", "lrn_param { local_size: 5 alpha: 0.3 beta: 0.75 }"),
    "LRN k": _one("LRN", "lrn_param { local_size: 3 alpha: 0.3 beta: 0.5 k: 2 }"),
    "LRN within": _one(
        "LRN", "lrn_param { local_size: 3 alpha: 0.3 norm_region: WITHIN_CHANNEL k: 2 }"
    ),
    "BatchNorm": _one("BatchNorm"),
    "BatchNorm eps": _one("BatchNorm", "batch_norm_param { eps: 0.01 }", (2, 6, 4)),
    "BatchNorm flat": _one("BatchNorm", "", _FLAT),
    "BN": _one("BN"),
    "BN INFERENCE": _one("BN", "bn_param { bn_mode: INFERENCE }"),
    "MVN": _one("MVN"),
    "MVN across": _one("MVN", "mvn_param { across_channels: true normalize_variance: false }"),
    "Normalize": _one("Normalize", "norm_param { across_spatial: false channel_shared: false }"),
    "Normalize image": _one("Normalize"),
    "Scale": _one("Scale", "scale_param { bias_term: true }"),
    "Scale flat": _one("Scale", "", _FLAT),
    "Scale one": _one("Scale", "scale_param { num_axes: 0 bias_term: true }"),
    "Scale axes": _one("Scale", "scale_param { axis: 1 num_axes: 2 }"),
    "Scale by channels": _one("Scale", "scale_param { axis: 0 }", (1, 6, 4, 5), (1, 6)),
    "Scale by channels bias": _one(
        "Scale", "scale_param { axis: 0 bias_term: true }", (1, 6), (1, 6)
    ),
    "Scale by blob": _one("Scale", "scale_param { axis: 0 }", (1, 6, 4, 5), (1, 6, 4, 5)),
    "Bias": _one("Bias"),
    "Bias flat": _one("Bias", "", _FLAT),
    "Bias by blob": _one("Bias", "bias_param { axis: 0 }", (1, 6, 4, 5), (1, 6, 4, 5)),
    "Axpy": _one("Axpy", "", (1, 6, 1, 1), (1, 6, 4, 5), (1, 6, 4, 5)),
    "ReLU": _one("ReLU"),
    "ReLU slope": _one("ReLU", "relu_param { negative_slope: 0.1 }"),
    "PReLU": _one("PReLU"),
    "PReLU shared": _one("PReLU", "prelu_param { channel_shared: true }"),
    "PReLU flat": _one("PReLU", "", _FLAT),
    "ELU": _one("ELU", "elu_param { alpha: 0.5 }"),
    "Swish": _one("Swish"),
    "Swish beta": _one("Swish", "swish_param { beta: 0.5 }"),
    **{
        kind: _one(kind)
        for kind in (
            "AbsVal",
            "BNLL",
            "Sigmoid",
            "TanH",
            "ReLU6",
            "HardSigmoid",
            "HardSwish",
            "Mish",
            "Flatten",
            "Dropout",
            "Softmax",
            "Exp",
            "Power",
        )
    },
    "BReLU": _one("BReLU", "brelu_param { minval: 0.1 maxval: 0.6 }"),
    "Clip": _one("Clip", "clip_param { min: -1 max: 0.5 }"),
    "Exp base": _one("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }"),
    "Log": _one("Log", "", low=0.01),
    "Log base": _one("Log", "log_param { base: 10 scale: 2 shift: 1 }", low=0),
    "Power all": _one("Power", "power_param { power: 0.5 scale: 2 shift: 8 }"),
    "Power square": _one("Power", "power_param { power: 2 shift: 0.5 }"),
    "Power zero": _one("Power", "power_param { power: 0 }"),
    "Threshold": _one("Threshold", "threshold_param { threshold: 0.4 }"),
    "SpatialDropout": _one("SpatialDropout", "spatial_dropout_param { p: 0.2 }"),
    **{
        f"Softmax axis {axis} of {len(shape)}": _one(
            "Softmax", f"softmax_param {{ axis: {axis} }}", shape
        )
        for shape in ((1, 6, 4, 5), _ROWS, _FLAT)
        for axis in range(1, len(shape))
    },
    "Softmax batch": _one("Softmax", "softmax_param { axis: 0 }", (3, 4)),
    "Eltwise sum": _one("Eltwise", "", (1, 6, 4, 5), (1, 6, 4, 5), (1, 6, 4, 5)),
    "Eltwise coeff": _one("Eltwise", "eltwise_param { coeff: 1 coeff: -0.5 }", _FLAT, _FLAT),
    "Eltwise prod": _one(
        "Eltwise", "eltwise_param { operation: PROD }", (1, 6, 4, 5), (1, 6, 4, 5), (1, 6, 4, 5)
    ),
    "Eltwise max": _one("Eltwise", "eltwise_param { operation: MAX }", _ROWS, _ROWS),
    "Eltwise itself": Case(_layer("Eltwise", "", "a a")),
    **{
        f"Concat axis {axis} of {len(shape)}": _one(
            "Concat",
            f"concat_param {{ axis: {axis} }}",
            shape,
            (*shape[:axis], shape[axis] + 3, *shape[axis + 1 :]),
        )
        for shape in ((1, 6, 4, 5), _ROWS, _FLAT)
        for axis in range(1, len(shape))
    },
    **{
        f"Slice axis {axis} of {len(shape)}": Case(
            f'layer {{ name: "s" type: "Slice" bottom: "a" top: "y" top: "z" '
            f"slice_param {{ axis: {axis} slice_point: 2 }} }}",
            (shape,),
        )
        for shape in ((1, 6, 4, 5), _ROWS, _FLAT)
        for axis in range(1, len(shape))
    },
    "Slice equal": Case('layer { name: "s" type: "Slice" bottom: "a" top: "x" top: "y" top: "z" }'),
    "Reshape": _one("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 11 } }"),
    "Reshape up": _one(
        "Reshape", "reshape_param { shape { dim: 0 dim: 3 dim: 2 dim: -1 } }", _FLAT
    ),
    "Reshape inner": _one(
        "Reshape", "reshape_param { shape { dim: 2 dim: 3 } axis: 1 num_axes: 1 }", (1, 6, 5)
    ),
    "Flatten part": _one("Flatten", "flatten_param { axis: 2 }"),
    "Squeeze": _one("Squeeze", "squeeze_param { axis: 2 }", (1, 6, 1, 5)),
    "Crop": _one("Crop", "crop_param { offset: 1 }", (1, 6, 9, 11), (1, 3, 4, 5)),
    "Crop channels": _one(
        "Crop",
        "crop_param { axis: 1 offset: 2 offset: 1 offset: 3 }",
        (1, 6, 9, 11),
        (1, 3, 4, 5),
    ),
    "Crop nothing": _one("Crop", "", (1, 6, 4, 5), (1, 3, 4, 5)),
    "CropCenter": _one("CropCenter", "crop_center_param { crop_size: [0, 1, 2, 3] }"),
    "Tile": _one("Tile", "tile_param { axis: 1 tiles: 3 }"),
    "Tile width": _one("Tile", "tile_param { axis: -1 tiles: 2 }"),
    **{
        f"Permute {order}": _one(
            "Permute", "permute_param { " + " ".join(f"order: {axis}" for axis in order) + " }"
        )
        for order in ("0231", "0312", "0213", "0132", "0321", "1023")
    },
    "Transpose": _one("Transpose", "transpose_param { dim: [0, 2, 1] }", _ROWS),
    "Reverse": _one("Reverse", "reverse_param { axis: 1 }"),
    "ShuffleChannel": _one("ShuffleChannel", "shuffle_channel_param { group: 3 }"),
    "Reorg": _one("Reorg", "reorg_param { stride: 2 }", (1, 8, 4, 6)),
    "Mul": _one("Mul", "mul_param { mul_shape: [6, 1, 1] }"),
    "Mul blobs": _one("Mul", "", (1, 6, 4, 5), (1, 6, 4, 5)),
    "Interp": _one("Interp", "interp_param { height: 17 width: 14 }"),
    "Interp smaller": _one("Interp", "interp_param { height: 5 width: 4 }"),
    "Interp zoom": _one("Interp", "interp_param { zoom_factor: 8 }"),
    "Interp pad": _one("Interp", "interp_param { zoom_factor: 2 pad_beg: -1 pad_end: -1 }"),
    "Interp to one": _one("Interp", "interp_param { height: 1 width: 1 }"),
    "Interp of a row": _one("Interp", "interp_param { height: 4 width: 4 }", (1, 6, 1, 3)),
    "Interp of one": _one("Interp", "interp_param { height: 4 width: 4 }", (1, 6, 1, 1)),
    "Upsample": _one("Upsample", "upsample_param { scale: 2 }"),
    "Upsample 3": _one("Upsample", "upsample_param { scale: 3 }"),
    "ArgMax": _one("ArgMax", "", (1, 12)),
    "ArgMax top": _one("ArgMax", "argmax_param { top_k: 5 out_max_val: true }"),
    "ArgMax top places": _one("ArgMax", "argmax_param { top_k: 5 }"),
    "ArgMax axis": _one("ArgMax", "argmax_param { axis: 1 }"),
    "ArgMax of equal ones": Case(
        _layer("Threshold", "threshold_param { threshold: 0 }", "a", "t")
        + _layer("ArgMax", "argmax_param { top_k: 4 }", "t")
    ),
    **{
        f"Reduction {operation} {axis}": _one(
            "Reduction",
            f"reduction_param {{ operation: {operation} axis: {axis} coeff: 0.5 }}",
        )
        for operation in ("SUM", "ASUM", "SUMSQ", "MEAN")
        for axis in (0, 1, 2, 3)
    },
    "BatchReindex": _one("BatchReindex", "", (4, 3), (2,), low=0, scale=3.9),
    "DummyData": Case(
        'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 1 dim: 6 '
        "dim: 9 dim: 11 } data_filler { value: 0.25 } } }" + _layer("Eltwise", "", "a d")
    ),
    "in place": Case(
        _layer("ReLU", "", "a", "a")
        + _layer("Power", "power_param { scale: 2 }", "a", "a")
        + _layer("Eltwise", "", "a a")
    ),
    "in place, output": Case(_layer("ReLU", "", "a", "a")),
    "unread input": Case(_layer("ReLU"), ((1, 6, 9, 11), _FLAT)),
    "names": Case(
        'layer { name: "p q" type: "ReLU" bottom: "a" top: "a b" } '
        'layer { name: "p_q" type: "TanH" bottom: "a" top: "a_b" }'
    ),
    "shared": Case(
        'layer { name: "p" type: "InnerProduct" bottom: "a" top: "y" param { name: "w" } '
        'param { name: "v" } inner_product_param { num_output: 3 } } '
        'layer { name: "q" type: "InnerProduct" bottom: "b" top: "z" param { name: "w" } '
        'param { name: "v" } inner_product_param { num_output: 3 } }',
        (_FLAT, _FLAT),
    ),
    "two convolutions": Case(
        'layer { name: "c" type: "Convolution" bottom: "a" bottom: "b" top: "y" top: "z" '
        f"{_CONV} }} }}",
        ((1, 6, 9, 11), (1, 6, 9, 11)),
    ),
}
