"""Describe Caffe's forks and patches: fields and layer types that stock Caffe lacks."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

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
