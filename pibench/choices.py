"""The values that options and fields of records share, each named once."""

from __future__ import annotations

from typing import Literal

Protocol = Literal["caffe-time", "inference"]
"""What is run: forward and backward as the paper does, or forward passes alone."""
Compute = Literal["real", "memory-only"]
"""Whether the engine computes, or only touches the memory that it would."""
Machine = Literal["virt", "raspi3b"]
"""The machines that target vm emulates."""
Repair = bool | Literal["paper"]
"""Whether what stock Caffe rejects is fixed; "paper" takes `ceil_mode: false` out, as it did."""
