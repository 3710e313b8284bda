"""Plan the peak memory of stock Caffe from the prototxt: nothing is run.

A network becomes the Net that Caffe sets up (`graph`). Each layer type replays its memory accesses
(`layers/`) in the order of the measured program (`planner`, `weights`). A model of malloc
(`malloc`) and of OpenBLAS's buffers (`openblas`) gives the part that is resident (`process`).
Figures that had to be measured are in `calibration.toml`. `answers` has what follows from a plan.
"""
