"""Files in the older forms of Caffe's prototxt, and what stock Caffe makes of each.

`BLOBS` has the shapes that Debian's Caffe 1.0 sets up in the test phase; it aborts on `ABORTS`.
"""

from __future__ import annotations

from typing import Final

_HEAD: Final = 'input: "data" input_dim: 2 input_dim: 4 input_dim: 12 input_dim: 12\n'
_RELU: Final = 'layer { name: "r" type: "ReLU" bottom: "data" top: "data" }'
_V0: Final = """
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers { layer { name: "conv1" type: "conv" num_output: 8 kernelsize: 5 biasterm: true
                 weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" }
                 blobs_lr: 1. blobs_lr: 2. weight_decay: 1. weight_decay: 0. }
         bottom: "pad1" top: "conv1" }
layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers { layer { name: "pool1" type: "pool" pool: AVE kernelsize: 3 stride: 2 }
         bottom: "conv1" top: "pool1" }
layers { layer { name: "norm1" type: "lrn" local_size: 5 alpha: 0.0001 beta: 0.75 }
         bottom: "pool1" top: "norm1" }
layers { layer { name: "fc" type: "innerproduct" num_output: 10 biasterm: false }
         bottom: "norm1" top: "fc" }
layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.5 } bottom: "fc" top: "fc" }
layers { layer { name: "prob" type: "softmax" } bottom: "fc" top: "prob" }
"""
_V0_OTHERS: Final = """
layers { layer { name: "b" type: "bnll" } bottom: "data" top: "b" }
layers { layer { name: "s" type: "split" } bottom: "b" top: "s1" top: "s2" }
layers { layer { name: "c" type: "concat" concat_dim: 1 } bottom: "s1" bottom: "s2" top: "c" }
layers { layer { name: "f" type: "flatten" } bottom: "c" top: "f" }
layers { layer { name: "t" type: "tanh" } bottom: "f" top: "t" }
"""
_V0_PADDED: Final = """
layers { layer { name: "pad1" type: "padding" pad: 1 } bottom: "data" top: "pad1" }
layers { layer { name: "p" type: "pool" kernelsize: 3 stride: 2 } bottom: "pad1" top: "p" }
layers { layer { name: "q" type: "conv" num_output: 2 kernelsize: 3 pad: 5 }
         bottom: "pad1" top: "q" }
"""
_V1: Final = """
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2
         weight_decay: 1 weight_decay: 0 convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: "r" type: RELU bottom: "c" top: "c" }
layers { name: "p" type: SOFTMAX bottom: "c" top: "p" include { phase: TEST } }
"""
_V1_SHARED: Final = """
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" param: "w" param: "b"
         blob_share_mode: PERMISSIVE convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: "d" type: CONVOLUTION bottom: "data" top: "d" param: "w" param: "b"
         convolution_param { num_output: 4 kernel_size: 3 } }
"""
_V1_LOSS: Final = """
layers { name: "d" type: DUMMY_DATA top: "data"
         dummy_data_param { num: 3 channels: 2 height: 5 width: 5 } }
layers { name: "e" type: ELTWISE bottom: "data" bottom: "data" top: "e" }
layers { name: "s" type: SIGMOID_CROSS_ENTROPY_LOSS bottom: "e" bottom: "data" top: "l"
         loss_weight: 2 }
"""
_BATCH_NORM: Final = (
    'layer { name: "n" type: "BatchNorm" bottom: "data" top: "n" ' + "param { lr_mult: 1 } "
)

OLDER: Final = {
    "2013": _HEAD + _V0,
    "2013, other types": _HEAD + _V0_OTHERS,
    "2013, padded": _HEAD + _V0_PADDED,
    "2013, a field of another type": _HEAD + _V0.replace("pool: AVE", "dropout_ratio: 1"),
    "2014": _HEAD + _V1,
    "2014, shared": _HEAD + _V1_SHARED,
    "2014, a loss": _V1_LOSS,
    "two inputs": 'input: "x" ' + _HEAD + "input_dim: [2, 1, 1, 1]\n" + _RELU,
    "input_shape": 'input: "data" input_shape { dim: 2 dim: 4 dim: 12 }\n' + _RELU,
    "input_shape and input_dim": _HEAD + "input_shape { dim: 3 dim: 5 }\n" + _RELU,
    "more input_dim": _HEAD + "input_dim: 7 input_dim: 7\n" + _RELU,
    "more input_shape": 'input: "data"' + 2 * " input_shape { dim: 3 dim: 5 }" + _RELU,
    "rates of BatchNorm": _HEAD + _BATCH_NORM + 2 * "param { lr_mult: 1 } " + "}",
}
BLOBS: Final[dict[str, dict[str, tuple[int, ...]]]] = {
    "2013": {
        "data": (2, 4, 12, 12), "conv1": (2, 8, 12, 12), "pool1": (2, 8, 6, 6),
        "norm1": (2, 8, 6, 6), "fc": (2, 10), "prob": (2, 10),
    },
    "2013, other types": {
        "data": (2, 4, 12, 12), "b": (2, 4, 12, 12), "s1": (2, 4, 12, 12), "s2": (2, 4, 12, 12),
        "c": (2, 8, 12, 12), "f": (2, 1152), "t": (2, 1152),
    },
    "2013, padded": {"data": (2, 4, 12, 12), "p": (2, 4, 7, 7), "q": (2, 2, 12, 12)},
    "2013, a field of another type": {
        "data": (2, 4, 12, 12), "conv1": (2, 8, 12, 12), "pool1": (2, 8, 6, 6),
        "norm1": (2, 8, 6, 6), "fc": (2, 10), "prob": (2, 10),
    },
    "2014": {"data": (2, 4, 12, 12), "c": (2, 4, 10, 10), "p": (2, 4, 10, 10)},
    "2014, shared": {"data": (2, 4, 12, 12), "c": (2, 4, 10, 10), "d": (2, 4, 10, 10)},
    "2014, a loss": {"data": (3, 2, 5, 5), "e": (3, 2, 5, 5), "l": ()},
    "two inputs": {"x": (2, 4, 12, 12), "data": (2, 1, 1, 1)},
    "input_shape": {"data": (2, 4, 12)},
    "input_shape and input_dim": {"data": (3, 5)},
    "more input_dim": {"data": (2, 4, 12, 12)},
    "more input_shape": {"data": (3, 5)},
    "rates of BatchNorm": {"data": (2, 4, 12, 12), "n": (2, 4, 12, 12)},
}  # fmt: skip

ABORTS: Final = {
    "2013, an unknown type": _HEAD
    + 'layers { layer { name: "x" type: "power" } bottom: "data" top: "p" }',
    "2013 and 2014": _HEAD + _V0 + 'layers { name: "z" type: TANH bottom: "fc" top: "z" }',
    "2013 with input_shape": 'input: "data" input_shape { dim: 2 dim: 4 dim: 12 dim: 12 }' + _V0,
    "2013, a padded ReLU": _HEAD
    + 'layers { layer { name: "p" type: "padding" pad: 1 } bottom: "data" top: "p" }\n'
    + 'layers { layer { name: "r" type: "relu" } bottom: "p" top: "r" }',
    "2013, an unknown bottom": _HEAD + _V0.replace('bottom: "pool1"', 'bottom: "pool2"'),
    "2014 without type": _HEAD + 'layers { name: "c" bottom: "data" top: "c" }',
    "2014 and now": _HEAD + _V1 + _RELU,
    "a rate of BatchNorm": _HEAD + _BATCH_NORM + "}",
    "too few input_dim": 'input: "data" input_dim: 2 input_dim: 4\n' + _RELU,
}
