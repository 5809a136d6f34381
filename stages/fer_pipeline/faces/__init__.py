"""The prepared data set, faces.h5: its terms, its layout, writing and reading it."""
