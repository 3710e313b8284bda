"""ncnn."""

from .forward import LogReader, command_of, versions_of

# What a layer of ncnn returns where an allocation failed.
NO_MEMORY = -100
versions = versions_of("ncnn")
__all__ = ["LogReader", "Net", "command_of", "load", "versions"]


def load(spec):
    import ncnn

    ncnn.set_omp_num_threads(spec["threads"])


class Net(object):
    """A .param file with its .bin, which have no batch: the axis of length 1 is left out."""

    def __init__(self, spec):
        import ncnn

        self.net = ncnn.Net()
        self.net.opt.num_threads = spec["threads"]
        if spec["settings"].get("winograd") == "off":
            self.net.opt.use_winograd_convolution = False
        if spec["settings"].get("fp16") == "off":
            self.net.opt.use_fp16_packed = False
            self.net.opt.use_fp16_storage = False
            self.net.opt.use_fp16_arithmetic = False
        if spec["layers"]:
            # Otherwise it reuses the memory of blobs that were read.
            self.net.opt.lightmode = False
        # It reports failures by a number.
        if self.net.load_param(spec["model"]) or self.net.load_model(spec["weights"]):
            raise ValueError("ncnn could not read the model")
        self.inputs = [end["inside"] for end in spec["ends"]["inputs"]]
        self.outputs = [(end["inside"], end["shape"]) for end in spec["ends"]["outputs"]]

    def forward(self, arrays):
        import ncnn
        import numpy

        extractor = self.net.create_extractor()
        for at, name in enumerate(self.inputs):
            array = arrays[at]
            # A copy that belongs to ncnn, which layers in place may overwrite.
            extractor.input(name, ncnn.Mat(array[0] if array.ndim > 1 else array).clone())
        found = []
        for name, shape in self.outputs:
            failed, blob = extractor.extract(name)
            if failed:
                what = MemoryError if failed == NO_MEMORY else ValueError
                raise what("ncnn could not compute the blob {}".format(name))
            found.append(numpy.array(blob).reshape(shape))
        return found
