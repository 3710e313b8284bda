"""Infer LSTM and RNN, and unroll them into the network that Caffe builds inside such a layer.

Follows recurrent_layer.cpp, lstm_layer.cpp, rnn_layer.cpp and lstm_unit_layer.cpp of
src/caffe/layers/. A blob begins with the time steps and the streams (the batch).
"""

from __future__ import annotations

from typing import Any, Final

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe.shapes.checks import (
    Layer,
    Made,
    Refused,
    Shape,
    check_count,
    check_size,
    elements,
    times,
)

STATES: Final = {"LSTM": ("h", "c"), "RNN": ("h",)}
"""The blobs that each type hands from one time step to the next."""
_GATES: Final = {"LSTM": 4, "RNN": 1}


def exposed(layer: Layer) -> int:
    """Return how many states are bottoms and tops of the layer."""
    return len(STATES[layer.type]) if layer.recurrent_param.expose_hidden else 0


def has_static_input(layer: Layer) -> bool:
    """Return whether bottom 2 is one input for all time steps."""
    return len(layer.bottom) > 2 + exposed(layer)


def recurrent(layer: Layer, bottoms: list[Shape]) -> Made:
    """Infer an LSTM or an RNN; parameters are those of the unrolled network, each once."""
    states, outputs = exposed(layer), layer.recurrent_param.num_output
    check_count("bottom", len(bottoms), (2 + states, 3 + states))
    check_count("top", len(layer.top), (1 + states, 1 + states))
    if outputs < 1:
        raise Refused("num_output is missing or 0", "set num_output")
    values, indicators, *rest = bottoms
    if len(values) < 3:
        raise Refused(
            f"bottom 0 is {times(values)}, not time steps x streams x values", "reshape it"
        )
    if indicators != values[:2]:
        raise Refused(
            f"bottom 1 is {times(indicators)} where bottom 0 begins with {times(values[:2])}",
            "it has one indicator for each time step and stream",
        )
    steps, streams = indicators
    width = _GATES[layer.type] * outputs
    check_size("the gates of all time steps", (steps, streams, width))
    params: list[Shape] = [(width, elements(values[2:])), (width,)]
    if has_static_input(layer):
        static = rest.pop(0)
        if len(static) < 2 or static[0] != streams:
            raise Refused(
                f"bottom 2 is {times(static)}, not {streams} streams x values", "reshape it"
            )
        params.append((width, elements(static[1:])))
    params.append((width, outputs))
    if layer.type == "RNN":
        params += [(outputs, outputs), (outputs,)]
    state = (1, streams, outputs)
    for shape in rest:
        if shape != state:
            raise Refused(f"a state is {times(shape)}, not {times(state)}", "correct its shape")
    return [(steps, streams, outputs), *[state] * states], params


def lstm_unit(_: Layer, bottoms: list[Shape]) -> Made:
    """Infer an LSTMUnit: cell, gates and indicators of one time step."""
    cell, gates, indicators = bottoms
    streams, outputs = cell[1:2], cell[2:]
    if (cell, gates, indicators) != (
        (1, *streams, *outputs),
        (1, *streams, *(4 * size for size in outputs)),
        (1, *streams),
    ) or len(cell) != 3:
        raise Refused(
            f"its bottoms are {', '.join(map(times, bottoms))}",
            "give 1 x streams x values, 1 x streams x four times the values, 1 x streams",
        )
    return [cell, cell], []


def unrolled(layer: Layer, bottoms: list[Shape]) -> caffe.NetParameter:
    """Return the network inside an LSTM or RNN that `recurrent` accepts.

    Its first layers are the inputs: the bottoms without states, then the states. The last one is a
    loss that is never run: it makes the backward pass reach the weights.
    """
    net = _Unrolled(layer, bottoms)
    (net.lstm if layer.type == "LSTM" else net.rnn)()
    net.add("Reduction", "pseudoloss", [net.output], [f"{net.output}_pseudoloss"], loss_weight=[1])
    return net.net


