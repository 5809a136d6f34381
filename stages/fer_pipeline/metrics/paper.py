"""What the paper reports, each value with its table, figure or section; shares and accuracies in [0, 1].

It lies here and not in the networks' files, so that mending a figure retrains nothing. Nothing here is computed, so that
every comparison sets a measured figure beside a printed one; tests/test_paper.py checks those that follow from others.

The paper contradicts itself in these places, and its values are kept as printed:

- The baseline's 67.25 % is its validation accuracy (abstract, Evaluation Metrics 1) and its test accuracy (Table 7).
- Section 1 has 24,400 images (22,968 + 1,432) and VGG19 is tested on 7,178. We infer that the 1,432 are a fifth of
  these, and that the best epoch is chosen on test rows. Section 2 takes the validation rows from the training data.
- Section 1 lists the classes as the challenge does; Table 5 lists them by the alphabet.
- The text calls fear and angry the two weakest classes and cites their F1 (0.5419, 0.6202); Table 5 has sad at 0.6066.
- "Generally well-calibrated", at a mean confidence of 0.882 and an accuracy of 0.703.
- ResNet18 has "reduced overfitting compared to VGG19": a gap of 22.4 points instead of 23.1.
- The text on VGG19 calls Figures 6, 7 and 8 and Tables 5 and 6 by the numbers 1, 2, 3, 1 and 2.
- The names in Table 1 follow the list of references, but its contents do not: the row of Lucey [13] (61.7 %) is the work of
  Singh and Nasoz [3] in the text, Simonyan [14] is Shi [4] (71.52 %, on FER-2013 instead of CK+), Zeng [15] is
  Pranav [5], Mollahosseini [12] is Agrawal [2]. Some years are wrong as well: Goodfellow [9] is from 2015, Kim [6] from 2016.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

TRAIN_IMAGES, VAL_IMAGES, TEST_IMAGES = 22_968, 1_432, 7_178
"""Section 1, Dataset, and Evaluation Metrics 1; test: Evaluation Metrics 2."""


class Work(NamedTuple):
    """A row of Table 1; `number` is that in the paper's list of references."""

    reference: str
    number: int
    year: int
    dataset: str
    technique: str
    accuracy: float | None  # None for a review without an accuracy


LITERATURE = (
    Work("Li et al.", 1, 2021, "FER-2013", "CNN (3 Conv + 2 FC + Dropout)", 0.7125),
    Work("Agrawal et al.", 2, 2022, "FER-2013", "CNN + SVM", 0.7267),
    Work("Singh et al.", 3, 2020, "FER-2013", "Residual CNN + Batch Norm", 0.7457),
    Work("Shi et al.", 4, 2021, "Custom", "MobileNet", 0.83),
    Work("Kamal et al.", 5, 2019, "FER-2013", "CNN + Augmentation", 0.703),
    Work("Kim et al.", 6, 2022, "FER-2013", "Lightweight CNN", 0.6981),
    Work("Khorrami et al.", 7, 2020, "RAF-DB", "Multi-task CNN", 0.762),
    Work("Zhao et al.", 8, 2021, "FER-2013", "VGGFace + Transfer Learning", 0.754),
    Work("Goodfellow et al.", 9, 2023, "Custom", "Shallow CNN", 0.80),
    Work("Zafeiriou et al.", 10, 2022, "AffectNet", "CNN + Attention", 0.786),
    Work("Barsoum et al.", 11, 2020, "Multiple", "Review of CNNs, GANs, RNNs, etc.", None),
    Work("Mollahosseini et al.", 12, 2019, "FER-2013", "Custom CNN (Model1 & Model2)", 0.6577),
    Work("Lucey et al.", 13, 2020, "FER-2013", "6-layer CNN", 0.617),
    Work("Simonyan et al.", 14, 2021, "CK+", "Multibranch Cross-Connection CNN", 0.715),
    Work("Zeng et al.", 15, 2020, "Custom", "DCNN (2 Conv + Dropout + FC)", 0.7804),
)  # fmt: skip
"""Table 1, row by row; drawn in Figure 10."""


VOTES_LITERATURE: dict[str, dict[str, Any]] = {
    "the FER+ paper": {"reference": "Barsoum et al. 2016", "technique": "VGG13 on the votes' distribution"}
    | {"accuracy": 0.8499, "protocol": "PrivateTest, majority"},
    "the ESR-9 paper": {"reference": "Siqueira et al. 2020", "technique": "ESR-9, an ensemble of nine branches"}
    | {"accuracy": 0.8715, "protocol": "rows not verified; mean of five trainings"},
    "the study's Literature Review": {"reference": "Shi et al. 2021", "technique": "MBCC-CNN"}
    | {"accuracy": 0.8810, "protocol": "not named"},
}
"""Published accuracies against the majority of FER+'s annotators, by source."""


