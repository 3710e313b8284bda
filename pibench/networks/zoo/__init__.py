"""Build the networks of the paper, one module per architecture family.

Each module reads like its architecture; `pibench.networks.catalog` states which function with which
arguments makes which row of the paper.
"""
