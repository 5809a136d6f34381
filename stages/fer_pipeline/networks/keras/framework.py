"""Keras and its backend, imported without their log messages; TensorFlow sees no GPUs."""

import os

from fer_pipeline.networks.keras.environment import backend
from fer_pipeline.running.quiet import quiet_stderr

os.environ["KERAS_BACKEND"] = backend
if backend == "tensorflow":
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with quiet_stderr():
    import keras

    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.list_physical_devices()
    else:
        from keras.src.utils.module_utils import tensorflow

        tensorflow._available = False  # or Keras imports TensorFlow beside PyTorch when it sets a seed or saves a file

__all__ = ["keras", "tf"]
