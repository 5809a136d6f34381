"""The Keras side: data, checkpoints, files, the training, and a trained network in use."""
