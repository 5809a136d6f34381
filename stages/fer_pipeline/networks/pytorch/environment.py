"""What a training sets before PyTorch is imported."""

import os


def enter() -> None:
    """Have CUDA's products of matrices repeat their results; PyTorch refuses deterministic ones without it."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
