"""Cycles of a core for decoded machine code, by published rules: no time of any board enters.

`decode` turns machine code into instructions of an A64 or an A32 core, `core` reads what a kind of
core does with them (a TOML file per core), `pipeline` issues a loop in order and counts cycles.
The stacks of `pibench.latency` are made with it by a script, and `pibench count --cycles` applies
it to the blocks that QEMU ran.
"""
