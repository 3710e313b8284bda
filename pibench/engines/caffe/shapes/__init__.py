"""Infer the shape of every blob and parameter of a network, by Caffe's own rules.

A shape is a tuple of element counts, N x C x H x W for images; () is a scalar. The table RULES has
one entry per layer type of Caffe 1.0; its functions follow the Reshape and LayerSetUp of that type
and reject what Caffe's checks abort on.
"""

from pibench.engines.caffe.shapes.contract import MAX_ELEMENTS, Shape, elements, times
from pibench.engines.caffe.shapes.inference import Shapes, infer
from pibench.engines.caffe.shapes.rules import DATA_TYPES, RULES

__all__ = ["DATA_TYPES", "MAX_ELEMENTS", "RULES", "Shape", "Shapes", "elements", "infer", "times"]
