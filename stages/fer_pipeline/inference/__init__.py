"""From a photo to the expressions of its faces, with onnxruntime, OpenCV and NumPy alone."""
