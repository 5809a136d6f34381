"""From a photo to its faces, with onnxruntime, OpenCV and NumPy alone; photo.onnx does all of that itself."""
