"""ONNX Runtime."""

from .forward import LogReader, command_of, versions_of

versions = versions_of("onnxruntime")
__all__ = ["LogReader", "Net", "command_of", "load", "versions"]


def load(spec):  # noqa: ARG001
    import onnxruntime

    # Some of its warnings are about every small machine.
    onnxruntime.set_default_logger_severity(3)


class Net(object):
    """An ONNX model."""

    def __init__(self, spec):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = spec["threads"]
        if spec["settings"].get("arena") == "off":
            options.enable_cpu_mem_arena = False
        if spec["settings"].get("optimization") == "off":
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = onnxruntime.InferenceSession(
            spec["model"], options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [end["inside"] for end in spec["ends"]["inputs"]]
        self.outputs = [end["inside"] for end in spec["ends"]["outputs"]]

    def forward(self, arrays):
        named = {name: arrays[at] for at, name in enumerate(self.inputs)}
        return self.session.run(self.outputs, named)
