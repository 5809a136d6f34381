"""Export one trained network to ONNX, in float32 and quantised to int8, for use without its framework.

Reads   a model, data/prepared/faces.h5
Writes  models/export/<name>.onnx and <name>.int8.onnx; fer_pipeline/exported/onnx.py describes them.
Alone   python stages/export.py --name vgg19 --model models/vgg19.safetensors --data data/prepared/faces.h5
            --out models/export

Each answer is the average for the centre crop and its mirror image, so that both get the same one. The float32 file
has to agree with the network itself, run in float32 by its framework. The int8 file is quantised statically. Where it
loses more than 0.5 points of val accuracy, batch normalisation stays in float32, or, if that is not enough, all of it.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import QuantType, quantize_static
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator, save_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process
from scipy.special import softmax

from fer_pipeline.core.files import write_files
from fer_pipeline.exported.names import renumber_names
from fer_pipeline.exported.onnx import ANSWER, DRAWN, INPUT, OUTPUT, VOTES, OnnxModel, open_session, to_pixels
from fer_pipeline.faces.faces import Facts, Split, read_faces
from fer_pipeline.faces.votes import find_majority, has_label
from fer_pipeline.networks.network import MIRRORED, TRAINED, find_crop, find_network, read_origin
from fer_pipeline.params.read import read_params
from fer_pipeline.predictions.calibration import fit_temperature_to, fit_votes_temperature
from fer_pipeline.running.hardware import limit_threads
from fer_pipeline.running.quiet import quiet_stderr
from fer_pipeline.running.stage import run
from fer_pipeline.sample.paths import is_sample

AGREEMENT = 1e-4
"""The largest allowed difference in a probability between the float32 file and the network in its framework."""
ALLOWED_LOSS = 0.005
"""Of val accuracy, by quantisation: 0.5 points."""
LEAST_DIFFERENCE = 1e-5
"""In a probability; which one below it is found depends on the processor, and says nothing."""
CALIBRATION_FACES = 512
BATCH = 64

Images = npt.NDArray[np.uint8]
"""Faces (N, S, S), or (N, S, S, 3) in colour."""
Pixels = npt.NDArray[np.float32]
"""The input of an exported network: (N, crop, crop), or (N, crop, crop, 3) in colour."""
Logits = Mapping[str, npt.NDArray[np.float64]]
"""{head: (N, K), or (N, V)}."""
Forward = Callable[[Images], npt.NDArray[np.float64]]
"""The probabilities of faces and their mirror images, averaged: float64 (N, K + V), by the network in float32."""


def convert_keras(path: str | Path, name: str, facts: Facts) -> tuple[bytes, Forward]:
    """A trained Keras network as an ONNX model (bytes), and the network itself as a function."""
    from fer_pipeline.networks.keras.files import load_network
    from fer_pipeline.networks.keras.framework import keras, tf

    tf.config.experimental.enable_op_determinism()
    trained = load_network(path, name, facts)
    two = trained.output_shape[1] > len(facts.classes)
    heads = {OUTPUT: "classes", VOTES: "votes"} if two else {OUTPUT: trained.layers[-1].name}

    def copy(layer: Any) -> Any:
        linear = {"activation": "linear"} if layer.name in heads.values() else {}  # softmax comes after the temperature
        return type(layer).from_config(layer.get_config() | {"dtype": "float32"} | linear)

    network = keras.models.clone_model(trained, clone_function=copy)
    network.set_weights(trained.get_weights())
    last = keras.Model(network.inputs, {head: network.get_layer(layer).output for head, layer in heads.items()})
    pixels = keras.Input(facts.shape, name=INPUT)
    images = pixels if facts.colour else keras.layers.Reshape((*facts.shape, 1))(pixels)
    whole = keras.Model(pixels, last(images))
    signature = [tf.TensorSpec((None, *facts.shape), tf.float32, name=INPUT)]
    with tempfile.TemporaryDirectory() as folder, quiet_stderr():
        file = Path(folder) / f"{name}.onnx"
        whole.export(file, format="onnx", input_signature=signature, verbose=False)
        content = renumber_names(file.read_bytes())
    forward = tf.function(whole, input_signature=signature)

    def predict(faces: Images) -> npt.NDArray[np.float64]:
        sides = [[*map(forward, split_batches(side, facts.size))] for side in (faces, faces[:, :, ::-1])]
        logits = [[np.concatenate([part[head] for part in parts]) for parts in sides] for head in heads]
        return np.hstack([softmax(both, axis=2).mean(axis=0) for both in logits])

    return content, predict


def convert_pytorch(path: str | Path, name: str, facts: Facts) -> tuple[bytes, Forward]:
    """A trained PyTorch network as an ONNX model (bytes), and the network itself as a function."""
    import torch

    from fer_pipeline.networks.pytorch.heads import TwoHeads
    from fer_pipeline.networks.pytorch.model import load_model

    own = load_model(path, name, "float32", facts)
    network = own.network.to("cpu").to(memory_format=torch.contiguous_format)  # it went to the GPU, if there is one
    own = own._replace(network=network, device="cpu")
    shape = (own.size, own.size, *facts.shape[2:])

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
            scaled = pixels / 255
            images = scaled.permute(0, 3, 1, 2) if facts.colour else scaled.unsqueeze(1).expand(-1, 3, -1, -1)
            return self.network.compute_heads(images) if isinstance(self.network, TwoHeads) else (self.network(images),)

    whole = Whole().eval()
    model = torch.onnx.export(
        whole, (torch.zeros(2, *shape),), input_names=[INPUT],
        output_names=[OUTPUT, VOTES] if isinstance(network, TwoHeads) else [OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("faces")},), dynamo=True, verbose=False,
    ).model_proto  # type: ignore[union-attr]  # fmt: skip
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]  # where each node comes from, with paths of this machine
        part.doc_string = ""
    return model.SerializeToString(), lambda faces: own.predict(faces, MIRRORED)[0]


CONVERTERS = {"keras": convert_keras, "pytorch": convert_pytorch}


def answer_mirrored(content: bytes, heads: Iterable[str]) -> bytes:
    """An ONNX model (bytes) that averages its probabilities for the pixels and for their mirror image.

    Its heads, logits before, are then the logarithms of these averages.
    """
    model, make = onnx.load_from_string(content), onnx.helper
    graph, names = model.graph, {INPUT: "both", **{head: f"{head}_of_both" for head in heads}}
    nodes = [*graph.node]
    for node in nodes:
        for ends in (node.input, node.output):
            ends[:] = [names.get(end, end) for end in ends]
    slices = {"mirror_from": [-1], "mirror_to": [-(2**31)], "mirror_axis": [2], "mirror_step": [-1]}
    constants = {**slices, "first": 0, "second": 1, "lowest": np.float32(1e-30)}
    mirror = [
        make.make_node("Slice", [INPUT, *slices], ["mirrored"]),
        make.make_node("Concat", [INPUT, "mirrored"], ["both"], axis=0),
    ]
    for output in graph.output:
        head = output.name
        constants[f"{head}_shape"] = [2, -1, output.type.tensor_type.shape.dim[1].dim_value]
        steps = {
            "each": ("Softmax", f"{head}_of_both"),
            "sides": ("Reshape", f"{head}_each", f"{head}_shape"),
            "one": ("Gather", f"{head}_sides", "first"),
            "other": ("Gather", f"{head}_sides", "second"),
            "mean": ("Mean", f"{head}_one", f"{head}_other"),
            "clipped": ("Clip", f"{head}_mean", "lowest"),
        }
        nodes += [make.make_node(kind, ends, [f"{head}_{step}"]) for step, (kind, *ends) in steps.items()]
        nodes.append(make.make_node("Log", [f"{head}_clipped"], [head]))
    graph.initializer.extend(onnx.numpy_helper.from_array(np.array(value), name) for name, value in constants.items())
    del graph.node[:], graph.value_info[:]  # the shapes inside are those of half as many faces
    graph.node.extend([*mirror, *nodes])
    return model.SerializeToString()


def split_batches(faces: Images, crop: int) -> Iterator[Pixels]:
    """The input of an exported network for `faces`, in batches."""
    return (to_pixels(part, crop) for part in np.array_split(faces, max(1, len(faces) // BATCH)))


def prepare(content: bytes, folder: Path) -> Path:
    """Write an ONNX model (bytes) to `folder`, ready to be quantised: shapes inferred, BatchNorm folded into layers."""
    prepared = folder / "prepared.onnx"
    prepared.write_bytes(content)
    quant_pre_process(prepared, prepared, skip_symbolic_shape=True)
    return prepared


def list_norms(prepared: Path) -> list[str]:
    """Names of the nodes of a prepared model that are BatchNorms after a ReLU, which no convolution takes in.

    In int8 they cost a network of Table 2 0.8 points of val accuracy.
    """
    graph = onnx.load(prepared).graph
    constants = {weights.name for weights in graph.initializer}
    return [node.name for node in graph.node if node.op_type in ("Mul", "Add") and constants & {*node.input}]


def find_ranges(prepared: Path, faces: Images, crop: int) -> Path:
    """Write the range of each activation of a prepared model beside it, rounded so that processors agree on it.

    It is a moving average over batches of `faces`: with the widest range, one odd face in 512 cost 2.7 points of val
    accuracy.
    """
    options = {"moving_average": True, "averaging_constant": 0.1}
    augmented = prepared.with_name("augmented.onnx")
    calibrator = create_calibrator(prepared, None, augmented, extra_options=options)
    calibrator.infer_session = open_session(str(augmented))  # its own is not optimised, and takes twice as long
    batches = ({INPUT: batch} for batch in split_batches(faces, crop))
    calibrator.collect_data(SimpleNamespace(get_next=lambda: next(batches, None)))
    ranges = calibrator.compute_data()
    rounded = {name: tuple(map(round_outwards, one.range_value)) for name, one in ranges.items()}
    save_tensors_data(TensorsData(ranges.calibration_method, rounded), prepared.with_suffix(".json"))
    return prepared.with_suffix(".json")


def round_outwards(end: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Away from 0, to a multiple of 1/16 of the power of two below it."""
    mantissa, exponent = np.frexp(end)  # 1/2 to 1
    return np.asarray(np.ldexp(np.copysign(np.ceil(abs(mantissa) * 32), mantissa), exponent - 5), np.float32)


