"""The weights that a PyTorch training starts from (section 3, transfer learning): random, ImageNet's, or a file's."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torchvision.models import get_weight

from fer_pipeline.core.errors import InputError
from fer_pipeline.networks.network import find_network


def load_start(network: torch.nn.Module, name: str, weights: str) -> None:
    """Load the weights that training starts from into `network`, an untrained `name`; its head stays random.

    `weights` is 'none' (all weights stay random), 'imagenet' (torchvision's weights, downloaded once and checked by
    their hash), or a file in torchvision's format: .pth with a state dict, or .safetensors with the same names.
    Raises InputError if the file is missing, damaged, or of another network.
    """
    if weights == "none":
        return
    path = find_imagenet(name) if weights == "imagenet" else Path(weights)
    state = read_state(path)
    body = {key: tensor for key, tensor in network.state_dict().items() if not key.startswith("head.")}
    if missing := [key for key in body if key not in state]:
        raise InputError(f"{path}: has no {missing[0]} ({len(missing)} of {len(body)} missing); give weights of {name}")
    if adapt := getattr(find_network(name), "adapt_weights", None):
        adapt(state, body)
    taken = {key: state[key].to(tensor.dtype) for key, tensor in body.items()}
    for key, tensor in taken.items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {key} holds values that are not finite; give another file")
        if tensor.shape != body[key].shape:
            found, expected = (list(shape) for shape in (tensor.shape, body[key].shape))
            raise InputError(
                f"{path}: {key} has shape {found}, expected {expected}; set `width` to 1, or `weights` to none"
            )
    network.load_state_dict(taken, strict=False)


def find_imagenet(name: str) -> Path:
    """The file of torchvision's ImageNet weights in torch's cache, downloaded if it is missing; its hash is checked."""
    pretrained = getattr(find_network(name), "PRETRAINED", None)
    if not pretrained:
        raise InputError(f"{name} has no ImageNet weights; set `weights` in params.yaml to none or an existing file")
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


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """A state dict {name: tensor} from a .pth or .safetensors file; InputError if it holds anything else."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "not found"
        raise InputError(f"{path}: {found}; set `weights` in params.yaml to imagenet, none or an existing file")
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)  # runs no code
    except Exception:  # torch.load raises nearly everything on a damaged file, and advises to unpickle it
        state = None
    if not isinstance(state, dict) or not all(
        isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and not tensor.is_complex()
        for tensor in state.values()
    ):
        raise InputError(f"{path}: damaged, or no state dict of plain tensors; give a file in torchvision's format")
    return state
