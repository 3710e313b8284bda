"""Judge records: the verdict with its evidence, and the paper's table cell by cell.

Nothing here runs a network: records go in, verdicts and claims come out.
"""
