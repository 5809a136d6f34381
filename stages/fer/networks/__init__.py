"""One file per network, with all that is particular to it."""
