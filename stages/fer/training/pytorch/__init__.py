"""The PyTorch side, by Lightning: data, checkpoints, files, the training, and a trained network in use."""
