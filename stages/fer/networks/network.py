"""What a network's file holds, and how to find it by the network's name.

All that is particular to the network <name> is in `fer/networks/<name>.py`, and no other file names it. It imports no
framework until the network is built, so that reading its title takes no time.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, Protocol, cast

from fer.core.stage import InputError


class Configuration(NamedTuple):
    """A column of the paper's Table 3."""

    optimizer: str
    learning_rate: float
    loss: str
    batch_size: int
    epochs: int
    patience: int | None
    """Epochs without a better validation accuracy before stopping; None: no early stopping."""
    checkpoint: str


class Result(NamedTuple):
    """A row of the paper's Table 7."""

    train_accuracy: float
    accuracy: float
    overfitting_gap: float
    strengths: str
    limitations: str


class ClassScores(NamedTuple):
    """A row of the paper's Table 5."""

    precision: float
    recall: float
    f1: float
    accuracy: float
    """Of the images of the class: its recall, to one decimal of a percent."""


class Confidence(NamedTuple):
    """The paper's Table 6."""

    mean: float
    mean_correct: float
    mean_incorrect: float
    std: float
    low_count: int
    low_accuracy: float
    threshold: float
    low_share: float
    """Evaluation Metrics 2, in the text."""


class Curve(NamedTuple):
    """Points of the paper's Figures 3 and 4 that the text names (Evaluation Metrics 1)."""

    train_accuracy_epoch_1: float
    val_accuracy_epoch_1: float
    val_accuracy_epoch_6: float
    """'Above' it."""
    val_accuracy_epoch_25: tuple[float, float]
    """From, to."""
    train_accuracy_last: float
    val_accuracy_last: float
    train_loss_last: float
    val_loss_last: float
    """Approximately."""


class Paper(NamedTuple):
    """What the paper reports of one network; shares and accuracies in [0, 1], None or empty where it is silent."""

    training: Configuration
    result: Result
    curves: str
    """The figures that show accuracy and loss by epoch."""
    classes: dict[str, ClassScores] | None = None
    """Table 5, in the challenge's order of classes; Figure 9 draws it."""
    confidence: Confidence | None = None
    """Table 6."""
    confusions: dict[tuple[str, str], int] = {}  # noqa: RUF012 (nothing changes it)
    """Actual and predicted class, and test images: the most frequent ones that the text names."""
    errors: int | None = None
    """Wrong test images (the misclassification audit)."""
    error_share: float | None = None
    best_epoch: int | None = None
    overfits_after: int | None = None
    """Epoch (Comparison, Discussion)."""
    curve: Curve | None = None
    note: str = ""
    """A sentence where its own places disagree."""


class Shape(NamedTuple):
    """Of its section of params.yaml, what a PyTorch network is built from."""

    width: float
    """In (0, 1]; multiplies all channels."""
    dropout: float = 0.0
    """Of no effect in evaluation."""


class Network(Protocol):
    """What `fer/networks/<name>.py` holds; the last three are optional, and for PyTorch networks."""

    TITLE: str
    """Its name in tables, plots and the report."""
    FRAMEWORK: Literal["keras", "pytorch"]
    """The folder of `fer/training/` that trains and runs it."""
    INPUT_SIZE: int
    """Height and width of its input, in pixels."""
    TEST_CROPS: int
    """Crops of a face whose probabilities are averaged in evaluation: 10 (TenCrop) or 1 (the centre)."""
    PAPER: Paper | None
    """What the paper reports of it; None for a network of another origin."""

    build: Callable[..., Any]
    """A function that makes the untrained network.

    Keras: from `fer.core.schema.KerasTraining` and, in training, a class of normalisation and layers of augmentation
    (see `baseline.py`); pixels float or uint8 (N, size, size, 1) in 0..255 to probabilities (N, 7). PyTorch: from
    `Shape`; float (N, 3, size, size) in [0, 1] to logits (N, 7), an `nn.Sequential` that ends in `dropout` and `head`.
    """
    PRETRAINED: str
    """torchvision's name of the ImageNet weights that `weights: imagenet` loads."""

    def adapt_weights(self, state: dict[str, Any], body: dict[str, Any]) -> None:
        """Bring torchvision's weights `state` to the shapes of `body`, the network's own, in place."""

    def find_explained_layer(self, network: Any) -> Any:
        """The layer whose output Grad-CAM weighs; without this function there is no Grad-CAM."""


def find_network(name: str) -> Network:
    """The file of the network `name`, as a module.

    Raises:
        InputError: there is none.
    """
    module = f"fer.networks.{name}"
    if not name.isidentifier() or name == "network" or not find_spec(module):
        raise InputError(f"no network named {name!r:.100}; its file would be stages/fer/networks/<name>.py")
    return cast(Network, import_module(module))


def find_networks(names: Iterable[str]) -> dict[str, Network]:
    """{name: its file} of several networks, in their order; `names` is the section `networks` of params.yaml."""
    return {name: find_network(name) for name in names}
