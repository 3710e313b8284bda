"""Find the first layer of a network whose output differs between two runs."""
