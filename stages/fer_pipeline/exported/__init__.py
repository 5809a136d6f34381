"""Exported networks: the ONNX files and how they are run."""
