"""One file per network, and how trained networks are stored, loaded and run."""
