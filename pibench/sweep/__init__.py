"""A sweep: a matrix of cells, each one network run in one way, that survives what kills it.

`matrix` lists the cells, `cell_key` computes what decides each one's result, `journal` keeps
the records, `room` runs as many cells at once as the machine has room for, `execute` runs one.
"""
