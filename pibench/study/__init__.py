"""A study: a matrix of cells, each one network run in one way, that survives what kills it.

`matrix` says which cells there are, `key` what decides each one's result, `journal` keeps
the records, `schedule` runs as many cells at once as fit, `execute` runs one.
"""
