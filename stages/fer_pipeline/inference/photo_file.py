"""One ONNX file from a photo to the answers about its faces, for programs in any language that has onnxruntime."""

from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
import onnxscript.optimizer
from onnx.helper import make_opsetid, make_tensor_value_info

from fer_pipeline.exported.onnx import ANSWER, INPUT, VOTES, load_exported, read_names
from fer_pipeline.inference.detection import STRIDES, WEIGHTS
from fer_pipeline.inference.photo_graph import nets, write_search, write_share

OPSET, IR_VERSION = 20, 10
DETECTORS = {
    "yunet": [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox")],
    "blazeface": ["regressors", "classificators"],
}
"""{network that finds faces: its outputs that are used}."""
TYPES = onnx.TensorProto
Shape = tuple[Any, ...]
"""Type of a value, then its dimensions."""


def build_photo(path: Path) -> bytes:
    """The ONNX file that finds the faces of a photo and judges them by the exported network in `path`.

    Inputs: `photo` uint8 (height, width, 3), RGB, and `longest_side` int64 (), as in `detection.Detector.find`.
    Outputs, the largest face first: `boxes` int64 (N, 4), left, top, width and height; `roll` float32 (N,), degrees;
    `cut` bool (N,); `scores` float32 (N,); `probabilities` float32 (N, K); and, if the network has learnt votes,
    `annotators` float32 (N, V): as in `recognition.Face`. The network's metadata are kept.
    """
    exported, network = load_exported(path), read_network(path)
    inputs: dict[str, Shape] = {"photo": (TYPES.UINT8, "height", "width", 3), "longest_side": (TYPES.INT64,)}
    outputs: dict[str, Shape] = {"boxes": (TYPES.INT64, 4), "roll": (TYPES.FLOAT,), "cut": (TYPES.BOOL,)}
    outputs |= {"scores": (TYPES.FLOAT,), ANSWER: (TYPES.FLOAT, len(exported.classes))}
    heads = [ANSWER, VOTES] if exported.has_votes else [ANSWER]
    search = onnx.inliner.inline_local_functions(write_search(exported.shape[0], exported.crop, exported.colour))
    drop_shapes(search.graph)
    search = onnxscript.optimizer.optimize(search)
    # `optimize` would take the weights of these out of the loops; inside, they are prepared, and run twice as fast.
    search.functions.extend(map(to_function, DETECTORS))
    search = onnx.inliner.inline_local_functions(search)
    drop_shapes(network.graph)
    named = onnx.compose.add_prefix(network, "network/", rename_outputs=False)
    graph = onnx.compose.merge_graphs(
        search.graph, named.graph, [(INPUT, f"network/{INPUT}")], outputs=[*outputs, *heads[1:]]
    )
    if exported.has_votes:
        outputs["annotators"] = (TYPES.FLOAT, len(read_names(exported.metadata, "vote_classes")))
        share = write_share(float(exported.metadata["votes_temperature"]))
        shares = onnx.compose.add_prefix(share, "votes/", rename_outputs=False)
        graph = onnx.compose.merge_graphs(graph, shares.graph, [(VOTES, "votes/said")], outputs=[*outputs])
    for value in graph.input:
        kind, *shape = inputs[value.name]
        value.CopyFrom(make_tensor_value_info(value.name, kind, shape))
    for value in graph.output:
        kind, *shape = outputs[value.name]
        value.CopyFrom(make_tensor_value_info(value.name, kind, ["faces", *shape]))
    drop_shapes(graph)
    model = onnx.helper.make_model(graph, opset_imports=[make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.helper.set_model_props(model, dict(sorted(exported.metadata.items())))
    return bytes(model.SerializeToString())


def read_network(path: Path) -> onnx.ModelProto:
    """An ONNX file, its operators in the version `OPSET`."""
    model = onnx.load(path)
    known = any((one.domain, one.version) == ("", OPSET) for one in model.opset_import)
    return model if known else onnx.version_converter.convert_version(model, OPSET)


def to_function(name: str) -> onnx.FunctionProto:
    """A network of `DETECTORS` as a function of the domain of `nets`."""
    outputs = DETECTORS[name]
    model = read_network(WEIGHTS / f"{name}.onnx")
    graph = onnx.utils.Extractor(model).extract_model([model.graph.input[0].name], outputs).graph
    weights = [onnx.helper.make_node("Constant", [], [one.name], value=one) for one in graph.initializer]
    nodes, opsets = [*weights, *graph.node], [make_opsetid("", OPSET)]
    return onnx.helper.make_function(nets.domain, name, [graph.input[0].name], outputs, nodes, opsets)


def drop_shapes(graph: onnx.GraphProto) -> None:
    """Remove what a graph says of the values inside it: inlining leaves some without a type."""
    del graph.value_info[:]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                drop_shapes(attribute.g)