class Paper(NamedTuple):
    """What the paper reports of one network; None or empty where it reports nothing.

    A figure has the name that it has in metrics/<network>.json.
    """

    training: dict[str, Any]
    """Table 3: {key of the network's settings: value}; a key that the settings lack is fixed in code."""
    method: dict[str, Any]
    """Sections 2 and 3 in the same form, as we read them. What the paper does not mention is off."""
    train_accuracy: float
    accuracy: float
    overfitting_gap: float  # Table 7, as the two accuracies
    curves: str  # the figures that show accuracy and loss by epoch
    per_class: dict[str, dict[str, float]] | None = None  # Table 5, in the challenge's order; drawn in Figure 9
    confidence: dict[str, float] | None = None  # Table 6, low is below 0.6; `low_share` is from Evaluation Metrics 2
    errors: dict[str, float] | None = None  # misclassification audit: {'count': test images, 'share': their share}
    confusions: dict[str, int] = {}  # noqa: RUF012 (nothing changes it)
    """{'actual → predicted class': test images}: the most frequent ones, which the text names."""
    note: str = ""  # a sentence on a figure that the paper gives in two meanings

    @property
    def settings(self) -> dict[str, Any]:
        """`training` and `method`."""
        return self.training | self.method


def read_table_5(**rows: tuple[float, ...]) -> dict[str, dict[str, float]]:
    """The rows of Table 5 by class; their accuracy is the recall, to one decimal of a percent."""
    return {name: dict(zip(("precision", "recall", "f1", "accuracy"), row, strict=True)) for name, row in rows.items()}


PLAIN = {"width": 1, "labels": "emotion", "label_smoothing": 0, "ema": 0}
"""The full network, trained on labels alone; the paper mentions no smoothing of labels and no average of weights."""
BASELINE = {"optimizer": "adam", "learning_rate": 0.0001, "batch_size": 64, "epochs": 50}
SHIFT_AND_FLIP = {"flip": True, "shift": 0.1, "rotation": 0, "scale": 0}  # Section 2
TRANSFER = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.01, "batch_size": 64, "epochs": 250, "patience": 15}
TRANSFER_METHOD = {
    **PLAIN,
    "weights": "imagenet",
    "dropout": 0.5,
    "freeze_epochs": 5,  # "freezing all convolutional layers initially": for how long is our reading
    "schedule": "step",  # "manual learning rate scheduling after epoch 80"
    "decay_start": 80,
    "min_delta": 0.001,
    "class_weights": "none",
    "small_epochs": 0,
    "augment": {
        "crop": "random",  # RandomCrop(44)
        "flip": 0.5,  # RandomHorizontalFlip()
        **dict.fromkeys(("rotation", "scale", "shift", "contrast", "brightness", "erase", "mixup"), 0),
        "photo": {"light": 0.0, "detail": 0.0},
    },
}
"""Sections 2, 3.2 and 3.3; Implementation 2 and 3."""

PRINTED: dict[str, Paper] = {
    "baseline": Paper(
        training=BASELINE,
        method=PLAIN | {"dropout": 0.3, "dropout_dense": 0.5, "schedule": "constant", "augment": SHIFT_AND_FLIP},
        train_accuracy=0.7375,
        accuracy=0.6725,
        overfitting_gap=0.065,
        curves="Figures 3 and 4",
        note="The paper calls the baseline's 67.25 % validation accuracy in its text, and test accuracy in Table 7.",
    ),
    "vgg19": Paper(
        training=TRANSFER,
        method=TRANSFER_METHOD,
        train_accuracy=0.9341,
        accuracy=0.7031,
        overfitting_gap=0.231,
        curves="Figure 6",
        per_class=read_table_5(
            angry=(0.6592, 0.5856, 0.6202, 0.586),
            disgust=(0.8831, 0.6126, 0.7234, 0.613),
            fear=(0.6212, 0.4805, 0.5419, 0.480),
            happy=(0.8837, 0.8777, 0.8807, 0.878),
            sad=(0.5683, 0.6504, 0.6066, 0.650),
            surprise=(0.7735, 0.8508, 0.8103, 0.851),
            neutral=(0.6280, 0.6902, 0.6577, 0.690),
        ),
        confidence={"mean": 0.882, "mean_correct": 0.925, "mean_incorrect": 0.779, "std": 0.165}
        | {"low_count": 735, "low_share": 0.102, "low_accuracy": 0.358},
        errors={"count": 2_131, "share": 0.297},
        confusions={"fear → sad": 220, "neutral → sad": 189, "angry → sad": 139},
    ),
    "resnet18": Paper(
        training=TRANSFER,
        method=TRANSFER_METHOD,
        train_accuracy=0.9400,
        accuracy=0.7160,
        overfitting_gap=0.224,
        curves="as Figure 6",
    ),
}
"""The paper's networks by name; any other network is of another origin."""


def follows_paper(ours: Mapping[str, Any], papers: Mapping[str, Any]) -> bool:
    """Whether we train the paper's networks as the paper does; False if we train none of them.

    Each setting must be that of the profile `paper`, and this profile, which a user may edit, must say what Table 3 and
    sections 2 and 3 say. `ours` and `papers` are {network: its settings} of the active profile and of `paper`.
    """
    shared = {name: PRINTED[name].settings for name in ours if name in PRINTED}
    return bool(shared) and all(ours[name] == papers[name] and agrees(ours[name], shared[name]) for name in shared)


def agrees(settings: Any, stated: Mapping[str, Any]) -> bool:
    """Whether a section of settings has the `stated` values; a key that it lacks is fixed in code."""
    return all(
        agrees(getattr(settings, key), value) if isinstance(value, dict) else getattr(settings, key, value) == value
        for key, value in stated.items()
    )
