"""Find the first layer whose output differs between two runs: `sides` runs, `search` finds."""
