"""What `dvc` shows, by the real `dvc` in a clone with two branches, and its page in headless Chromium."""

import base64
import json
import re
import shutil
import sys
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import ROOT, Clone
from ruamel.yaml import YAML

import plots_page
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.figures.style import PALETTE
from fer_pipeline.metrics.scores import Summary
from fer_pipeline.networks.network import find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.training.common.run import HISTORY

NETWORKS = {name: network.TITLE for name, network in find_networks(read_params().networks).items()}
TEMPLATES = ROOT / ".dvc" / "plots"
SVG = "{http://www.w3.org/2000/svg}"


def write_results(clone, seed):
    """Small results of all networks: 90 predictions, no disgust among the actual classes, curves of four points."""
    rng = np.random.default_rng(seed)
    for name in NETWORKS:
        actual = rng.choice([0, 2, 3, 4, 5, 6], 90)
        predicted = np.where(rng.random(90) < 0.7, actual, rng.integers(0, 7, 90))
        rows = [f"{CLASSES[a]},{CLASSES[p]}" for a, p in zip(actual, predicted, strict=True)]
        accuracy = float((actual == predicted).mean())
        scores = dict.fromkeys(Summary.model_fields, 0.123456) | {"accuracy": round(accuracy, 6)}
        points = [f"{x / 4},{accuracy},20" for x in range(1, 5)]
        bins = [f"{x / 5},{x / 5 + 0.2},{10 * x},{x / 5 + 0.1},{accuracy}" for x in range(1, 5)]
        epochs = [f"{x},0.01,{2 / x},{1 - 0.8 / x},{2.1 / x},{accuracy}" for x in range(1, 5)]
        files = {
            f"plots/{name}/test/confusion.csv": ["actual,predicted", *rows],
            f"plots/{name}/test/risk_coverage.csv": ["coverage,accuracy,images", *points],
            f"plots/{name}/test/calibration.csv": ["low,high,images,confidence,accuracy", *bins],
            f"plots/{name}/history.csv": [",".join(HISTORY), *epochs],
            f"metrics/summary/{name}.json": [json.dumps(scores)],
            "metrics/summary/ensemble.json": [json.dumps(scores)],
        }
        for path, lines in files.items():
            (clone.path / path).parent.mkdir(parents=True, exist_ok=True)
            (clone.path / path).write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def branches(tmp_path_factory):
    """A clone on the branch `ours`; `other` has other results and another seed.

    All results are in git here, so that no stage has to run: how plots look does not depend on where files are kept.
    """
    path = tmp_path_factory.mktemp("clone")
    clone = Clone(path)
    summaries = [f"metrics/summary/{name}.json" for name in (*NETWORKS, "ensemble")]
    (clone.path / "dvc.yaml").write_text(json.dumps({"metrics": summaries}))
    for folder in ("plots", "metrics"):
        (clone.path / folder / ".gitignore").unlink()
    clone.commit()
    clone.run("git", "checkout", "-q", "-b", "other")
    write_results(clone, seed=1)
    clone.edit("params.yaml", {"seed: 2013": "seed: 7"})
    clone.commit()
    clone.run("git", "checkout", "-q", "-b", "ours", "HEAD^")
    write_results(clone, seed=2)
    clone.commit()
    return clone


def count_pairs(clone, branch, name):
    """{(actual, predicted): images} of a branch's confusion.csv, by hand."""
    lines = clone.run("git", "show", f"{branch}:plots/{name}/test/confusion.csv").splitlines()[1:]
    return Counter(tuple(line.split(",")) for line in lines)


def find_errors(browser):
    """What a page of DVC's asked for elsewhere, and its errors: Vega warns about the version of its specifications."""
    return [one for one in browser.list_foreign() if isinstance(one, str) or one["level"] != "WARNING"]


def find_drawing(dom, title):
    drawings = re.findall(r'<svg[^>]* class="marks".*?</svg>', dom, re.DOTALL)
    (found,) = [drawing for drawing in drawings if f">{title}</text>" in drawing]
    return ElementTree.fromstring(found if "xmlns=" in found else found.replace("<svg", f'<svg xmlns="{SVG[1:-1]}"', 1))


def find_groups(drawing, role):
    return [group for group in drawing.iter(f"{SVG}g") if role in group.get("class", "").split()]


def read_texts(group):
    return [text.text for text in group.iter(f"{SVG}text")]


