"""The paper's figures are typed in as printed: what must follow from one another does."""

import pytest

from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.metrics import paper
from fer_pipeline.networks.network import find_networks
from fer_pipeline.params.read import read_params

PRINTED = {name: network.PAPER for name, network in find_networks(["baseline", "vgg19", "resnet18"]).items()}
VGG19 = PRINTED["vgg19"]

TEST_IMAGES = dict(zip(CLASSES, (958, 111, 1024, 1774, 1247, 831, 1233), strict=True))
"""FER-2013's PublicTest and PrivateTest together."""

WRITTEN_OUT = """
Li et al. [1]	2021	FER-2013	CNN (3 Conv + 2 FC + Dropout)	71.25%	Basic CNN architecture, data imbalance
Agrawal et al. [2]	2022	FER-2013	CNN + SVM	72.67%	SVM improves classification
Singh et al. [3]	2020	FER-2013	Residual CNN + Batch Norm	74.57%	Overcomes vanishing gradient
Shi et al. [4]	2021	Custom	MobileNet	83%	Real-time FER support for autism
Kamal et al. [5]	2019	FER-2013	CNN + Augmentation	70.3%	Augmentation to handle data shortage
Kim et al. [6]	2022	FER-2013	Lightweight CNN	69.81%	Optimized for mobile devices
Khorrami et al. [7]	2020	RAF-DB	Multi-task CNN	76.2%	FER + Action Unit joint learning
Zhao et al. [8]	2021	FER-2013	VGGFace + Transfer Learning	75.4%	Pre-trained features boost accuracy
Goodfellow et al. [9]	2023	Custom	Shallow CNN	80%	Monitoring student attention
Zafeiriou et al. [10]	2022	AffectNet	CNN + Attention	78.6%	Improves focus on key facial regions
Barsoum et al. [11]	2020	Multiple	Review of CNNs, GANs, RNNs, etc.	-	Comprehensive challenges & future trends
Mollahosseini et al. [12]	2019	FER-2013	Custom CNN (Model1 & Model2)	65.77%	Architecture optimization for filter/kernel
Lucey et al. [13]	2020	FER-2013	6-layer CNN	61.7%	Overfitting, misclassification in fear/sad
Simonyan et al. [14]	2021	CK+	Multibranch Cross-Connection CNN	71.5%	Improves feature flow and expression variation robustness
Zeng et al. [15]	2020	Custom	DCNN (2 Conv + Dropout + FC)	78.04%	Real-time potential, image-only based
"""
"""Table 1, copied from the paper's text."""


def test_table_1_is_the_papers():
    rows = [
        f"{work.reference} [{work.number}]\t{work.year}\t{work.dataset}\t{work.technique}\t"
        f"{'-' if work.accuracy is None else f'{100 * work.accuracy:.4g}%'}\t{work.focus}"
        for work in paper.LITERATURE
    ]
    assert rows == WRITTEN_OUT.strip().splitlines()


def test_table_5_follows_from_itself():
    assert tuple(VGG19.classes) == CLASSES
    for scores in VGG19.classes.values():
        harmonic = 2 * scores.precision * scores.recall / (scores.precision + scores.recall)
        assert scores.f1 == pytest.approx(harmonic, abs=1e-4)
        assert scores.accuracy == pytest.approx(scores.recall, abs=0.00051)


def test_table_5_gives_the_accuracy_and_the_errors():
    assert sum(TEST_IMAGES.values()) == paper.TEST_IMAGES
    right = sum(round(VGG19.classes[emotion].recall * count) for emotion, count in TEST_IMAGES.items())
    assert paper.TEST_IMAGES - right == VGG19.errors
    assert round(right / paper.TEST_IMAGES, 4) == VGG19.result.accuracy
    assert round(VGG19.errors / paper.TEST_IMAGES, 3) == VGG19.error_share


def test_the_named_confusions_fit_into_table_5():
    """No more images are taken for sad than its precision leaves room for."""
    sad = VGG19.classes["sad"]
    wrongly_sad = sad.recall * TEST_IMAGES["sad"] * (1 / sad.precision - 1)
    assert {predicted for _, predicted in VGG19.confusions} == {"sad"}
    assert sum(VGG19.confusions.values()) < wrongly_sad
    for (actual, _), count in VGG19.confusions.items():
        assert count < (1 - VGG19.classes[actual].recall) * TEST_IMAGES[actual]


def test_table_6_arithmetic():
    table, accuracy = VGG19.confidence, VGG19.result.accuracy
    assert round(table.low_count / paper.TEST_IMAGES, 3) == table.low_share == 0.102
    mean = accuracy * table.mean_correct + (1 - accuracy) * table.mean_incorrect
    assert mean == pytest.approx(table.mean, abs=1e-3)


def test_table_7_gaps():
    for result in (printed.result for printed in PRINTED.values()):
        assert result.train_accuracy - result.accuracy == pytest.approx(result.overfitting_gap, abs=1e-9)


def test_the_counts_are_fifths_of_each_class():
    assert sum(count // 5 for count in TEST_IMAGES.values()) == paper.VAL_IMAGES
    training = (3995, 436, 4097, 7215, 4830, 3171, 4965)
    assert sum(count - count // 5 for count in training) == paper.TRAIN_IMAGES


def test_the_profile_paper_is_table_3():
    (profile,) = read_params("profiles.paper")
    for network, printed in PRINTED.items():
        ours, table = getattr(profile, network), printed.training
        assert (ours.learning_rate, ours.batch_size, ours.epochs) == (
            table.learning_rate,
            table.batch_size,
            table.epochs,
        )
        assert getattr(ours, "patience", None) == table.patience
    assert profile.vgg19.momentum == 0.9
