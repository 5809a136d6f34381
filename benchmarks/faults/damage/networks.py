"""Networks in PyTorch, in Keras and exported ones."""

import json
import struct
import zipfile
from pathlib import Path

import numpy as np

from faults.damage.archives import pack_zip
from faults.damage.case import Case, Place, damage_file, load
from faults.damage.pictures import call_predict
from faults.damage.ways import BYTES, ODD, Generator, change, set_odd


def check_probabilities(name: str, path: Path) -> None:
    """Load a network as the evaluation does, and let it judge some faces."""
    from fer_pipeline.networks.load import load_model, predict

    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48), np.uint8)
    predict(load_model(name, path, "float32"), images, 1, path)


def evaluate_arguments(place: Place, name: str, model: Path, history: Path) -> list[str]:
    out = place.outputs
    return [
        *("stages/evaluate.py", "--name", name, "--model", str(model), "--history", str(history)),
        *("--data", str(place.sound / "faces/faces.h5"), "--predictions", str(out), "--metrics", str(out)),
        *("--plots", f"{out}/plots", "--timing", f"{out}/timing.json"),
    ]


def damage_safetensors(rng: Generator, place: Place, name: str = "models/compact.safetensors") -> Case:
    """Damaged bytes, or another header."""
    if rng.random() < 0.5:
        return damage_file(rng, place, name, BYTES)
    content = (place.sound / name).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    tensors = [key for key in header if key != "__metadata__"]
    key = str(rng.choice(tensors))
    what = str(rng.choice(["odd", "dtype", "shape", "metadata", "no metadata", "another name", "values", "length"]))
    tensor, body = header[key], bytearray(content[8 + length :])
    if what == "odd":
        header = set_odd(rng, header)
    elif what == "dtype":
        kinds = ["F64", "F16", "BF16", "I32", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "C64", "U64", "x"]
        tensor["dtype"] = str(rng.choice(kinds))
        sizes = {"F64": 64, "C64": 64, "U64": 64, "I32": 32, "F16": 16, "BF16": 16, "F4": 4}
        bits = sizes.get(tensor["dtype"], 8)
        start, end = tensor["data_offsets"]
        if (end - start) * 8 % bits == 0 and rng.random() < 0.8:
            tensor["shape"] = [(end - start) * 8 // bits]
    elif what == "shape":
        tensor["shape"] = [[], [0], tensor["shape"][::-1], [1, *tensor["shape"]], [2**40, 2**40], [-1]][rng.integers(6)]
    elif what == "metadata":
        metadata = header.get("__metadata__", {})
        metadata[str(rng.choice([*metadata, "width", "width", "architecture"]))] = ODD[rng.integers(len(ODD))]
        header["__metadata__"] = metadata
    elif what == "no metadata":
        header.pop("__metadata__", None)
    elif what == "another name":
        header[str(rng.choice(["votes.weight", "normalise.mean", "x", "head.bias"]))] = header.pop(key)
    elif what == "values":
        start, _ = tensor["data_offsets"]
        body[start : start + 4] = struct.pack("<f", rng.choice([np.nan, np.inf, 3e38, -3e38]))
    packed = json.dumps(header).encode()
    size = len(packed) if what != "length" else int(rng.choice([0, 1, 2**31, 2**63]))
    path = place.inputs / Path(name).name
    path.write_bytes(size.to_bytes(8, "little") + packed + body)
    return Case(f"header: {what}", path)


def read_torch(case: Case, place: Place) -> None:
    check_probabilities("compact", case.path)


def command_torch(case: Case, place: Place) -> list[str]:
    return evaluate_arguments(place, "compact", case.path, place.sound / "history/history.csv")


def damage_keras(rng: Generator, place: Place) -> Case:
    """Damaged bytes, or a sound zip with damaged members."""
    if rng.random() < 0.5:
        return damage_file(rng, place, "models/baseline.keras", BYTES)
    with zipfile.ZipFile(place.sound / "models/baseline.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = str(rng.choice([*members, "config.json"]))
    if name.endswith(".json") and rng.random() < 0.7:
        members[name], how = json.dumps(set_odd(rng, json.loads(members[name]))).encode(), "an odd value"
    elif rng.random() < 0.1:
        how = "lost"
        del members[name]
    else:
        how, members[name] = change(rng, members[name])
    path = place.inputs / "baseline.keras"
    path.write_bytes(pack_zip(members))
    return Case(f"{name}: {how}", path)


def read_keras(case: Case, place: Place) -> None:
    check_probabilities("baseline", case.path)


def command_keras(case: Case, place: Place) -> list[str]:
    return evaluate_arguments(place, "baseline", case.path, place.sound / "history/history.csv")


def damage_onnx(rng: Generator, place: Place) -> Case:
    """Damaged bytes, or a sound ONNX file that holds something else; read by predict or as `measure` does."""
    reader = str(rng.choice(["predict", "measure"]))
    if rng.random() < 0.4:
        return damage_file(rng, place, "models/small.onnx", BYTES)._replace(expected=reader)
    import onnx

    model = onnx.load(place.sound / "models/small.onnx")
    graph, metadata = model.graph, {one.key: one.value for one in model.metadata_props}
    what = str(rng.choice(["metadata", "metadata", "no metadata", "weights", "node", "shape", "external", "version"]))
    if what == "metadata":
        key = str(rng.choice([*metadata, "votes_temperature", "val_accuracy"]))
        metadata[key] = ODD[rng.integers(len(ODD))]
        what = f"metadata: {key}"
    elif what == "no metadata":
        metadata.pop(str(rng.choice([*metadata])))
    elif what == "weights":
        value = rng.choice([np.nan, np.inf, 1e38, 0])
        shape = (44 * 44, 7) if rng.random() < 0.8 else (7, 44 * 44)
        graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full(shape, value, np.float32), "weights"))
    elif what == "node":
        node = graph.node[rng.integers(len(graph.node))]
        node.op_type = str(rng.choice(["Relu", "Nope", "Transpose", "Sum", "ReduceMax", "Shape", "Flatten", "Log"]))
    elif what == "shape":
        values = [*graph.input, *graph.output]
        value = values[rng.integers(len(values))]
        value.type.tensor_type.shape.dim[rng.integers(2)].dim_value = int(rng.choice([0, 1, 7, 48, 2**40]))
    elif what == "external":
        weights = graph.initializer[0]
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=str(rng.choice(["../../../etc/passwd", "/etc/passwd", "x"])))
    else:
        model.ir_version = int(rng.choice([0, 99, 2**31]))
    onnx.helper.set_model_props(model, metadata)
    path = place.inputs / "small.onnx"
    path.write_bytes(model.SerializeToString())
    return Case(what, path, reader)


def judge_arguments(case: Case, place: Place) -> list[str]:
    """Of a damaged network: it judges a face."""
    return [str(place.sound / "photos/face.png"), "--json", "--face", "--model", str(case.path)]


def read_onnx(case: Case, place: Place) -> None:
    if case.expected == "predict":
        call_predict(judge_arguments(case, place))
        return
    from fer_pipeline.faces.faces import read_faces

    rows = read_faces(place.sound / "faces/faces.h5")[0]["test"]
    measure = load("stages/measure.py")
    measure.measure_quantised(case.path, rows, measure.measure(case.path, rows))


def command_onnx(case: Case, place: Place) -> list[str]:
    return ["apps/predict.py", *judge_arguments(case, place)]
