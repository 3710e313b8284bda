"""Convert first-generation layers (2014's `layers { type: CONVOLUTION }`) to current ones.

Also describe the fields and layer types of Caffe's forks and patches, which stock Caffe lacks.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TYPES = {
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "ELTWISE": "Eltwise",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "TANH": "TanH",
    "THRESHOLD": "Threshold",
    "WINDOW_DATA": "WindowData",
}
"""The type enum of V1LayerParameter, and the current type strings."""


def upgrade(net: caffe.NetParameter, path: object, order: Sequence[str] = ()) -> int:
    """Turn every `layers` of `net` into a `layer`, in place; return how many there were.

    Args:
        net: The network.
        path: Its name in errors.
        order: The top-level messages in the order of the text ("layer" or "layers"), for files that
            mix both.

    Raises:
        InvalidInputError: The file has the still older form of 2013.
    """
    upgraded = [_upgraded(layer, path) for layer in net.layers]
    if not upgraded:
        return 0
    old, new = iter(upgraded), iter(list(net.layer))
    merged = [next(old if name == "layers" else new, None) for name in order]
    layers = [layer for layer in (*merged, *old, *new) if layer is not None]
    net.ClearField("layers")
    net.ClearField("layer")
    net.layer.extend(layers)
    return len(upgraded)


def _upgraded(old: caffe.V1LayerParameter, path: object) -> caffe.LayerParameter:
    if old.HasField("layer"):
        raise InvalidInputError.at(
            str(path),
            f"layer '{old.layer.name}'",
            "has a 'layer' inside 'layers' (the 2013 format), which pibench cannot repair",
            hint="upgrade the file with Caffe's own upgrade_net_proto_text",
        )
    kind = caffe.V1LayerParameter.LayerType.Name(old.type)
    new = caffe.LayerParameter(name=old.name, type=TYPES.get(kind, ""))
    for field, value in old.ListFields():
        if field.name in ("name", "type", "param"):
            continue
        if field.name in new.DESCRIPTOR.fields_by_name:
            if isinstance(value, (bool, int, float, str)):
                setattr(new, field.name, value)
            elif hasattr(value, "extend"):
                getattr(new, field.name).extend(value)
            else:
                getattr(new, field.name).CopyFrom(value)
    _carry_param_specs(old, new)
    return new


def _carry_param_specs(old: caffe.V1LayerParameter, new: caffe.LayerParameter) -> None:
    """Convert blobs_lr, weight_decay, names and share modes of the parameters to `param`."""
    count = max(len(old.param), len(old.blob_share_mode), len(old.blobs_lr), len(old.weight_decay))
    for index in range(count):
        spec = new.param.add()
        if index < len(old.param):
            spec.name = old.param[index]
        if index < len(old.blob_share_mode):
            strict = old.blob_share_mode[index] == caffe.V1LayerParameter.STRICT
            spec.share_mode = caffe.ParamSpec.STRICT if strict else caffe.ParamSpec.PERMISSIVE
        if index < len(old.blobs_lr):
            spec.lr_mult = old.blobs_lr[index]
        if index < len(old.weight_decay):
            spec.decay_mult = old.weight_decay[index]


FIELDS = {
    "ceil_mode": "a private patch; stock Caffe has round_mode",
    "engine": "an engine of Intel's fork",
    "shuffle": "a field of Intel's fork",
    "shuffle_param": "a field of Intel's fork",
    "bn_stats": "a field of Intel's fork",
    "multinode": "a field of Intel's fork",
    "fusion_type": "a field of Intel's fork",
    "relu": "a field of Intel's fork",
    "negative_slope": "a field of Intel's fork",
    "bn_param": "of the SegNet fork",
    "upsample_param": "of the SegNet fork",
    "permute_param": "of the SSD fork",
    "prior_box_param": "of the SSD fork",
    "norm_param": "of the SSD fork",
    "detection_output_param": "of the SSD fork",
    "multibox_loss_param": "of the SSD fork",
    "roi_pooling_param": "of the Fast R-CNN fork",
    "smooth_l1_loss_param": "of the Fast R-CNN fork",
    "interp_param": "of the DeepLab and PSPNet forks",
    "shuffle_channel_param": "of the ShuffleNet patch",
    "quantization_param": "of the Ristretto fork",
    "lpfp_param": "of the Ristretto fork",
    "cudnn_param": "of NVIDIA's fork",
    "forward_type": "of NVIDIA's fork",
    "backward_type": "of NVIDIA's fork",
    "forward_math": "of NVIDIA's fork",
    "backward_math": "of NVIDIA's fork",
    "default_forward_type": "of NVIDIA's fork",
    "default_backward_type": "of NVIDIA's fork",
}
"""Field name to its origin."""

DEPTHWISE_TYPES = ("ConvolutionDepthwise", "DepthwiseConv", "DepthwiseConvolution")
"""Layer types of patches that stock Caffe replaces by a Convolution with groups."""

LAYER_TYPES = {
    "Axpy": "the SENet patch",
    "BN": "the SegNet fork",
    **dict.fromkeys(DEPTHWISE_TYPES, "a depthwise patch (stock Caffe: Convolution with group)"),
    "DetectionOutput": "the SSD fork",
    "Interp": "the DeepLab and PSPNet forks",
    "MultiBoxLoss": "the SSD fork",
    "Normalize": "the SSD fork",
    "Permute": "the SSD fork",
    "PriorBox": "the SSD fork",
    "PSROIPooling": "the R-FCN fork",
    "ReLU6": "a ReLU6 patch",
    "ROIPooling": "the Fast R-CNN fork",
    "ShuffleChannel": "the ShuffleNet patch",
    "SmoothL1Loss": "the Fast R-CNN fork",
    "Upsample": "the SegNet fork",
}
"""Layer type to its origin."""


def describe_field(name: str, value: str) -> str | None:
    """Return the origin of an unknown field (or an unknown value of a known one), if known."""
    if "MKL" in value.upper():
        return "an engine of Intel's fork"
    return FIELDS.get(name)


def describe_type(kind: str, known: Iterable[str]) -> str | None:
    """Return the origin of an unknown layer type, or the most similar stock type."""
    if kind in LAYER_TYPES:
        return f"it is of {LAYER_TYPES[kind]}"
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(kind.lower(), list(by_lower), n=1, cutoff=0.6)
    return f"did you mean {by_lower[close[0]]!r}?" if close else None
