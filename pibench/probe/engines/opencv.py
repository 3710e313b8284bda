"""OpenCV's DNN module."""

from .forward import LogReader, command_of, versions_of

versions = versions_of("cv2")
__all__ = ["LogReader", "Net", "command_of", "load", "versions"]


def load(spec):
    import cv2

    cv2.setNumThreads(spec["threads"])


class Net(object):
    """A prototxt with its caffemodel."""

    def __init__(self, spec):
        import cv2

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

    def forward(self, arrays):
        for at, name in enumerate(self.inputs):
            self.net.setInput(arrays[at], name)
        # What is asked for is not overwritten later, but of a layer's tops only the first one.
        retrieved = self.net.forwardAndRetrieve(self.layers)
        blobs = {layer: retrieved[at] for at, layer in enumerate(self.layers)}
        if self.gives_layers:
            for layer in sorted({layer for layer, top in self.outputs if top and layer in blobs}):
                blobs[layer] = self.net.forwardAndRetrieve([layer])[0]
        return [blobs[layer][top] if layer in blobs else None for layer, top in self.outputs]
