"""The peak memory of stock Caffe, planned from the prototxt alone: nothing is run.

A network becomes the Net that Caffe sets up (`graph`), each layer type replays its accesses
to memory (`layers/`) in the order of the measured program (`protocols`, `weights`), and a
model of malloc (`malloc`) and of OpenBLAS's buffers (`openblas`) says what of it is resident
(`process`). `planner` puts these together. What had to be measured is in `calibration.toml`.
"""
