"""How networks are trained: what both frameworks share, and a folder for each of the two."""
