"""The pictures: nothing overlaps, bins of few images are pale, and captions say what is shown."""

from itertools import chain, combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from answers import draw_rows, make_splits, name_classes, predict
from matplotlib.colors import to_hex
from matplotlib.text import Text

from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.figures import data
from fer_pipeline.figures import network as figures
from fer_pipeline.figures.comparison import draw_agreement, draw_annotators, draw_class_f1, draw_ensembles
from fer_pipeline.metrics.comparison import tabulate_agreement
from fer_pipeline.metrics.scores import bin_confidence, score_classes, tabulate_images

LONG = ("bored", "contemptuous smile", "no", "maybe", "yes", "other", "else")
"""Seven classes of which one has a long name."""


def test_bins_of_few_images_are_pale_and_show_their_count():
    rows = draw_rows(300, 0)
    table = bin_confidence(rows, 15)
    few = table["images"] < figures.FEW
    assert few.any() and not few.all()
    figure, axes = plt.subplots()
    figures.draw_reliability(table, axes)
    assert [text.get_text() for text in axes.texts] == [str(images) for images in table["images"][few]]
    pale = [to_hex(bar.get_facecolor()) == to_hex(figures.PALE["facecolor"]) for bar in axes.patches]
    assert pale == few.tolist()
    assert [bar.get_height() for bar in axes.patches] == pytest.approx(table["accuracy"].tolist())
    plt.close(figure)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_legend_of_agreement_fits_the_picture(count):
    shares = {f"right_by_{k}": 1 / (count + 1) for k in range(count, -1, -1)}
    figure = draw_agreement(pd.DataFrame([{"emotion": emotion, "images": 1000, **shares} for emotion in CLASSES]))
    figure.canvas.draw()
    widths = [sum(bar.get_width() for bar in bars) for bars in zip(*figure.axes[0].containers, strict=True)]
    assert widths == pytest.approx([1] * 7)
    (legend,) = figure.legends
    between = [f"{k} of {count}" for k in range(count - 1, 0, -1)]
    assert [text.get_text() for text in legend.get_texts()] == ["all", *between, "none"]
    assert_legends_lie_beside(figure)
    plt.close(figure)


def assert_legends_lie_beside(figure):
    """Within the picture, and on no axes."""
    for box in (legend.get_window_extent() for legend in figure.legends):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes)


@pytest.mark.parametrize(("count", "strength"), [(3000, 1.6), (40, 1.6), (50, 20), (1, 1.6)])
def test_nothing_lies_on_the_bars_of_confidence(count, strength):
    figure = figures.draw_confidence(draw_rows(count, 0, strength), 15, 0.0123, "VGG19")
    figure.canvas.draw()
    assert_legends_lie_beside(figure)
    assert figure.get_suptitle() == "VGG19: confidence on test, expected calibration error 0.012"
    plt.close(figure)


def draw_for(count):
    """{name: figure} of every picture with a place for each of `count` classes."""
    classes = name_classes(count)
    rows = draw_rows(40 * count, 0, 1 + np.log(count), classes=classes)
    images = tabulate_images({"a": rows, "b": rows, "c": draw_rows(40 * count, 0, classes=classes)})
    scores, crop = score_classes(rows), (np.zeros((44, 44, 3), np.uint8), np.eye(44, dtype=np.float32), 1)
    f1 = [one.f1 for one in scores.values()]
    votes = pd.DataFrame(np.eye(count, count + 2, dtype=int), index=classes, columns=[*classes, "unknown", "no face"])
    splits = make_splits({name: np.arange(3 * count) % count for name in ("train", "val", "test")}, shape=(24, 24, 3))
    shares = [(split, name, 3, 1 / count) for split in splits for name in classes]
    faces = dict.fromkeys(("as they are", "A"), splits["test"].images[:count])
    return {
        "confusion": figures.draw_confusion(rows, "A"),
        "scores": figures.draw_classes(scores, "A"),
        "mistakes": figures.draw_mistakes(np.zeros((len(rows.actual), 24, 24), np.uint8), rows, "A"),
        "gradcam": figures.draw_grad_cam({"correct": [crop] * count, "incorrect": [crop] * count}, classes, "A"),
        "f1": draw_class_f1(pd.DataFrame({"emotion": classes, "a": f1, "ensemble": f1}), {"a": "A"}),
        "agreement": draw_agreement(tabulate_agreement(images, 3, classes)),
        "annotators": draw_annotators(votes, ten=False),
        "shares": data.draw_classes(pd.DataFrame(shares, columns=["split", "emotion", "images", "share"])),
        "augmented": data.draw_varied(faces, classes),
    }