def read_heat_maps(drawing):
    """{header: {(actual, predicted): images}} of what is drawn, zeros left out."""
    maps = {}
    for cell in (panel for group in find_groups(drawing, "cell") for panel in group):
        ((header,),) = [read_texts(title) for title in find_groups(cell, "role-title-text")]
        labels = [path.get("aria-label") for path in cell.iter(f"{SVG}path") if path.get("aria-label")]
        parts = [dict(part.split(": ") for part in label.split("; ")) for label in labels]
        counts = {(part["actual"], part["predicted"]): int(part["images"]) for part in parts}
        assert len(counts) == len(labels)
        maps[header] = {pair: count for pair, count in counts.items() if count}
        written = [text for group in find_groups(cell, "mark-text") for text in read_texts(group)]
        assert Counter(map(int, written[: len(labels)])) == Counter(counts.values())
    return maps


def test_the_page_is_what_its_script_makes():
    made = plots_page.make_page()
    assert (TEMPLATES / "page.html").read_bytes() == made.encode(), "run `python tools/plots_page.py`"
    assert made.count("{plot_divs}") == made.count("{refresh_tag}") == 1
    assert made.count("</script>") == 1
    assert "{scripts}" not in made  # there DVC would put its CDN


def test_the_template_has_the_classes_of_the_challenge():
    text = (TEMPLATES / "confusion_matrix.json").read_text()
    assert f"'{' '.join(CLASSES)}'" in text, "the order of both axes; other classes follow by the alphabet"


@pytest.mark.parametrize("name", ["curves", "reliability"])
def test_the_templates_have_the_colours_of_the_pictures(name):
    (found,) = re.findall(r'"range": (\["#[^]]*\])', (TEMPLATES / f"{name}.json").read_text())
    assert json.loads(found) == PALETTE


