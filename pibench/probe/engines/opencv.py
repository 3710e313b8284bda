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
        self.layers = [
            end["inside"] if end["inside"] in names else end["name"]
            for end in spec["ends"]["outputs"]
        ]
        self.tops = [end["top"] for end in spec["ends"]["outputs"]]

    def forward(self, arrays):
        for at, name in enumerate(self.inputs):
            self.net.setInput(arrays[at], name)
        blobs = self.net.forwardAndRetrieve(self.layers)
        return [blobs[at][top] for at, top in enumerate(self.tops)]
