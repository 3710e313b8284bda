"""Decide whether a network fits a device, from an observed run or from a plan."""
