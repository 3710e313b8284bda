"""What a network's forward pass executes on the board's CPU, counted instruction by instruction.

QEMU's user-mode emulator runs real Caffe with a plugin of ours (`qemu/counter`). Its times mean
nothing; its instructions are the board's own. `emulator` finds a QEMU that loads plugins,
`run` runs a network in it, `store` keeps counts, which never change.
"""
