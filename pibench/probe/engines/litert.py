"""LiteRT."""

from .forward import LogReader, command_of, versions_of

versions = versions_of("ai_edge_litert")
__all__ = ["LogReader", "Net", "command_of", "load", "versions"]


def load(spec):  # noqa: ARG001
    import ai_edge_litert.interpreter  # noqa: F401


class Net(object):
    """A TFLite model; inputs and outputs are in the file's order."""

    def __init__(self, spec):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        resolver = OpResolverType.AUTO
        if spec["settings"].get("xnnpack") == "off":
            resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self.net = Interpreter(
            model_path=spec["model"],
            num_threads=spec["threads"],
            experimental_op_resolver_type=resolver,
        )
        inputs = self.net.get_input_details()
        for at, end in enumerate(spec["ends"]["inputs"]):
            if list(inputs[at]["shape"]) != end["shape"]:
                self.net.resize_tensor_input(inputs[at]["index"], end["shape"])
        self.net.allocate_tensors()
        self.inputs = [one["index"] for one in inputs]
        self.outputs = [one["index"] for one in self.net.get_output_details()]

    def forward(self, arrays):
        for at, index in enumerate(self.inputs):
            self.net.set_tensor(index, arrays[at])
        self.net.invoke()
        return [self.net.get_tensor(index) for index in self.outputs]
