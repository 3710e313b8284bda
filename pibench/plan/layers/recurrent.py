"""Model recurrent layers: each runs a net of its own, unrolled over the time steps."""

from __future__ import annotations

from pibench.engines.caffe import shapes
from pibench.engines.caffe.shapes.recurrent import STATES, exposed, has_static_input, unrolled
from pibench.plan import graph, net
from pibench.plan.layers.base import Layer


class Recurrent(Layer):
    """src/caffe/layers/recurrent_layer.cpp: LSTM and RNN.

    Every time step fills weights of its own, until the inner net shares those of the first.
    """

    no_gradient_to = 1

    def set_up(self) -> None:
        proto, name = self.node.proto, self.node.name
        inner = unrolled(proto, [blob.shape for blob in self.bottoms])
        nodes = graph.build(shapes.infer(inner, path=name), force_backward=False)
        found = {blob.name: blob for node in nodes for blob in node.tops}
        steps = self.bottoms[1].shape[0]
        last = {"h": f"h_{steps}", "c": "c_T"}
        self.inputs = [found[name] for name in ("x", "cont", "x_static") if name in found]
        self.starts = [found[f"{state}_0"] for state in STATES[self.node.type]]
        self.ends = [found[last[state]] for state in STATES[self.node.type]]
        self.output = nodes[-1].bottoms[0]
        self._own(nodes)
        made = net.set_up(
            self.process,
            nodes,
            inner.ByteSize(),
            self.make,
            training=self.training,
            unrolled=True,
        )
        # The last one is the loss, which never runs.
        self.layers = list(made)[:-1]
        for blob in self.ends:
            self.process.write(blob.diff)
        self.share()

    def _own(self, nodes: list[graph.Node]) -> None:
        """Attribute the inner net's memory to this layer, and let its parameters be this one's."""
        mine = iter(self.params)
        shared = set()
        for node in nodes:
            node.name = self.node.name
            for blob in (*node.tops, *node.params):
                blob.data.layer = blob.diff.layer = self.node.name
            for index, spec in enumerate(node.proto.param):
                if spec.name not in shared:
                    shared.add(spec.name)
                    node.params[index] = next(mine)

    def share(self) -> None:
        """Replay Reshape: the inner inputs are the bottoms, the inner output is the top."""
        for blob, bottom in zip(self.inputs, self.bottoms, strict=False):
            blob.data = bottom.data
            if blob.name != "cont":
                blob.diff = bottom.diff
        if exposed(self.node.proto):
            states = self.bottoms[2 + has_static_input(self.node.proto) :]
            for blob, bottom in zip(self.starts, states, strict=True):
                blob.data = bottom.data
        self.tops[0].data, self.tops[0].diff = self.output.data, self.output.diff

    def forward(self) -> None:
        """Run the inner net, from the bottoms' states or those that the pass before ended with."""
        self.share()
        if not exposed(self.node.proto):
            for start, end in zip(self.starts, self.ends, strict=True):
                self.process.read(end.data)
                self.process.write(start.data)
        for layer in self.layers:
            layer.forward()
        for top, end in zip(self.tops[1:], self.ends, strict=False):
            top.data = end.data

    def backward(self) -> None:
        """Run the inner net backward, whichever gradients are needed."""
        for layer in reversed(self.layers):
            if layer.node.needs_backward:
                layer.backward()


class LstmUnit(Layer):
    """src/caffe/layers/lstm_unit_layer.cpp: only the GPU's code has buffers."""

    no_gradient_to = 2

    def backward(self) -> None:
        """Write the gradients of cell and gates, if one of them is needed."""
        if any(self.node.propagate[:2]):
            for blob in self.tops:
                self.process.read(blob.diff)
            for blob in self.bottoms[:2]:
                self.process.write(blob.diff)
