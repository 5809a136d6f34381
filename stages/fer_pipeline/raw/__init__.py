"""From what people have on disk to rows of faces, labels and votes."""
