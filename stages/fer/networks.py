"""VGG19 and ResNet18 for 44x44 faces (sections 3.2 and 3.3 of the paper): architecture, starting weights, files.

Both are torchvision's own networks with a smaller stem and a new head; layers of the body carry torchvision's names, so
that its ImageNet weights fit.
"""

import hashlib
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torchvision.models import ResNet18_Weights, VGG19_BN_Weights
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import make_layers

from fer.faces import CLASSES
from fer.stage import InputError

CROP = 44
"""Height and width of the crops that the networks see, in pixels (section 2: RandomCrop(44), TenCrop(44))."""

CONFIGURATION = (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M")
"""VGG19: channels of the 16 convolutions, each followed by BatchNorm and ReLU; M is a 2x2 max pool."""


class VGG19(nn.Module):
    """16 convolutions, five max pools, dropout and Linear(512, 7).

    Takes float (N, 3, 44, 44) in [0, 1]; gives logits (N, 7). `width` in (0, 1] multiplies all channels.
    """

    def __init__(self, width=1.0, dropout=0.5):
        super().__init__()
        channels = [layer if layer == "M" else scale(layer, width) for layer in CONFIGURATION]
        self.features = make_layers(channels, batch_norm=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(scale(512, width), len(CLASSES))
        initialise(self)

    def forward(self, images):
        return self.head(self.dropout(self.features(images).flatten(1)))


class ResNet18(nn.Module):
    """A 3x3 stem, BasicBlocks [2, 2, 2, 2] with strides 1, 2, 2, 2, global average pool, dropout, Linear(512, 7).

    Takes float (N, 3, 44, 44) in [0, 1]; gives logits (N, 7). `width` in (0, 1] multiplies all channels.
    """

    def __init__(self, width=1.0, dropout=0.5):
        super().__init__()
        stages = [scale(channels, width) for channels in (64, 128, 256, 512)]
        self.conv1 = nn.Conv2d(3, stages[0], kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stages[0])
        self.layer1 = make_stage(stages[0], stages[0], stride=1)
        self.layer2 = make_stage(stages[0], stages[1], stride=2)
        self.layer3 = make_stage(stages[1], stages[2], stride=2)
        self.layer4 = make_stage(stages[2], stages[3], stride=2)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(stages[3], len(CLASSES))
        initialise(self)

    def forward(self, images):
        features = F.relu(self.bn1(self.conv1(images)), inplace=True)
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return self.head(self.dropout(features.mean((2, 3))))


NETWORKS = {"vgg19": VGG19, "resnet18": ResNet18}
IMAGENET = {"vgg19": VGG19_BN_Weights.IMAGENET1K_V1, "resnet18": ResNet18_Weights.IMAGENET1K_V1}


def scale(channels, width):
    """`channels` times `width`, at least 4."""
    return max(4, round(channels * width))


def make_stage(channels_in, channels_out, stride):
    """Two BasicBlocks, the first with a 1x1 convolution on its shortcut where the shape changes."""
    shortcut = None
    if stride != 1 or channels_in != channels_out:
        convolution = nn.Conv2d(channels_in, channels_out, kernel_size=1, stride=stride, bias=False)
        shortcut = nn.Sequential(convolution, nn.BatchNorm2d(channels_out))
    first = BasicBlock(channels_in, channels_out, stride, shortcut)
    return nn.Sequential(first, BasicBlock(channels_out, channels_out))


def initialise(network):
    """He's initialisation of the convolutions, as torchvision has it."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def load_start(network, name, weights):
    """Load what training starts from into `network` (of the architecture `name`), in place.

    Args:
        weights: 'none', 'imagenet' (torchvision's weights, downloaded once, checked by their hash), or a file in
            torchvision's format (.pth, a state dict; or .safetensors with the same names).

    Returns:
        The number of tensors taken over: every one of the body. The head stays new.

    Raises:
        InputError: the file is missing, damaged or of another network.
    """
    if weights == "none":
        return 0
    path = find_imagenet(name) if weights == "imagenet" else Path(weights)
    state = read_state(path)
    body = {key: tensor for key, tensor in network.state_dict().items() if not key.startswith("head.")}
    missing = [key for key in body if key not in state]
    if missing:
        raise InputError(f"{path}: has no {missing[0]} ({len(missing)} of {len(body)} missing); give weights of {name}")
    stem = state.get("conv1.weight")
    if stem is not None and stem.dim() == 4 and min(stem.shape):
        state["conv1.weight"] = resample(stem.float(), body["conv1.weight"].shape[2:])
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
    return len(taken)


def resample(kernels, size):
    """Convolution kernels (out, in, h, w) at another size, answering an even patch as before.

    ResNet18's stem is 7x7 on ImageNet, where images are 224 pixels wide, and 3x3 here.
    """
    if kernels.shape[2:] == size:
        return kernels
    area = kernels.shape[2] * kernels.shape[3] / (size[0] * size[1])
    return area * F.interpolate(kernels, size=tuple(size), mode="bicubic", antialias=True, align_corners=False)


def find_imagenet(name):
    """The file of torchvision's ImageNet weights in torch's cache, downloaded where it is missing."""
    url = IMAGENET[name].url
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


def read_state(path):
    """A state dict {name: tensor} from a .pth or .safetensors file; nothing but tensors is unpickled."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "not found"
        raise InputError(f"{path}: {found}; set `weights` in params.yaml to imagenet, none or an existing file")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch.load raises nearly everything on a damaged file, and advises to unpickle it
        state = None
    if not isinstance(state, dict) or not all(is_plain(tensor) for tensor in state.values()):
        raise InputError(f"{path}: damaged, or no state dict of plain tensors; give a file in torchvision's format")
    return state


def is_plain(tensor):
    """Whether it is a tensor of real numbers, each stored."""
    return isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and not tensor.is_complex()


def pack_network(name, width, state):
    """A state dict as the bytes of a safetensors file, with what it takes to use it as metadata; the same each time."""
    metadata = {
        "architecture": name,
        "classes": json.dumps(CLASSES),
        "crop": str(CROP),
        "normalisation": "grey repeated to three channels, pixels / 255",
        "width": str(width),
    }
    content = save({key: tensor.cpu().contiguous() for key, tensor in state.items()}, metadata)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = metadata  # safetensors puts it down in a random order
    header = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    return content[:8] + header + content[8 + length :]


def load_network(path, expected=None):
    """The trained network in a file of `pack_network`'s bytes, in evaluation mode, and its architecture's name.

    Args:
        expected: the architecture that it has to be, 'vgg19' or 'resnet18'; None takes both.

    Raises:
        InputError: the file is missing, damaged, of another architecture or has other classes.
    """
    remedy = "train it anew with `dvc repro -f train_<network>`"
    if not Path(path).is_file():
        raise InputError(f"{path}: not found; run `dvc repro`")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged, or no safetensors file ({error}); {remedy}") from None
    name = metadata.get("architecture")
    if name not in NETWORKS:
        raise InputError(f"{path}: architecture is {name}, expected {' or '.join(NETWORKS)}; {remedy}")
    if expected not in (None, name):
        raise InputError(f"{path}: holds {name}, expected {expected}; give the model of `dvc repro train_{expected}`")
    for key, known in (("classes", json.dumps(CLASSES)), ("crop", str(CROP))):
        if metadata.get(key) != known:
            raise InputError(f"{path}: {key} is {metadata.get(key, 'missing'):.100}, expected {known}; {remedy}")
    try:
        width = float(metadata["width"])
    except (KeyError, ValueError):
        width = math.nan
    if not 0 < width <= 1:
        raise InputError(f"{path}: width is {metadata.get('width')}, expected a number above 0, up to 1; {remedy}")
    if not all(tensor.isfinite().all() for tensor in state.values()):
        raise InputError(f"{path}: holds values that are not finite; {remedy}")
    network = NETWORKS[name](width)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())[:200]}; {remedy}") from None
    return network.eval(), name
