"""Predict milliseconds on the board from the work of a network: nothing is run.

`work` counts what each layer does from its shapes, as Caffe 1.0's CPU code does it. `model` turns
counts into time with the rates of a board (`rpi3b.json`). `pressure` adds the cost of running
at the edge of the board's memory. `fit` fits the rates to times of a board and estimates their
error for networks that were not part of the fit.
"""
