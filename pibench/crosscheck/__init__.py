"""Judges records: the verdict with its evidence, and the paper's table cell by cell.

Nothing here runs anything: it takes records and gives verdicts and claims.
"""
