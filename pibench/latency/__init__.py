"""Milliseconds on the board, predicted from the work that a network is: nothing is run.

`work` counts what each layer does from its shapes, as Caffe 1.0's CPU code does it; `model`
turns counts into time with the rates of a calibration (`rpi3b.json`), `pressure` adds what a
network pays at the edge of the board's memory, `fit` finds the rates from times of a board
and says how far off they are for a network that they have not seen.
"""
