"""The weights that a PyTorch training starts from (section 3, transfer learning): random, ImageNet's, or a file's."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torchvision.models import get_weight

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import Facts
from fer_pipeline.networks.network import find_network
from fer_pipeline.networks.pytorch.files import Normalise, read_names, read_tensors

State = dict[str, torch.Tensor]
PARTS = {"normalise": "normalisation", "head": "head", "votes": "second head"}
"""{what the names of a part's tensors begin with, before a dot: in words}; all other tensors are the body's."""
TAKEN, ANEW, LEFT = "taken", "drawn anew", "left out"  # what may become of a part


def load_start(network: torch.nn.Module, name: str, weights: str, width: float, facts: Facts) -> None:
    """Load the weights that training starts from into `network`, an untrained `name`, and print what was taken.

    `weights` is 'none' (all weights stay random), 'imagenet' (torchvision's weights, downloaded once and checked by
    their hash), a file in torchvision's format (.pth with a state dict, or .safetensors with the same names), or the
    file of a `name` that this project trained, whatever the size and classes of its faces. Of the latter, normalisation
    and heads of the same classes are taken too; all other heads stay random.
    Raises InputError if the file is missing, damaged, or of another network or width.
    """
    if weights == "none":
        return
    path = find_imagenet(name) if weights == "imagenet" else Path(weights)
    state, metadata = read_state(path, name)
    expected = network.state_dict()
    body = {key: tensor for key, tensor in expected.items() if find_part(key) == "body"}
    if ours := "architecture" in metadata:
        for key, value in (("architecture", name), ("width", str(float(width)))):
            if (said := metadata.get(key, "missing")) != value:
                raise InputError(
                    f"{path}: {key} is {said:.100}, expected {value}; set `width` to its own, or give another {name}"
                )
        fates = fit_parts(path, state, expected, metadata, facts)
        fit_channels(state, body)
    else:
        fates = {part: ANEW for part in ("head", "votes") if has(expected, part)}
        if adapt := getattr(find_network(name), "adapt_weights", None):
            adapt(state, body)
    fates = {"body": TAKEN, **fates}
    wanted = {key: tensor for key, tensor in expected.items() if fates.get(find_part(key)) == TAKEN}
    if missing := [key for key in wanted if key not in state]:
        many = f"{len(missing)} of {len(wanted)} missing"
        raise InputError(f"{path}: has no {missing[0]} ({many}); give weights of {name}")
    remedy = "give another file" if ours else "set `width` to 1, or `weights` to none"
    for key, tensor in wanted.items():
        found, state[key] = state[key], state[key].to(tensor.dtype)
        if found.is_floating_point() != tensor.is_floating_point():
            raise InputError(f"{path}: {key} holds {found.dtype}, expected {tensor.dtype}; give another file")
        if not state[key].isfinite().all():
            raise InputError(f"{path}: {key} holds values that are not finite; give another file")
        if found.shape != tensor.shape:
            shapes = f"{[*found.shape]}, expected {[*tensor.shape]}"
            raise InputError(f"{path}: {key} has shape {shapes}; {remedy}")
    network.load_state_dict({key: state[key] for key in wanted}, strict=False)
    taken = ", ".join(PARTS.get(part, part) for part, fate in fates.items() if fate == TAKEN)
    others = [f"{PARTS[part]} {fate}" for part, fate in fates.items() if fate != TAKEN]
    print("; ".join([f"{name} starts from {path}: {taken}", *others]), flush=True)


def find_part(key: str) -> str:
    """The part that the tensor `key` of a network belongs to."""
    first = key.split(".")[0]
    return first if first in PARTS else "body"


def has(keys: Iterable[str], part: str) -> bool:
    """Whether any of `keys` is a tensor of `part`."""
    return any(find_part(key) == part for key in keys)


def fit_parts(path: Path, state: State, expected: State, metadata: Mapping[str, str], facts: Facts) -> dict[str, str]:
    """{part: what becomes of it}, without the body, of a file that this project trained; InputError if it is damaged.

    Changes `state`: classes get the order of `facts`; a file without normalisation, whose body expects pixels as they
    are, gets one that changes nothing.
    """
    lists = {"head": ("classes", facts.classes), "votes": ("vote_classes", facts.voted)}
    fates: dict[str, str] = {}
    for part in PARTS:
        if not has(expected, part):
            if part == "normalise" and has(state, part):
                raise InputError(f"{path}: its network normalises pixels itself; set `normalisation` to train")
            fates |= {part: LEFT} if has(state, part) else {}
        elif part in lists:
            key, classes = lists[part]
            try:
                names = read_names(metadata, key)
            except InputError as error:
                raise InputError(f"{path}: {error}; give another file") from None
            fates[part] = fit_head(state, part, names, classes)
        else:
            fates[part] = TAKEN
            state |= {f"{part}.{key}": tensor for key, tensor in Normalise().state_dict().items()} | state
    return fates


def fit_head(state: State, part: str, names: tuple[str, ...], classes: tuple[str, ...]) -> str:
    """What becomes of a head for the classes `names`; its rows in `state` are changed to the order of `classes`."""
    if sorted(names) != sorted(classes):
        count = "other classes" if len(names) == len(classes) else f"{len(classes)} classes instead of {len(names)}"
        return f"{ANEW} ({count if names else 'there is none'})"
    for key in (f"{part}.weight", f"{part}.bias"):
        if key in state and state[key].shape[:1] == (len(names),):
            state[key] = state[key][[names.index(one) for one in classes]]
    return TAKEN


def fit_channels(state: State, body: State) -> None:
    """Change the first convolution in `state` from grey to colour or back, if need be; grey faces keep its response."""
    for key, tensor in body.items():
        found = state.get(key)
        if found is not None and found.dim() == tensor.dim() == 4 and {found.shape[1], tensor.shape[1]} == {1, 3}:
            total = found.float().sum(dim=1, keepdim=True)
            state[key] = total.expand(-1, tensor.shape[1], -1, -1) / tensor.shape[1]


def find_imagenet(name: str) -> Path:
    """The file of torchvision's ImageNet weights in torch's cache, downloaded if it is missing; its hash is checked."""
    pretrained = getattr(find_network(name), "PRETRAINED", None)
    if not pretrained:
        raise InputError(f"{name} has no ImageNet weights; set `weights` in the profile to none or an existing file")
    url = get_weight(pretrained).url
    file = url.rsplit("/", 1)[1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    prefix = file.rsplit("-", 1)[1].split(".")[0]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"cannot download the ImageNet weights ({error}); fetch {url} and put it at {path}"
            ) from None
    with open(path, "rb") as content:
        if not hashlib.file_digest(content, "sha256").hexdigest().startswith(prefix):
            raise InputError(f"{path}: damaged (its sha256 does not begin with {prefix}); delete it and run again")
    return path


def read_state(path: Path, name: str) -> tuple[State, dict[str, str]]:
    """A state dict {name: tensor} and metadata from a .pth or .safetensors file; InputError if it is anything else."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "not found"
        advice = f"a copy of a trained models/{name}.safetensors, or `none`"
        raise InputError(
            f"{path}: {found}; set `weights` of {name} in the profile to an existing file, such as {advice}"
        )
    state: Any
    metadata: dict[str, str] = {}
    try:
        if path.suffix == ".safetensors":
            state, metadata = read_tensors(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)  # runs no code
    except Exception:  # torch.load raises nearly everything on a damaged file, and advises to unpickle it
        state = None
    if not isinstance(state, dict) or not all(
        isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and not tensor.is_complex()
        for tensor in state.values()
    ):
        advice = f"a file in torchvision's format, or a trained models/{name}.safetensors"
        raise InputError(f"{path}: damaged, or no state dict of plain tensors; give {advice}")
    return state, metadata
