"""The paper's figures are typed in as printed: what must follow from one another does."""

import pytest
from pydantic import BaseModel

from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.metrics import paper
from fer_pipeline.metrics.paper import PRINTED, follows_paper
from fer_pipeline.params.read import read_params
from fer_pipeline.training.common.profile import read_training

VGG19 = PRINTED["vgg19"]

TEST_IMAGES = dict(zip(CLASSES, (958, 111, 1024, 1774, 1247, 831, 1233), strict=True))
"""FER-2013's PublicTest and PrivateTest together."""


def test_table_5_follows_from_itself():
    assert tuple(VGG19.per_class) == CLASSES
    for scores in VGG19.per_class.values():
        precision, recall, f1, accuracy = scores.values()
        harmonic = 2 * precision * recall / (precision + recall)
        assert f1 == pytest.approx(harmonic, abs=1e-4)
        assert accuracy == pytest.approx(recall, abs=0.00051)


def test_table_5_gives_the_accuracy_and_the_errors():
    assert sum(TEST_IMAGES.values()) == paper.TEST_IMAGES
    right = sum(round(VGG19.per_class[emotion]["recall"] * count) for emotion, count in TEST_IMAGES.items())
    assert paper.TEST_IMAGES - right == VGG19.errors["count"]
    assert round(right / paper.TEST_IMAGES, 4) == VGG19.accuracy
    assert round(VGG19.errors["count"] / paper.TEST_IMAGES, 3) == VGG19.errors["share"]


def test_the_named_confusions_fit_into_table_5():
    """No more images are taken for sad than its precision leaves room for."""
    sad = VGG19.per_class["sad"]
    wrongly_sad = sad["recall"] * TEST_IMAGES["sad"] * (1 / sad["precision"] - 1)
    assert {pair.split(" → ")[1] for pair in VGG19.confusions} == {"sad"}
    assert sum(VGG19.confusions.values()) < wrongly_sad
    for pair, count in VGG19.confusions.items():
        actual, _ = pair.split(" → ")
        assert count < (1 - VGG19.per_class[actual]["recall"]) * TEST_IMAGES[actual]


def test_table_6_arithmetic():
    table, accuracy = VGG19.confidence, VGG19.accuracy
    assert round(table["low_count"] / paper.TEST_IMAGES, 3) == table["low_share"] == 0.102
    mean = accuracy * table["mean_correct"] + (1 - accuracy) * table["mean_incorrect"]
    assert mean == pytest.approx(table["mean"], abs=1e-3)


def test_table_7_gaps():
    for network in PRINTED.values():
        assert network.train_accuracy - network.accuracy == pytest.approx(network.overfitting_gap, abs=1e-9)


def test_the_counts_are_fifths_of_each_class():
    assert sum(count // 5 for count in TEST_IMAGES.values()) == paper.VAL_IMAGES
    training = (3995, 436, 4097, 7215, 4830, 3171, 4965)
    assert sum(count - count // 5 for count in training) == paper.TRAIN_IMAGES


PAPERS = {name: read_training(read_params(), name, "paper") for name in PRINTED}


def list_changes(settings, before=""):
    """{key: settings with another value there}; keys as in 'augment.flip'."""
    changes = {}
    for key, value in settings:
        if isinstance(value, BaseModel):
            others = list_changes(value, f"{before}{key}.")
        else:
            others = {before + key: f"no {value}" if isinstance(value, str) else value + 1}
        changes |= {where: settings.model_copy(update={key: other}) for where, other in others.items()}
    return changes


def test_the_profile_paper_is_table_3():
    """Table 3, typed in once more."""
    for name, section in PAPERS.items():
        expected = (0.0001, 64, 50, None, None) if name == "baseline" else (0.01, 64, 250, 15, 0.9)
        keys = ("learning_rate", "batch_size", "epochs", "patience", "momentum")
        assert tuple(getattr(section, key, None) for key in keys) == expected
    assert follows_paper(PAPERS, PAPERS)


@pytest.mark.parametrize("name", PRINTED)
def test_one_other_setting_is_not_the_papers(name):
    """Whichever key differs from the profile `paper`, or is edited there if Table 3 or sections 2 and 3 state it."""
    stated = PRINTED[name].training | PRINTED[name].method
    for group in ("augment", "augment.photo"):
        stated |= {f"{group}.{key}": value for key, value in stated.pop(group, {}).items()}
    if name == "baseline":
        del stated["optimizer"]  # fixed in code
    known = {"learning_rate", "schedule", "labels", "ema", "width", "augment.flip", "augment.shift"}
    if name != "baseline":
        known |= {"optimizer", "momentum", "weights", "freeze_epochs", "augment.mixup"}
    changes = list_changes(PAPERS[name])
    assert known <= stated.keys() <= changes.keys()
    for key, changed in changes.items():
        edited = PAPERS | {name: changed}
        assert not follows_paper(edited, PAPERS), key
        assert key not in stated or not follows_paper(edited, edited), key
