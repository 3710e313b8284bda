"""Run a sweep: a matrix of cells, each one run of a network; an interrupted sweep can resume.

`matrix` lists the cells, `cell_key` computes the key of what determines each result, `journal`
stores the records, `room` runs as many cells at once as fit the machine, `execute` runs one.
"""
