"""From a photo to an answer, by onnxruntime, OpenCV and NumPy alone."""
