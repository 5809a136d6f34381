"""What a network's file holds, and how to find it by the network's name.

All that is particular to the network <name> is in `stages/fer_pipeline/networks/<name>.py`. No other file names it,
but for what the paper reports of it (`fer_pipeline.metrics.paper`). The file imports no framework until the network is
built, so that reading its title takes no time.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, Protocol, cast

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import SIZE


class Shape(NamedTuple):
    """The settings that a PyTorch network is built from, from its section of params.yaml."""

    width: float  # in (0, 1]: the factor on all numbers of channels
    dropout: float = 0.0  # in [0, 1): the share of features that training drops; without effect in evaluation


class Network(Protocol):
    """What `fer_pipeline/networks/<name>.py` holds."""

    TITLE: str  # its name in tables, plots and the report
    FRAMEWORK: Literal["keras", "pytorch"]  # a folder of `fer_pipeline/networks/` and of `fer_pipeline/training/`
    INPUT_SIZE: int  # height and width of its input, in pixels
    TEST_CROPS: int  # crops of a face whose probabilities are averaged in evaluation: 10 (TenCrop) or 1 (the centre)

    build: Callable[..., Any]
    """A function that makes the untrained network.

    Keras: takes `KerasTraining` and, in training, a class of normalisation and layers of augmentation (see
    `baseline.py`). The network maps pixels float or uint8 (N, size, size, 1), 0..255, to probabilities (N, 7) of a last
    layer with softmax. For `labels: emotion+votes` the function also takes `votes=True`; the network then has layers
    `classes`, (N, 7), and `votes`, (N, 8), and gives their concatenation, (N, 15).

    PyTorch: takes `Shape`. The network maps float (N, 3, size, size) in [0, 1] to logits (N, 7); it is an
    `nn.Sequential` that ends in `dropout` and `head`.
    """
    PRETRAINED: str  # optional, PyTorch: torchvision's name of the ImageNet weights that `weights: imagenet` loads

    def adapt_weights(self, state: dict[str, Any], body: dict[str, Any]) -> None:
        """Optional, PyTorch: change torchvision's weights `state` in place to the shapes of the network's `body`."""

    def find_explained_layer(self, network: Any) -> Any:
        """Optional, PyTorch: the layer whose output Grad-CAM weighs; without this function there are no heat maps."""


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
    if file.FRAMEWORK == "keras" and (file.INPUT_SIZE, file.TEST_CROPS) != (SIZE, 1):
        raise InputError(f"{where}: a Keras network sees the whole face: INPUT_SIZE {SIZE}, TEST_CROPS 1")
    return cast(Network, file)


EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "TITLE": (lambda found: isinstance(found, str) and found != "nothing", "its name in tables"),
    "FRAMEWORK": (lambda found: found in ("keras", "pytorch"), "'keras' or 'pytorch'"),
    "INPUT_SIZE": (lambda found: type(found) is int and 1 <= found <= SIZE, f"a whole number from 1 to {SIZE}"),
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
