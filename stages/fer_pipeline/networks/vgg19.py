"""VGG19 for faces (section 3.2): torchvision's convolutions, five max pools, dropout and one linear layer."""

from typing import TYPE_CHECKING

from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.networks.network import ClassScores, Confidence, Configuration, Paper, Result, Shape

if TYPE_CHECKING:
    from torch import nn

TITLE = "VGG19"
FRAMEWORK = "pytorch"
INPUT_SIZE = 44
TEST_CROPS = 10
PRETRAINED = "VGG19_BN_Weights.IMAGENET1K_V1"

CONFIGURATION: tuple[int | str, ...] = (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M")
"""Channels of the 16 convolutions, each followed by BatchNorm and ReLU; M is a 2x2 max pool."""
SMALLEST_MAP = 5
"""Grad-CAM takes the last block whose maps are at least this wide, in pixels: the last block's maps are only 2x2."""

PAPER = Paper(
    training=Configuration("SGD (momentum 0.9)", 0.01, "cross-entropy", 64, 250, 15, "best val accuracy"),
    result=Result(
        0.9341, 0.7031, 0.231, "Deep features, improved class balance", "Overfitting, high-confidence errors"
    ),
    curves="Figure 6",
    classes={
        "angry": ClassScores(0.6592, 0.5856, 0.6202, 0.586),
        "disgust": ClassScores(0.8831, 0.6126, 0.7234, 0.613),
        "fear": ClassScores(0.6212, 0.4805, 0.5419, 0.480),
        "happy": ClassScores(0.8837, 0.8777, 0.8807, 0.878),
        "sad": ClassScores(0.5683, 0.6504, 0.6066, 0.650),
        "surprise": ClassScores(0.7735, 0.8508, 0.8103, 0.851),
        "neutral": ClassScores(0.6280, 0.6902, 0.6577, 0.690),
    },
    confidence=Confidence(0.882, 0.925, 0.779, 0.165, 735, 0.358, threshold=0.6, low_share=0.102),
    confusions={("fear", "sad"): 220, ("neutral", "sad"): 189, ("angry", "sad"): 139},
    errors=2_131,
    error_share=0.297,
    best_epoch=96,
    overfits_after=80,
)
"""Tables 3 and 5 to 7; Evaluation Metrics 2, with Figures 6 and 7."""


def build(shape: Shape) -> "nn.Module":
    """The network: float (N, 3, 44, 44) in [0, 1] to logits (N, 7)."""
    from collections import OrderedDict

    from torch import nn
    from torchvision.models.vgg import make_layers

    from fer_pipeline.networks.pytorch.layers import initialise, scale_channels

    channels = [layer if isinstance(layer, str) else scale_channels(layer, shape.width) for layer in CONFIGURATION]
    return initialise(
        nn.Sequential(
            OrderedDict(
                features=make_layers(channels, batch_norm=True),
                flatten=nn.Flatten(),
                dropout=nn.Dropout(shape.dropout),
                head=nn.Linear(scale_channels(512, shape.width), len(CLASSES)),
            )
        )
    )


def find_explained_layer(network: "nn.Module") -> "nn.Module":
    """The end of the last block of convolutions whose maps are at least 5 pixels wide."""
    from torch import nn

    layers = list(network.get_submodule("features").children())
    pools = [place for place, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    wide = [pool for block, pool in enumerate(pools) if INPUT_SIZE // 2**block >= SMALLEST_MAP]
    return layers[wide[-1] - 1]
