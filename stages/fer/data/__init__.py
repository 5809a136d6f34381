"""From what people have on disk to faces.h5."""
