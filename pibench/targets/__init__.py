"""Start the probe where a network is to run, and check what it reports."""