def quantise(prepared: Path, ranges: Path, kept: Iterable[str]) -> bytes:
    """A prepared model in int8 (bytes): weights per channel, activations uint8, the nodes named in `kept` in float32.

    Weights take 7 of the 8 bits: without VNNI, as before Intel's Ice Lake and AMD's Zen 4, the sum of two products has
    16 bits, and full weights overflow them: of a network of 71 % that left 66 %.
    """
    small = prepared.with_name("small.onnx")
    options = {"per_channel": True, "reduce_range": True, "activation_type": QuantType.QUInt8}
    quantize_static(prepared, small, calibration_cache_path=ranges, nodes_to_exclude=list(kept), **options)
    return small.read_bytes()


def quantise_well(
    content: bytes, on_val: Logits, faces: Images, crop: int, val: Split
) -> tuple[bytes, list[str], Logits]:
    """The int8 model (bytes) of an ONNX model, the names of the parts kept in float32, and its logits on `val`.

    Both models average over mirror images (`answer_mirrored`); `on_val` are the float32 logits. If int8 loses more than
    `ALLOWED_LOSS` of the first head's accuracy, and over one face, BatchNorm stays float32; if that fails too, all.
    """
    wanted = score(on_val, val) - max(ALLOWED_LOSS, 1 / len(val.labels)) - 1e-9
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(content, Path(folder))
        ranges, norms = find_ranges(prepared, faces, crop), list_norms(prepared)
        for kept in ([], norms) if norms else ([],):
            small = answer_mirrored(quantise(prepared, ranges, kept), on_val)
            said = run_onnx(small, crop, val.images, *on_val)
            if score(said, val) >= wanted:
                return small, ["batch normalisation"] * bool(kept), said
    return answer_mirrored(content, on_val), ["all of it"], on_val