def test_every_plot_is_drawn_from_what_a_stage_writes():
    """Each file named under `plots:` is, or lies in, an output of a stage."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    outs = set()
    for stage in stages.values():
        body = stage.get("do", stage)
        for item in NETWORKS if "foreach" in stage else [""]:
            listed = [*body.get("outs", []), *body.get("plots", [])]
            paths = [out if isinstance(out, str) else next(iter(out)) for out in listed]
            outs |= {path.replace("${key}", item) for path in paths}
    for plot in YAML(typ="safe").load(ROOT / "plots" / "dvc.yaml")["plots"]:
        for file in [plot] if isinstance(plot, str) else next(iter(plot.values()))["y"]:
            assert any(f"plots/{file}" == out or f"plots/{file}".startswith(f"{out}/") for out in outs), file


def test_dvc_metrics_shows_the_summaries_alone():
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values()
    shown = [path for stage in stages for metric in stage.get("do", stage).get("metrics", []) for path in metric]
    assert shown == ["metrics/summary/${key}.json", "metrics/summary/ensemble.json"]


@pytest.mark.release
def test_show_draws_a_confusion_matrix_per_network(branches, browser):
    branches.run("dvc", "plots", "show")
    html = (branches.path / "dvc_plots" / "index.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", html.replace("https://vega.github.io", ""))
    page = browser.read_file(branches.path / "dvc_plots" / "index.html")
    assert find_errors(browser) == []
    for name, title in NETWORKS.items():
        drawing = find_drawing(page, f"{title}: test images by actual and predicted class")
        assert read_heat_maps(drawing) == {f"{name}, workspace": count_pairs(branches, "ours", name)}
    for title in ("Accuracy while training", "Loss while training"):
        drawing = find_drawing(page, title)
        lines = [path for path in drawing.iter(f"{SVG}path") if "line mark" in str(path.attrib)]
        assert len(lines) == 2 * len(NETWORKS)
        legend = [text for group in find_groups(drawing, "role-legend") for text in read_texts(group)]
        assert legend == [*NETWORKS, "network", "val", "train"]
        dashes = {(path.get("aria-label").split("line: ")[1][:3], path.get("stroke-dasharray")) for path in lines}
        assert dashes == {("val", "1,0"), ("tra", "4,2")}, "as in curves.png"
    drawing = find_drawing(page, "Reliability diagram on test")
    labels = [path.get("aria-label", "") for path in drawing.iter(f"{SVG}path")]
    points = [dict(part.split(": ") for part in label.split("; ")) for label in labels if "images: " in label]
    drawn = [(point["network"], point["images"]) for point in points]
    assert sorted(drawn) == sorted((name, f"{count}") for name in NETWORKS for count in (10, 20, 30, 40))
    assert len([path for path in drawing.iter(f"{SVG}path") if "line mark" in str(path.attrib)]) == len(NETWORKS) + 1
    legend = [text for group in find_groups(drawing, "role-legend") for text in read_texts(group)]
    assert [text for text in legend if text in NETWORKS] == [*NETWORKS]
    pictures = re.findall(r'<img src="([^"]+)"', page.partition("</head>")[2])
    assert "plots_data_classes.png" in str(pictures)
    for picture in pictures:
        assert (branches.path / "dvc_plots" / picture).is_file()


@pytest.mark.release
def test_diff_draws_each_branch_under_its_own_name(branches, browser):
    branches.run(sys.executable, "tools/diff_page.py", "other")
    page = browser.read_file(branches.path / "dvc_plots" / "diff.html")
    assert find_errors(browser) == []
    for name, title in NETWORKS.items():
        drawing = find_drawing(page, f"{title}: test images by actual and predicted class")
        ours, other = (count_pairs(branches, branch, name) for branch in ("ours", "other"))
        assert ours != other
        assert read_heat_maps(drawing) == {f"{name}, workspace": ours, f"{name}, other": other}


@pytest.mark.release
def test_several_files_in_one_plot_keep_their_headers(branches, browser):
    """One plot of all networks, where a revision has one file less than the other."""
    files = {f"plots/{name}/test/confusion.csv": "actual" for name in NETWORKS}
    plot = {"Together": {"template": "confusion_matrix", "x": "predicted", "y": files}}
    for branch, tag in (("other", "all"), ("ours", "fewer")):
        branches.run("git", "checkout", "-q", "--detach", branch)
        (branches.path / "dvc.yaml").write_text(json.dumps({"plots": [plot]}))
        (branches.path / "plots" / "dvc.yaml").write_text("{}")
        if tag == "fewer":
            (branches.path / "plots/baseline/test/confusion.csv").unlink()
        branches.commit()
        branches.run("git", "tag", tag)
    branches.run("dvc", "plots", "diff", "fewer", "all", "-o", "together")
    branches.run("git", "checkout", "-q", "ours")
    page = browser.read_file(branches.path / "together" / "index.html")
    drawn = read_heat_maps(find_drawing(page, "Together"))
    fewer = [name for name in NETWORKS if name != "baseline"]
    pairs = [*[("fewer", name) for name in fewer], *[("all", name) for name in NETWORKS]]
    assert drawn == {f"{name}, {tag}": count_pairs(branches, tag, name) for tag, name in pairs}


def test_metrics_and_params_across_branches(branches):
    shown = branches.run("dvc", "metrics", "show")
    assert max(map(len, shown.splitlines())) <= 80, shown
    for name in NETWORKS:
        assert f"metrics/summary/{name}.json" in shown
    (line,) = [line for line in branches.run("dvc", "metrics", "diff", "other").splitlines() if "vgg19" in line]
    _, key, before, after, *_ = line.split()
    assert key == "accuracy" and before != after
    assert "seed" in branches.run("dvc", "params", "diff", "other")


def test_diff_without_caches_shows_what_git_has(clone):
    """One picture, one metric and one parameter differ; no cache is there, as in a clone without a remote."""
    assert "error: unknown Git revision 'nowhere'" in clone.run(sys.executable, "tools/diff_page.py", "nowhere", code=1)
    places = [clone.path / "plots" / name for name in ("sample.png", "data/classes.png")]
    before, after = (base64.b64encode(place.read_bytes()).decode() for place in places)
    shutil.copyfile(places[1], places[0])
    summary = clone.path / "metrics" / "summary" / "ensemble.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"accuracy": 0.25}))
    clone.edit("params.yaml", {"seed: 2013": "seed: 7"})
    clone.run(sys.executable, "tools/diff_page.py", "HEAD")
    page, text = ((clone.path / "dvc_plots" / f"diff.{form}").read_text() for form in ("html", "md"))
    pictures = re.findall('<img src="([^"]+)"', page.partition("</head>")[2])
    assert pictures == [f"data:image/png;base64,{data}" for data in (after, before)]
    assert "DVC's cache lacks plots of workspace, HEAD here" in text
    rows = re.findall("^[|] *(metrics|params)[^|]*[|] *([^ |]+) *[|][^|]*[|] *([^ |]+)", text, re.MULTILINE)
    assert rows == [("metrics", "accuracy", "0.25"), ("params", "seed", "7")]
    assert "<td>seed</td>" in page and "the same in both and not shown: 3." in text


@pytest.mark.release
def test_a_page_with_a_network_would_be_noticed(browser, tmp_path):
    """What the tests above rely on."""
    path = tmp_path / "page.html"
    path.write_text('<img src="http://example.org/a.png"><script src="https://cdn.example.org/vega"></script>')
    browser.read_file(path)
    asked = [one for one in browser.list_foreign() if isinstance(one, str)]
    assert sorted(asked) == ["http://example.org/a.png", "https://cdn.example.org/vega"]
