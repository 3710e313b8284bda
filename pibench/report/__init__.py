"""Present records and claims to people; see `pibench.report.terminal`."""
