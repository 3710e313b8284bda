"""Pack networks for a board without a connection, and import its results."""
