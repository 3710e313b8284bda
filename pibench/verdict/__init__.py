"""Does a network fit a device? What was seen of a run, or planned, and what follows from it."""