def score(logits: Logits, rows: Split) -> float:
    """The first head's accuracy on `rows`."""
    return float((logits[OUTPUT].argmax(axis=1) == rows.labels).mean())


def run_onnx(content: bytes, crop: int, faces: Images, *heads: str) -> Logits:
    """The logits of an ONNX model (bytes) for faces, by the centre crop."""
    return OnnxModel(open_session(content), "", (), crop, faces.shape[1:], 1.0, {}).compute(faces, *heads)


def choose_answers(logits: Logits, val: Split, classes: int, temperature: float) -> dict[str, str]:
    """Metadata on the head that answers where one answer is wanted: the one that agrees best with annotators on val.

    `logits` are those for all rows of `val`. The answer is one of the K classes; its temperature is fitted to the
    annotators' majority. If no row of `val` has a majority for any of the K classes, the first head answers, with its
    own `temperature`.
    """
    majority = np.full(len(val.labels), -1) if val.votes is None else find_majority(val.votes)
    known = has_label(majority, classes)
    if not known.any():
        return {"answers": OUTPUT, "answers_temperature": str(temperature)}
    wanted = majority[known]
    said = {head: softmax(one[known, :classes], axis=1) for head, one in logits.items()}
    agreement = {head: round(float((one.argmax(axis=1) == wanted).mean()), 6) for head, one in said.items()}
    best = max(agreement, key=lambda head: agreement[head])
    fitted = round(fit_temperature_to(said[best], np.eye(classes)[wanted]), 6)
    return {"answers": best, "answers_temperature": str(fitted), "val_agreement": json.dumps(agreement)}


