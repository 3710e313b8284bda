"""How the lines begin that a measured program says to the probe; the rest of each is JSON."""

RESULT = "PIBENCH-RESULT "
SIGNATURE = "PIBENCH-SIGNATURE "
BLOB = "PIBENCH-BLOB "
