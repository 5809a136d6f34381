"""models/<name>.safetensors: tensors and plain metadata, no pickled code."""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import Facts
from fer_pipeline.networks.network import TRAINED, Shape, find_crop, find_network
from fer_pipeline.networks.pytorch.heads import add_votes_head

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of pixels in [0, 1]


class Normalise(torch.nn.Module):
    """Subtracts each channel's mean and divides by its standard deviation; takes float (N, 3, H, W) in [0, 1]."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, mean: Sequence[float] = (0.0,) * 3, deviation: Sequence[float] = (1.0,) * 3) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.deviation


def prepend(normalise: Normalise, network: torch.nn.Module) -> torch.nn.Module:
    """The network with `normalise` as its first part."""
    return type(network)(OrderedDict([("normalise", normalise), *network.named_children()]))


class TrainedNetwork(NamedTuple):
    """What a file holds; `classes`, `voted`, `colour` as in `Facts`."""

    network: torch.nn.Module
    name: str
    classes: tuple[str, ...]
    voted: tuple[str, ...]  # empty if it has no second head
    crop: int  # height and width of its input, in pixels
    colour: bool


def pack_network(
    name: str,
    width: float,
    state: Mapping[str, torch.Tensor],
    facts: Facts,
    origin: Mapping[str, Any] | None = None,
) -> bytes:
    """The bytes of a safetensors file of a state dict, with metadata for its use and on what made it.

    Equal input gives equal bytes.
    """
    metadata = {
        "architecture": name,
        "classes": json.dumps(facts.classes),
        **({"vote_classes": json.dumps(facts.voted)} if "votes.weight" in state else {}),
        "crop": str(find_crop(name, facts.size)),
        "normalisation": describe_normalisation(state, facts.colour),
        **({"colour": "RGB"} if facts.colour else {}),
        "width": str(width),
        **({TRAINED: json.dumps(origin)} if origin else {}),
    }
    return pack(state, metadata)


def pack(state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file; equal input gives equal bytes."""
    content = save({key: tensor.cpu().contiguous() for key, tensor in state.items()}, dict(metadata))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = metadata  # safetensors writes it in a random order
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    return content[:8] + ordered + content[8 + length :]


def read_tensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """What a safetensors file holds: {name: tensor}, and its metadata, which may be empty."""
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118 (not a dict)


def describe_normalisation(state: Mapping[str, torch.Tensor], colour: bool) -> str:
    """How pixels are normalised before the first layer of a network with these tensors, in words."""
    text = f"{'' if colour else 'grey repeated to three channels, '}pixels / 255"
    if "normalise.mean" not in state:
        return text
    mean, deviation = (
        ", ".join(f"{number:.6g}" for number in state[f"normalise.{key}"].flatten().tolist())
        for key in ("mean", "deviation")
    )
    return f"{text}; then, in the network, less {mean}, divided by {deviation}"


def load_network(path: str | Path, expected: str | None = None) -> TrainedNetwork:
    """The trained network in a file, whose name must be `expected` if given; InputError if it does not fit.

    It computes in float32, also if the file holds float16.
    """
    remedy = "train it anew with `dvc repro -f -s train_<network>`"
    if not Path(path).is_file():
        raise InputError(f"{path}: not found; run `dvc repro`")
    try:
        state, metadata = read_tensors(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged, or no safetensors file ({error}); {remedy}") from None
    name = str(metadata.get("architecture"))
    if expected not in (None, name):
        raise InputError(f"{path}: architecture is {name}, expected {expected}; give the model of train_{expected}")
    try:
        return rebuild(name, metadata, state)
    except (InputError, RuntimeError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())[:200]}; {remedy}") from None


def rebuild(name: str, metadata: Mapping[str, str], state: Mapping[str, torch.Tensor]) -> TrainedNetwork:
    """The network `name` with the tensors and metadata of its file; InputError or RuntimeError if they do not fit."""
    architecture, two = find_network(name), "votes.weight" in state
    state = {key: tensor.float() if tensor.dtype == torch.float16 else tensor for key, tensor in state.items()}
    classes, voted = (read_names(metadata, key) for key in ("classes", "vote_classes"))
    numbers = {}
    for key, expected, highest in (("width", "a number above 0, up to 1", 1.0), ("crop", "a number of pixels", 999.0)):
        try:
            numbers[key] = float(metadata[key])
        except (KeyError, ValueError):
            numbers[key] = 0.0
        if not 0 < numbers[key] <= highest:
            raise InputError(f"{key} is {metadata.get(key, 'missing'):.100}, expected {expected}")
    colour = metadata.get("colour") == "RGB"
    network: torch.nn.Module = architecture.build(Shape(numbers["width"], 0.0, len(classes), 3 if colour else 1))
    if two:
        network = add_votes_head(network, len(voted))
    if "normalise.mean" in state:
        network = prepend(Normalise(), network)
    for key, tensor in network.state_dict().items():
        if key in state and state[key].dtype != tensor.dtype:
            raise InputError(f"{key} holds {state[key].dtype}, expected {tensor.dtype}")
    network.load_state_dict(state)
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise InputError("holds values that are not finite")
    return TrainedNetwork(network.eval(), name, classes, voted if two else (), int(numbers["crop"]), colour)


def read_names(metadata: Mapping[str, str], key: str) -> tuple[str, ...]:
    """A list of names in the metadata, () if the key is missing; InputError if it is something else."""
    try:
        names = json.loads(metadata.get(key, "[]"))
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{key} is {metadata[key]:.100}, expected a list of names")
    return (*names,)
