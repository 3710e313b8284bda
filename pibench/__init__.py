"""Run, measure and cross-check Caffe networks for a Raspberry Pi 3."""

__version__ = "0.1.0"
