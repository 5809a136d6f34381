"""Training in PyTorch: data, steps, checkpoints and the training itself."""