class _Unrolled:
    """The unrolled network, layer by layer. Names are Caffe's: they are part of its log."""

    def __init__(self, layer: Layer, bottoms: list[Shape]) -> None:
        self.net = caffe.NetParameter()
        self.prefix = f"{layer.name}_" if layer.name else ""
        self.asked = layer.recurrent_param
        self.width = _GATES[layer.type] * self.asked.num_output
        self.steps, streams = bottoms[1]
        self.static = has_static_input(layer)
        self.output = "h" if layer.type == "LSTM" else "o"
        names = ["x", "cont", "x_static"][: 2 + self.static]
        self._input(names, bottoms[: len(names)])
        states = [f"{state}_0" for state in reversed(STATES[layer.type])]
        self._input(states, [(1, streams, self.asked.num_output)] * len(states))

    def add(
        self, kind: str, name: str, bottoms: list[str], tops: list[str], **more: Any
    ) -> caffe.LayerParameter:
        return self.net.layer.add(
            type=kind, name=self.prefix + name, bottom=bottoms, top=tops, **more
        )

    def _input(self, names: list[str], shapes: list[Shape]) -> None:
        given = caffe.InputParameter(shape=[caffe.BlobShape(dim=shape) for shape in shapes])
        self.add("Input", "", [], names, input_param=given)

    def _product(
        self, name: str, bottom: str, top: str, *params: str, axis: int = 2, **more: Any
    ) -> None:
        """Add an InnerProduct with named parameters: the weights, and a bias if it has two."""
        biased = len(params) > 1
        product = caffe.InnerProductParameter(
            num_output=self.width, bias_term=biased, axis=axis,
            weight_filler=self.asked.weight_filler,
        )  # fmt: skip
        if biased:
            product.bias_filler.CopyFrom(self.asked.bias_filler)
        specs = [caffe.ParamSpec(name=param) for param in params]
        self.add("InnerProduct", name, [bottom], [top], param=specs, inner_product_param=product,
                 **more)  # fmt: skip

    def _inputs(self, weights: str, bias: str) -> str:
        """Cut indicators and transformed inputs into time steps; return the latter's name."""
        numbers = range(1, self.steps + 1)
        cut = caffe.SliceParameter(axis=0)
        self.add("Slice", "cont_slice", ["cont"], [f"cont_{t}" for t in numbers], slice_param=cut)
        gates = f"{weights}_x"
        self._product("x_transform", "x", gates, weights, bias, propagate_down=[True])
        if self.static:
            name, before = f"{gates}_static", f"{gates}_static_preshape"
            self._product(name, "x_static", before, f"{weights}_static", axis=1,
                          propagate_down=[True])  # fmt: skip
            shape = caffe.ReshapeParameter(shape=caffe.BlobShape(dim=[1, -1, self.width]))
            self.add("Reshape", f"{name}_reshape", [before], [name], reshape_param=shape)
        self.add("Slice", f"{gates}_slice", [gates], [f"{gates}_{t}" for t in numbers],
                 slice_param=cut)  # fmt: skip
        return gates

    def _step(self, t: int, gates: str, weights: str, transform: str, summed: str) -> None:
        """Add state and input of time step `t`; an indicator of 0 drops the state before."""
        state, kept, product = f"h_{t - 1}", f"h_conted_{t - 1}", f"{weights}_h_{t - 1}"
        by_stream = caffe.ScaleParameter(axis=0)
        self.add("Scale", kept, [state, f"cont_{t}"], [kept], scale_param=by_stream)
        self._product(transform, kept, product, weights)
        terms = [product, f"{gates}_{t}", *[f"{gates}_static"] * self.static]
        add_up = caffe.EltwiseParameter(operation=caffe.EltwiseParameter.SUM)
        self.add("Eltwise", summed, terms, [summed], eltwise_param=add_up)

    def _join(self) -> None:
        parts = [f"{self.output}_{t}" for t in range(1, self.steps + 1)]
        along = caffe.ConcatParameter(axis=0)
        self.add("Concat", f"{self.output}_concat", parts, [self.output], concat_param=along)

    def lstm(self) -> None:
        gates = self._inputs("W_xc", "b_c")
        for t in range(1, self.steps + 1):
            summed = f"gate_input_{t}"
            self._step(t, gates, "W_hc", f"transform_{t}", summed)
            read = [f"c_{t - 1}", summed, f"cont_{t}"]
            self.add("LSTMUnit", f"unit_{t}", read, [f"c_{t}", f"h_{t}"])
        self.add("Split", "", [f"c_{self.steps}"], ["c_T"])
        self._join()

    def rnn(self) -> None:
        gates = self._inputs("W_xh", "b_h")
        for t in range(1, self.steps + 1):
            summed, before = f"h_neuron_input_{t}", f"W_ho_h_{t}"
            self._step(t, gates, "W_hh", f"W_hh_h_{t - 1}", summed)
            self.add("TanH", f"h_neuron_{t}", [summed], [f"h_{t}"])
            self._product(before, f"h_{t}", before, "W_ho", "b_o")
            self.add("TanH", f"o_neuron_{t}", [before], [f"o_{t}"])
        self._join()