def finish(content: bytes, classes: int, metadata: dict[str, str]) -> bytes:
    """An ONNX model (bytes) with `metadata`, and the output that it answers by; the same bytes each time."""
    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, metadata)
    graph, make = model.graph, onnx.helper
    constants = {
        "answer_from": np.array([0]),
        "answer_to": np.array([classes]),
        "answer_axis": np.array([1]),
        "answer_temperature": np.array(float(metadata["answers_temperature"]), np.float32),
    }
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    *ends, temperature = constants
    graph.node.append(make.make_node("Slice", [metadata["answers"], *ends], ["answer_logits"]))
    graph.node.append(make.make_node("Div", ["answer_logits", temperature], ["answer_scaled"]))
    graph.node.append(make.make_node("Softmax", ["answer_scaled"], [ANSWER], axis=1))
    graph.output.append(make.make_tensor_value_info(ANSWER, onnx.TensorProto.FLOAT, ["faces", classes]))
    return model.SerializeToString(deterministic=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the network")
    parser.add_argument("--model", required=True, help="its file, .keras or .safetensors")
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--out", required=True, help="folder for <name>.onnx and <name>.int8.onnx")
    args = parser.parse_args()
    params = read_params()
    limit_threads(params.compute.threads)
    splits, facts = read_faces(args.data)
    name, faces, val = args.name, splits["train"].images, splits["val"]
    crop, classes = find_crop(name, facts.size), len(facts.classes)
    content, forward = CONVERTERS[find_network(name).FRAMEWORK](args.model, name, facts)
    drawn = np.random.default_rng(params.seed).permutation(len(faces))[:CALIBRATION_FACES]
    own = forward(splits["test"].images)
    heads = (OUTPUT, VOTES) if own.shape[1] > classes else (OUTPUT,)
    whole = answer_mirrored(content, heads)
    on_val = run_onnx(whole, crop, val.images, *heads)
    exports = {"float32": (whole, [], on_val), "int8": quantise_well(content, on_val, faces[drawn], crop, val)}
    said = {head: softmax(logits, axis=1) for head, logits in on_val.items()}
    temperature = round(fit_temperature_to(said[OUTPUT], np.eye(classes)[val.labels]), 6)
    votes_temperature = fit_votes_temperature(said.get(VOTES), val.votes) or 1.0
    outputs: dict[str, bytes] = {}
    for precision, (exported, kept, on_val) in exports.items():
        file = f"{name}.int8.onnx" if precision == "int8" else f"{name}.onnx"
        on_test = run_onnx(exported, crop, splits["test"].images, *heads)
        difference = float(abs(np.hstack([softmax(on_test[head], axis=1) for head in heads]) - own).max())
        if precision == "float32" and not difference <= AGREEMENT:
            raise RuntimeError(f"{file} differs by {difference:.2g} in a probability, {AGREEMENT:g} are allowed")
        metadata = {
            "architecture": name,
            "classes": json.dumps(facts.classes),
            "crop": str(crop),
            "size": str(facts.size),
            "views": "the pixels and their mirror image, averaged",
            "normalisation": f"{'RGB' if facts.colour else 'grey'}, 0..255; the network itself divides by 255",
            "temperature": str(temperature),
            "trained_on": DRAWN if is_sample(params.dataset) else Path(params.dataset).name,
            "precision": precision,
            "kept_in_float32": json.dumps(kept),
            "largest_difference": f"{max(difference, LEAST_DIFFERENCE):.3g}",
            "val_accuracy": str(round(score(on_val, val), 6)),
        }
        if origin := read_origin(args.model):
            metadata[TRAINED] = json.dumps(origin)
        metadata |= choose_answers(on_val, val, classes, temperature)
        if VOTES in on_val:
            metadata |= {"vote_classes": json.dumps(facts.voted), "votes_temperature": str(votes_temperature)}
        outputs[f"{args.out}/{file}"] = finished = finish(exported, classes, metadata)
        print(f"{file}: {len(finished):,} bytes, probabilities differ by {difference:.2g} at most")
    write_files(outputs)


if __name__ == "__main__":
    run(main)
