"""What a network's file holds, how to find it by the network's name, and what made a trained one.

All code that is particular to the network <name> is in `stages/fer_pipeline/networks/<name>.py`. No other module names
it, except `fer_pipeline.metrics.paper` for what the paper reports of it; params.yaml, dvc.yaml and the profiles do. The
file imports no framework until the network is built, so that reading its title takes no time.
"""

import json
import zipfile
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast

from safetensors import safe_open

from fer_pipeline.core.errors import InputError
from fer_pipeline.params.schema import Views

TRAINED = "trained"
"""Key of the metadata of a trained network and of its exports: what made it."""


class Shape(NamedTuple):
    """What a PyTorch network is built from: settings of its section of the profile, and what the data say."""

    width: float  # in (0, 1]: the factor on all numbers of channels
    dropout: float  # in [0, 1): the share of features that training drops; without effect in evaluation
    classes: int  # K, the number of classes
    channels: int  # of a face: 1 (grey) or 3


class View(NamedTuple):
    """What a network sees of a face in evaluation: one crop of it, or the centre of the face turned and scaled."""

    x: int = 0  # the crop's place in the face (in its mirror image if `mirrored`): -1 left edge, 0 middle, 1 right edge
    y: int = 0  # -1 at the top
    mirrored: bool = False
    turn: float = 0  # degrees, counterclockwise
    scale: float = 1  # above 1, the face is larger than it is

    @property
    def plain(self) -> bool:
        """Whether its pixels are those of the face, not resampled."""
        return (self.turn, self.scale) == (0, 1)


CENTRE = (View(),)
MIRRORED = (View(), View(mirrored=True))
CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1), (0, 0))
TEN_CROP = (*(View(*place, mirrored) for mirrored in (False, True) for place in CORNERS),)
CROPS = {1: CENTRE, 10: TEN_CROP}
"""{number of test crops: what they are}: the centre, or the corners and the centre, each mirrored too (section 2)."""


class Network(Protocol):
    """What `fer_pipeline/networks/<name>.py` holds."""

    TITLE: str  # its name in tables, plots and the report
    FRAMEWORK: Literal["keras", "pytorch"]  # a folder of `fer_pipeline/networks/` and of `fer_pipeline/training/`
    CROP: float  # share of a face's height and width that it sees: 11 / 12 are 44 of 48 pixels, 1 is all of the face
    TEST_CROPS: int  # crops of a face whose probabilities are averaged in evaluation: 10 (TenCrop) or 1 (the centre)

    build: Callable[..., Any]
    """A function that makes the untrained network.

    Keras: takes `KerasTraining`, the shape of a face (size, size, 1 or 3), the number of classes K and, in training, a
    class of normalisation and layers of augmentation (see `baseline.py`). The network maps pixels float or uint8
    (N, *shape), 0..255, to probabilities (N, K) of a last layer with softmax. For `labels: emotion+votes` the function
    also takes `votes`, the number of classes V that are voted on; the network then has layers `classes`, (N, K), and
    `votes`, (N, V), and gives their concatenation.

    PyTorch: takes `Shape`. The network maps float (N, 3, size, size) in [0, 1] to logits (N, K); it is an
    `nn.Sequential` that ends in `dropout` and `head`. All channels of a grey face are equal.
    """
    PRETRAINED: str  # optional, PyTorch: torchvision's name of the ImageNet weights that `weights: imagenet` loads

    def adapt_weights(self, state: dict[str, Any], body: dict[str, Any]) -> None:
        """Optional, PyTorch: change torchvision's weights `state` in place to the shapes of the network's `body`."""

    def find_explained_layer(self, network: Any, crop: int) -> Any:
        """Optional, PyTorch: the layer whose output Grad-CAM weighs, for crops of `crop` pixels.

        Without this function there are no heat maps.
        """


def find_network(name: str) -> Network:
    """The file of the network `name`, as a module; InputError if it is missing or is not a `Network`."""
    module = f"fer_pipeline.networks.{name}"
    if not name.isidentifier() or name == "network" or not find_spec(module):
        raise InputError(f"no network named {name!r:.100}; its file would be stages/fer_pipeline/networks/<name>.py")
    where = f"stages/fer_pipeline/networks/{name}.py"
    try:
        file = import_module(module)
    except Exception as error:  # whatever is wrong with a file that users write
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{where}: cannot be loaded ({reason:.200}); mend it") from None
    for key, (holds, expected) in EXPECTED.items():
        found = getattr(file, key, "nothing")
        if not holds(found):
            raise InputError(f"{where}: {key} is {found!r:.60}, expected {expected}")
    if file.FRAMEWORK == "keras" and (file.CROP, file.TEST_CROPS) != (1, 1):
        raise InputError(f"{where}: a Keras network sees the whole face: CROP 1, TEST_CROPS 1")
    return cast(Network, file)


def find_crop(name: str, size: int) -> int:
    """Height and width, in pixels, of what the network `name` sees of a face of `size` pixels, with equal borders."""
    return size - 2 * round(size * (1 - find_network(name).CROP) / 2)


def list_views(setting: Views | str) -> tuple[View, ...]:
    """The views that a setting of `test_views` stands for."""
    if isinstance(setting, str):
        return {"centre": CENTRE, "ten_crop": TEN_CROP}[setting]
    kinds = (False, True) if setting.mirrored else (False,)
    turned = [(turn, scale) for turn in setting.turns for scale in setting.scales]
    return (*(View(0, 0, mirrored, *one) for mirrored in kinds for one in turned),)


EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "TITLE": (lambda found: isinstance(found, str) and found != "nothing", "its name in tables"),
    "FRAMEWORK": (lambda found: found in ("keras", "pytorch"), "'keras' or 'pytorch'"),
    "CROP": (lambda found: type(found) in (int, float) and 0.5 <= found <= 1, "a share from 0.5 to 1"),
    "TEST_CROPS": (lambda found: found in (1, 10), "1 or 10"),
    "build": (callable, "a function that builds the network"),
}
"""{name in a network's file: (whether a value is valid, what is expected, in words)}."""


def find_networks(names: Iterable[str]) -> dict[str, Network]:
    """{name: its file as a module} in the order of `names`; InputError as in `find_network`, or for equal titles."""
    networks = {name: find_network(name) for name in names}
    titles = {network.TITLE: name for name, network in networks.items()}
    for name, network in networks.items():
        if (other := titles[network.TITLE]) != name:
            raise InputError(f"the networks {name} and {other} have the same TITLE, {network.TITLE!r}; change one")
    return networks


def read_origin(path: str | Path) -> dict[str, Any]:
    """What made a trained network, from its file: hardware, device, seed, versions; {} for a file that lacks it."""
    if Path(path).suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return dict(json.loads(archive.read("metadata.json")).get(TRAINED, {}))
    with safe_open(path, "np") as file:
        return dict(json.loads((file.metadata() or {}).get(TRAINED, "{}")))
