"""Training in Keras: data, checkpoints and the training itself."""
