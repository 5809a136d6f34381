"""The pictures: nothing overlaps, bins of few images are pale, and each network keeps its colour."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from answers import draw_rows, predict
from matplotlib.colors import to_hex

from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.figures import network as figures
from fer_pipeline.figures.comparison import draw_agreement, draw_class_f1, draw_ensembles
from fer_pipeline.figures.style import PALETTE
from fer_pipeline.metrics.scores import bin_confidence


@pytest.mark.parametrize(("count", "strength"), [(3000, 1.6), (40, 1.6), (50, 20), (1, 1.6)])
def test_nothing_lies_on_the_bars_of_confidence(count, strength):
    figure = figures.draw_confidence(draw_rows(count, 0, strength), 15, 0.0123, "VGG19")
    figure.canvas.draw()
    (legend,) = figure.legends
    for axes in figure.axes:
        assert axes.get_legend() is None
        assert not legend.get_window_extent().overlaps(axes.get_tightbbox())
    assert figure.get_suptitle() == "VGG19: confidence on test, expected calibration error 0.012"
    ticks = [text.get_window_extent() for text in figure.axes[1].get_xticklabels()]
    assert not ticks[0].overlaps(ticks[1])
    plt.close(figure)


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


def test_networks_keep_their_colours_whatever_their_number():
    assert len(set(PALETTE)) == 10
    for count in (2, 5, 12):
        titles = {f"network{k}": f"Network {k}" for k in range(count)}
        f1 = pd.DataFrame({"emotion": CLASSES, **{name: np.full(7, 0.5) for name in [*titles, "ensemble"]}})
        figure = draw_class_f1(f1, titles)
        (axes,) = figure.axes
        colours = [to_hex(bars[0].get_facecolor()) for bars in axes.containers]
        assert colours[:count] == (2 * PALETTE)[:count] and colours[count] not in PALETTE
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == [*titles.values(), "Soft vote of all"]
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
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
    assert not box.overlaps(figure.axes[0].get_tightbbox())
    plt.close(figure)


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


def test_the_surest_mistakes_are_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "draw_gallery", lambda *arguments: shown.append(arguments))
    figures.draw_mistakes(np.arange(4), predict([0, 1, 2, 3], [0, 2, 1, 4], [1.0, 0.7, 0.9, 0.8]), "VGG19", count=2)
    ((faces, *texts),) = shown
    title = "VGG19: the 2 most confident of 3 errors, actual → predicted"
    assert (faces.tolist(), texts) == ([2, 3], [["fear →\ndisgust 0.90", "happy →\nsad 0.80"], title])
