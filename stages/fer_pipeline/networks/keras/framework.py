"""TensorFlow and Keras, imported without their log messages; GPUs are visible in Keras' own environment alone."""

import os

from fer_pipeline.networks.keras.environment import hide_gpus, is_inside
from fer_pipeline.running.quiet import quiet_stderr

if not is_inside():
    hide_gpus()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with quiet_stderr():
    import keras
    import tensorflow as tf

    tf.config.list_physical_devices()

__all__ = ["keras", "tf"]
