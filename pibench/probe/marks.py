"""Prefixes of the lines that a measured program prints for the probe; the rest is JSON."""

RESULT = "PIBENCH-RESULT "
SIGNATURE = "PIBENCH-SIGNATURE "
OUTPUT = "PIBENCH-OUTPUT "
VALUES = "PIBENCH-VALUES "
BLOB = "PIBENCH-BLOB "
