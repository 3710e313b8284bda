"""One forward pass in pycaffe with a mark before each layer, for QEMU's counter (qemu/counter)."""

import ctypes
import json
import os

# A system call that no kernel has; the counter recognizes it (MARK in counter.c).
MARK = 0x70696265
OUTSIDE = -1


def run_counted(spec):
    """Set the network up, run it once uncounted and once with marks, and print its layers."""
    import numpy

    os.environ.setdefault("GLOG_minloglevel", "2")
    import caffe

    caffe.set_mode_cpu()
    caffe.set_random_seed(spec["seed"])
    phase = caffe.TRAIN if spec["training"] else caffe.TEST
    net = caffe.Net(spec["model"], phase)
    random = numpy.random.RandomState(spec["seed"])
    for name in net.inputs:
        blob = net.blobs[name]
        blob.data[...] = random.uniform(-1.0, 1.0, size=blob.data.shape)
    system_call = ctypes.CDLL(None).syscall
    system_call.argtypes = [ctypes.c_long, ctypes.c_long]
    forward = net._forward
    count = len(net.layers)
    # A pass that does not count allocates the memory and warms OpenBLAS up.
    forward(0, count - 1)
    for index in range(count):
        system_call(MARK, index)
        forward(index, index)
        system_call(MARK, OUTSIDE)
    names = list(net._layer_names)
    layers = [{"name": names[index], "type": net.layers[index].type} for index in range(count)]
    print("PIBENCH-RESULT " + json.dumps({"layers": layers}), flush=True)
