"""Count the instructions that a network's forward pass executes on the board's CPU.

QEMU's user-mode emulator runs real Caffe with pibench's plugin (`qemu/counter`). Its times mean
nothing; its instructions are the board's own. Counts never change, so they are cached.
"""
