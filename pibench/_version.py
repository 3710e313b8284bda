"""Define the version of pibench, in this file only."""

__version__ = "0.1.0"
