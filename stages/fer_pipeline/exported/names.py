"""Names inside ONNX files that tf2onnx has converted; with the package onnx, which running a file does not need."""

import onnx


def renumber_names(content: bytes, batch: str | None = "faces") -> bytes:
    """An ONNX model (bytes) whose generated names, which tf2onnx varies from run to run, are numbered in order.

    `batch` names the first dimension of its inputs and outputs, if given.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    names: dict[str, str] = {}

    def rename(name: str) -> str:
        return names.setdefault(name, f"value_{len(names)}") if "__" in name else name

    for node in graph.node:
        node.name = rename(node.name)
        node.input[:], node.output[:] = map(rename, node.input), map(rename, node.output)
    uses = {name: place for place, name in enumerate(name for node in graph.node for name in node.input)}
    for weights in graph.initializer:
        weights.name = rename(weights.name)
    graph.initializer.sort(key=lambda weights: uses[weights.name])
    del graph.value_info[:]
    if batch:
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = batch
    return bytes(model.SerializeToString())
