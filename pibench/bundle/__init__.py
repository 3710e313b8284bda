"""Networks packed for a board without a connection, and the results that come back from it."""
