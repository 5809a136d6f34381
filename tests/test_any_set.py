"""Other sets of faces through the real dvc: own classes in colour, votes for eight classes, boxes and subjects."""

import json
import re
import sys

import h5py
import numpy as np
import pytest
from conftest import ROOT, Table, make_narrow
from PIL import Image

from fer_pipeline.faces.fer2013 import CLASSES, VOTED
from fer_pipeline.raw.rows import FERPLUS_COLUMNS
from sample import draw_face

TINTS = {"at ease": (1.0, 0.8, 0.6), "bored": (0.5, 0.6, 1.0), "glad": (0.7, 1.0, 0.7)}
SHOWN = {"at ease": "neutral", "bored": "sad", "glad": "happy"}


@pytest.fixture
def narrow(clone):
    return make_narrow(clone)


def draw(name, number):
    """A drawn face of 64x64 pixels in the colour of its class."""
    face = draw_face(SHOWN[name], 1.0, np.random.default_rng([number, len(name)]))
    large = np.asarray(Image.fromarray(face).resize((64, 64)), float)
    return Image.fromarray((large[..., None] * TINTS[name]).astype(np.uint8))


def save(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def set_prepare(clone, dataset, **settings):
    """Change `dataset` and settings of `prepare` in params.yaml."""
    path = clone.path / "params.yaml"
    text = path.read_text().replace("dataset: data/raw/sample.csv", f"dataset: {dataset}")
    for key, value in settings.items():
        text = re.sub(rf"^  {key}:[^#]*", f"  {key}: {value} ", text, flags=re.M)
    path.write_text(text)


def read(clone, name):
    return json.loads((clone.path / name).read_text())


@pytest.mark.release
def test_own_classes_in_colour_from_folders_to_answers(narrow, photo_file, browse):
    """As docs/data.md says: three classes of 64x64 pixels, from a folder of pictures to `predict --model`."""
    for name in SHOWN:
        for number in range(30):
            save(draw(name, number), narrow.path / "data" / "raw" / "mine" / name / f"{number}.png")
    (line,) = re.findall("^    (dvc exp run -S dataset=data/raw/mine .*)$", (ROOT / "docs/data.md").read_text(), re.M)
    narrow.run(*line.split(), "-S", "prepare.colour=true")
    narrow.run("dvc", "repro", "-q")
    data, compare = read(narrow, "metrics/data.json"), read(narrow, "metrics/compare.json")
    assert [*data["rows"]["train"]] == ["total", *SHOWN] and data["rows"]["train"]["total"] == 72
    assert data["split"] == "made" and "seed 2013" in data["note"]
    for name in compare["table7"]:
        assert [*read(narrow, f"metrics/{name}.json")["per_class"]] == [*SHOWN]
    assert all(row["paper"] is None for row in compare["table7"].values())
    page = browse(narrow.path / "plots" / "report.html").dom
    assert "at ease" in page and "Table 5" not in page and "FER-2013" not in page
    for name in ("compact", "baseline.int8"):
        printed = narrow.run(sys.executable, "apps/predict.py", "--model", name, "--json", str(photo_file))
        (face,) = json.loads(printed)["faces"]
        assert [*face["probabilities"]] == [*SHOWN] and sum(face["probabilities"].values()) == pytest.approx(
            1, abs=1e-3
        )


def test_the_majority_of_votes_is_the_label_of_eight_classes(narrow):
    """`prepare.labels: votes`: rows without a majority are left out, and the classes are FER+'s eight."""
    table = Table(per_class=(8, 4, 4))
    (narrow.path / "data" / "raw" / "mine.csv").write_bytes(table.csv())
    rows = ["Usage,Image name," + ",".join(FERPLUS_COLUMNS)]
    said = [*FERPLUS_COLUMNS.values()]
    for i, (usage, label) in enumerate(table.rows):
        votes = dict.fromkeys(said, 0) | {CLASSES[label]: 8, "unknown": 2}
        if i % 8 == 0:
            votes = dict.fromkeys(said, 0) | {"contempt": 7, CLASSES[label]: 3}
        elif i % 8 == 1:
            votes = dict.fromkeys(said, 0) | {CLASSES[label]: 5, CLASSES[label - 1]: 5}
        rows.append(f"{usage},fer{i:07}.png," + ",".join(str(votes[name]) for name in said))
    (narrow.path / "data" / "raw" / "mine_votes.csv").write_text("\n".join([*rows, ""]))
    set_prepare(narrow, "data/raw/mine.csv", votes="data/raw/mine_votes.csv", labels="votes")
    narrow.run("dvc", "repro", "-q", "train_compact", "predict@compact", "evaluate@compact")
    data, scores = read(narrow, "metrics/data.json"), read(narrow, "metrics/compact.json")
    assert [*scores["per_class"]] == [*VOTED]
    assert data["rows"]["test"]["contempt"] > 0 and sum(data["no_majority"].values()) > 5
    assert scores["annotators"]["rows"] == scores["annotators"]["emotion_rows"] == data["rows"]["test"]["total"]
    assert scores["annotators"]["accuracy"] == scores["accuracy"]


def test_a_table_with_boxes_subjects_and_groups(narrow):
    """Each box is cropped, no subject is in two splits, and groups are kept; the labels are merged by a mapping."""
    folder, lines = narrow.path / "data" / "raw" / "mine", ["path,label,subject,x,y,w,h,group_age"]
    for number in range(60):
        name = [*SHOWN][number % 3]
        photo = Image.new("RGB", (200, 160), (255, 0, 0))
        photo.paste(draw(name, number), (100, 30))
        save(photo, folder / "photos" / f"{number}.png")
        lines.append(f"photos/{number}.png,{name},person {number // 3},100,30,64,64,{20 + number // 30}")
    (folder / "faces.csv").write_text("\n".join([*lines, ""]))
    set_prepare(narrow, "data/raw/mine", classes="{up: [glad], down: [bored, at ease]}", size="64")
    narrow.run("dvc", "repro", "-q", "export@compact")
    with h5py.File(narrow.path / "data" / "prepared" / "faces.h5") as file:
        assert file.attrs["classes"].tolist() == ["up", "down"]
        assert file.attrs["group_age"].tolist() == ["20", "21"]
        for split in ("train", "val", "test"):
            red = Image.new("RGB", (1, 1), (255, 0, 0)).convert("L").getpixel((0, 0))
            assert (file[f"{split}/images"][:, :3] != red).any(axis=(1, 2)).all(), "the red around the boxes is cut off"
            assert len(file[f"{split}/group_age"]) == len(file[f"{split}/labels"])
    assert read(narrow, "metrics/data.json")["split"] == "made"
