"""Infer shapes of layers that multiply by a matrix."""

from __future__ import annotations

from pibench.engines.caffe.shapes.contract import Layer, Made, Refused, Shape, axis_index, elements


def inner_product(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer an InnerProduct; weights: outputs x inputs from `axis` on (or transposed)."""
    param = layer.inner_product_param
    axis = axis_index(param.axis, bottoms[0])
    inputs = elements(bottoms[0][axis:])
    if param.num_output < 1:
        raise Refused("num_output is missing or 0", "set num_output")
    weights = (inputs, param.num_output) if param.transpose else (param.num_output, inputs)
    params: list[Shape] = [weights, (param.num_output,)] if param.bias_term else [weights]
    return [(*bottoms[0][:axis], param.num_output)], params


def embed(layer: Layer, bottoms: list[Shape]) -> Made:
    param = layer.embed_param
    if param.num_output < 1 or param.input_dim < 1:
        raise Refused("num_output or input_dim is missing or 0", "set both")
    params: list[Shape] = [(param.input_dim, param.num_output)]
    if param.bias_term:
        params.append((param.num_output,))
    return [(*bottoms[0], param.num_output)], params
