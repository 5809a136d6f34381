"""What the paper reports, each value with its table, figure or section; shares and accuracies in [0, 1].

What it reports of one network stands in that network's file, as `PAPER`.

Nothing here is computed, so that every comparison sets a measured figure beside a printed one. What fits together in
the paper, and is held by a test:

- Table 5's accuracies are its recalls, and its F1 follows from precision and recall.
- Over FER-2013's 7,178 test images, Table 5's recalls give 5,047 right and 2,131 wrong images: 70.31 %.
- Table 6: 735 of 7,178 images are 10.2 %; 70.31 % at 0.925 and the rest at 0.779 give the mean confidence of 0.882.
- The gaps of Table 7 are the differences of its accuracies.
- 22,968 and 1,432 are what Keras' `validation_split=0.2` leaves of the folder train and takes from the folder test.

What does not fit, and is kept as printed:

- The baseline's 67.25 % is its validation accuracy (abstract, Evaluation Metrics 1) and its test accuracy (Table 7).
- Section 1 has 24,400 images (22,968 + 1,432), VGG19 is tested on 7,178, and the 1,432 can only be a fifth of these:
  the best epoch is then chosen on test rows. Section 2 takes the validation rows from the training data instead.
- Section 1 lists the classes as the challenge does; Table 5 lists them by the alphabet.
- The text calls fear and angry the two weakest classes and cites their F1 (0.5419, 0.6202); Table 5 has sad at 0.6066.
- "Generally well-calibrated", at a mean confidence of 0.882 and an accuracy of 0.703.
- ResNet18 has "reduced overfitting compared to VGG19": a gap of 22.4 points instead of 23.1.
- The text on VGG19 calls Figures 6, 7 and 8 and Tables 5 and 6 by the numbers 1, 2, 3, 1 and 2.
- The names of Table 1 follow the list of references, its contents do not: the row of Lucey [13] (61.7 %) is the work of
  Singh and Nasoz [3] in the text, Simonyan [14] is Shi [4] (71.52 %, on FER-2013 instead of CK+), Zeng [15] is
  Pranav [5], Mollahosseini [12] is Agrawal [2]. Years differ as well: Goodfellow [9] is of 2015, Kim [6] of 2016.
"""

from typing import NamedTuple

TRAIN_IMAGES, VAL_IMAGES = 22_968, 1_432
"""Section 1, Dataset; also Evaluation Metrics 1."""

TEST_IMAGES = 7_178
"""Evaluation Metrics 2."""


class Work(NamedTuple):
    """A row of Table 1."""

    reference: str
    number: int
    """In the paper's list of references."""
    year: int
    dataset: str
    technique: str
    accuracy: float | None
    """None for a review without an accuracy."""
    focus: str


LITERATURE = (
    Work("Li et al.", 1, 2021, "FER-2013", "CNN (3 Conv + 2 FC + Dropout)", 0.7125, "Basic CNN architecture, data imbalance"),
    Work("Agrawal et al.", 2, 2022, "FER-2013", "CNN + SVM", 0.7267, "SVM improves classification"),
    Work("Singh et al.", 3, 2020, "FER-2013", "Residual CNN + Batch Norm", 0.7457, "Overcomes vanishing gradient"),
    Work("Shi et al.", 4, 2021, "Custom", "MobileNet", 0.83, "Real-time FER support for autism"),
    Work("Kamal et al.", 5, 2019, "FER-2013", "CNN + Augmentation", 0.703, "Augmentation to handle data shortage"),
    Work("Kim et al.", 6, 2022, "FER-2013", "Lightweight CNN", 0.6981, "Optimized for mobile devices"),
    Work("Khorrami et al.", 7, 2020, "RAF-DB", "Multi-task CNN", 0.762, "FER + Action Unit joint learning"),
    Work("Zhao et al.", 8, 2021, "FER-2013", "VGGFace + Transfer Learning", 0.754, "Pre-trained features boost accuracy"),
    Work("Goodfellow et al.", 9, 2023, "Custom", "Shallow CNN", 0.80, "Monitoring student attention"),
    Work("Zafeiriou et al.", 10, 2022, "AffectNet", "CNN + Attention", 0.786, "Improves focus on key facial regions"),
    Work("Barsoum et al.", 11, 2020, "Multiple", "Review of CNNs, GANs, RNNs, etc.", None, "Comprehensive challenges & future trends"),
    Work("Mollahosseini et al.", 12, 2019, "FER-2013", "Custom CNN (Model1 & Model2)", 0.6577, "Architecture optimization for filter/kernel"),
    Work("Lucey et al.", 13, 2020, "FER-2013", "6-layer CNN", 0.617, "Overfitting, misclassification in fear/sad"),
    Work("Simonyan et al.", 14, 2021, "CK+", "Multibranch Cross-Connection CNN", 0.715, "Improves feature flow and expression variation robustness"),
    Work("Zeng et al.", 15, 2020, "Custom", "DCNN (2 Conv + Dropout + FC)", 0.7804, "Real-time potential, image-only based"),
)  # fmt: skip
"""Table 1, row by row; drawn in Figure 10."""


EARLIER_VAL_ACCURACY = (0.60, 0.65)
"""Of earlier models, from and to (Evaluation Metrics 1)."""


class VotesWork(NamedTuple):
    """A published accuracy against FER+'s majority."""

    reference: str
    technique: str
    accuracy: float
    protocol: str
    source: str


VOTES_LITERATURE = (
    VotesWork("Barsoum et al. 2016", "VGG13 on the votes' distribution", 0.8499, "PrivateTest, majority", "the FER+ paper"),
    VotesWork("Shi et al. 2021", "MBCC-CNN", 0.8810, "not named", "the study's Literature Review"),
)  # fmt: skip
"""Accuracies on FER+: that of its own paper, and the one that the study's text has."""
