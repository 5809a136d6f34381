"""Trained Keras networks: their files, and what they predict."""