@pytest.mark.parametrize("count", [2, 8, 20])
def test_pictures_are_legible_for_any_number_of_classes(count):
    """No type below seven points, at a width at which a page shows a picture unscaled, and no two texts overlap."""
    for name, figure in draw_for(count).items():
        assert_legible(figure, name)
        plt.close(figure)


def assert_legible(figure, name):
    """See `test_pictures_are_legible_for_any_number_of_classes`."""
    figure.canvas.draw()
    assert figure.get_figwidth() == 7, name
    assert_legends_lie_beside(figure)
    found = [axes.findobj(Text) if axes.axison else [axes.title, *axes.texts] for axes in figure.axes]
    texts = [text for text in chain(figure.texts, *found) if text.get_text().strip() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 7, name
    level = [text for text in texts if text.get_rotation() in (0, 90)]
    boxes = [text.get_window_extent().padded(-1) for text in level]
    overlaps = [
        (one.get_text(), other.get_text())
        for (one, box), (other, another) in combinations(zip(level, boxes, strict=True), 2)
        if box.overlaps(another)
    ]
    assert overlaps == [], name
    assert min(box.x0 for box in boxes) >= -1 and max(box.x1 for box in boxes) <= figure.bbox.x1 + 1, name


def test_the_vote_of_all_is_called_so_and_the_weights_are_named():
    rows = [
        *((name, "one network", "1.000") for name in ("A+", "B", "C")),
        ("A+ + B", "equal weights", "0.500 0.500"),
        ("A+ + B + C", "equal weights", "0.333 0.333 0.333"),
        ("A+ + B + C", "weights chosen on val", "0.100 0.200 0.700"),
    ]
    table = pd.DataFrame(rows, columns=["name", "kind", "weights"])
    table = table.assign(ci95_low=0.6, ci95_high=0.7, accuracy=0.65, gain_points=1.0)
    figure = draw_ensembles(table)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()][::-1]
    assert names == ["A+", "B", "C", "A+ + B", "All", "All, weighted"]
    assert "Weights chosen on val: A+ 0.100, B 0.200, C 0.700." in figure.get_supxlabel().replace("\n", " ")
    plt.close(figure)


def test_grad_cam_names_what_is_predicted_instead():
    crop, heat = np.zeros((44, 44), np.uint8), np.zeros((44, 44))
    columns = {"correct": [(crop, heat, k) for k in range(7)], "incorrect": [None, *[(crop, heat, 0)] * 6]}
    figure = figures.draw_grad_cam(columns, CLASSES, "VGG19")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:7] == list(CLASSES)
    assert titles[14:21] == ["angry", *(f"{emotion}\n→ angry" for emotion in CLASSES[1:])]
    plt.close(figure)


@pytest.mark.parametrize(
    ("classes", "count", "captions"),
    [
        (CLASSES, 32, ["fear →\ndisgust 0.{:02}", "happy →\nsad 0.{:02}"]),
        (LONG, 30, ["no\n→ contemptuous\nsmile 0.{:02}", "maybe\n→ yes 0.{:02}"]),
    ],
)
def test_the_surest_mistakes_are_shown(monkeypatch, classes, count, captions):
    """A row of them, each caption in lines that have room above a face."""
    shown, rows = [], 20
    monkeypatch.setattr(figures, "draw_gallery", lambda *arguments, **_: shown.append(arguments))
    confidence = 0.99 - np.arange(2 * rows) / 100
    answers = predict([2, 3] * rows, [1, 4] * rows, confidence, classes)
    figures.draw_mistakes(np.arange(2 * rows), answers, "VGG19")
    ((faces, texts, title, _),) = shown
    assert title == f"VGG19: the {count} most confident of 40 errors, actual → predicted"
    assert faces.tolist() == [*range(count)]
    assert texts == [captions[k % 2].format(99 - k) for k in range(count)]
