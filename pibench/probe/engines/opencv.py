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
        names = set(self.net.getLayerNames())
        # The layer that makes each output, and which of its tops it is. The importer calls
        # convolutions by their blob.
        self.made_by = [
            (layer if layer in names else spec["blobs"]["outputs"][at][0], top)
            for at, (layer, top) in enumerate(spec["blobs"]["made_by"])
        ]

    def forward(self, inputs):
        for name, array in inputs:
            self.net.setInput(array, name)
        layers = list(dict.fromkeys(layer for layer, _ in self.made_by))
        blobs = dict(zip(layers, self.net.forwardAndRetrieve(layers)))
        return [blobs[layer][top] for layer, top in self.made_by]
