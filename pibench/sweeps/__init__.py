"""Run a sweep: a matrix of cells, each one run of a network; an interrupted sweep can resume.

`matrix` lists the cells and has their keys, `journal` stores and caches the records, `execute`
runs as many cells at once as fit the machine, `scheduler` calls these, `study` finds a study and
runs it.
"""
