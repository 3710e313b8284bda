"""OpenCV's DNN module."""

from .forward import LogReader, command_of, versions_of

versions = versions_of("cv2")
__all__ = ["LogReader", "Net", "command_of", "load", "versions"]


def load(spec):
    import cv2

    cv2.setNumThreads(spec["threads"])


class Net(object):
    """A prototxt with its caffemodel, or an ONNX model."""

    def __init__(self, spec):
        import cv2

        self.is_onnx = spec["model"].endswith(".onnx")
        if self.is_onnx:
            self.net = cv2.dnn.readNetFromONNX(spec["model"])
        else:
            self.net = cv2.dnn.readNetFromCaffe(spec["model"], spec["weights"])
        self.net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        if spec["settings"].get("winograd") == "off":
            self.net.enableWinograd(False)
        if spec["settings"].get("fusion") == "off":
            self.net.enableFusion(False)
        self.inputs = [end["inside"] for end in spec["ends"]["inputs"]]
        names = set(self.net.getLayerNames())
        # The importer calls convolutions by their blob.
        self.outputs = [
            (end["inside"] if end["inside"] in names else end["name"], end["top"])
            for end in spec["ends"]["outputs"]
        ]
        self.layers = sorted({layer for layer, _ in self.outputs})
        self.gives_layers = bool(spec["layers"])
        if self.gives_layers:
            self.layers = [layer for layer in self.layers if layer in names]
        self.shapes = [end["shape"] for end in spec["ends"]["outputs"]]
        absent = [name for name in self.layers if name not in names]
        if absent:
            raise ValueError("OpenCV gives no output {}".format(absent[0]))

    def forward(self, arrays):
        for at, name in enumerate(self.inputs):
            # It computes with float32, whatever type an ONNX model declares.
            array = arrays[at].astype("f4", copy=False) if self.is_onnx else arrays[at]
            self.net.setInput(array, name)
        # What is asked for is not overwritten later, but of a layer's tops only the first one.
        retrieved = self.net.forwardAndRetrieve(self.layers)
        blobs = {layer: retrieved[at] for at, layer in enumerate(self.layers)}
        if self.gives_layers:
            for layer in sorted({layer for layer, top in self.outputs if top and layer in blobs}):
                blobs[layer] = self.net.forwardAndRetrieve([layer])[0]
        found = [blobs[layer][top] if layer in blobs else None for layer, top in self.outputs]
        return [self.shaped(array, at) for at, array in enumerate(found)]

    def shaped(self, array, at):
        """Return an output with the axes that an ONNX model declares: OpenCV has two at least."""
        shape = self.shapes[at] if self.is_onnx else None
        if shape is None or array is None or array.size != product(shape):
            return array
        return array.reshape(shape)


def product(shape):
    size = 1
    for axis in shape:
        size *= axis
    return size
