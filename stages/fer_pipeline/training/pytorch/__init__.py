"""Training in PyTorch, by Lightning: data, checkpoints and the training itself."""
