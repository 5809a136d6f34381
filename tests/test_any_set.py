"""Other sets of faces through the real dvc: own classes in colour, votes, boxes, subjects and groups."""

import json
import re
import sys

import h5py
import numpy as np
import pytest
from conftest import ROOT, Table, encode, make_narrow, write_folder
from PIL import Image

from fer_pipeline.faces.fer2013 import CLASSES, VOTED
from fer_pipeline.raw.rows import FERPLUS_COLUMNS
from sample import draw_face

TINTS = {"at ease": (1.0, 0.8, 0.6), "bored": (0.5, 0.6, 1.0), "glad": (0.7, 1.0, 0.7)}
SHOWN = {"at ease": "neutral", "bored": "sad", "glad": "happy"}


def draw(name, number):
    """A drawn face of 64x64 pixels in the colour of its class."""
    face = draw_face(SHOWN[name], 1.0, np.random.default_rng([number, len(name)]))
    large = np.asarray(Image.fromarray(face).resize((64, 64)), float)
    return (large[..., None] * TINTS[name]).astype(np.uint8)


@pytest.mark.release
def test_own_classes_in_colour_from_folders_to_answers(clone, photo_file, browser):
    """As docs/data.md says: three classes of 64x64 pixels, from a folder of pictures to `predict --model`."""
    narrow = make_narrow(clone)
    places = [(name, number) for name in SHOWN for number in range(30)]
    files = {f"{name}/{number}.png": encode(draw(name, number), mode="RGB") for name, number in places}
    write_folder(narrow.path / "data" / "raw" / "mine", files)
    (line,) = re.findall("^    (dvc exp run -S dataset=data/raw/mine .*)$", (ROOT / "docs/data.md").read_text(), re.M)
    narrow.run(*line.split(), "-S", "prepare.colour=true")
    narrow.run("dvc", "repro", "-q")
    data, compare = narrow.read_json("metrics/data.json"), narrow.read_json("metrics/compare.json")
    assert [*data["rows"]["train"]] == ["total", *SHOWN] and data["rows"]["train"]["total"] == 72
    assert data["split"] == "made" and "seed 2013" in data["note"]
    for name in compare["table7"]:
        assert [*narrow.read_json(f"metrics/{name}.json")["per_class"]] == [*SHOWN]
    assert all(row["paper"] is None for row in compare["table7"].values())
    page = browser.read_file(narrow.path / "plots" / "report.html")
    assert "at ease" in page and "Table 5" not in page and "FER-2013" not in page
    for name in ("compact", "baseline.int8"):
        printed = narrow.run(sys.executable, "apps/predict.py", "--model", name, "--json", str(photo_file))
        (face,) = json.loads(printed)["faces"]
        shares = face["probabilities"]
        assert [*shares] == [*SHOWN] and sum(shares.values()) == pytest.approx(1, abs=1e-3)


def test_the_majority_of_votes_is_the_label_of_eight_classes(clone):
    """`prepare.labels: votes` on FER-2013's form: rows without a majority are left out, and the classes are FER+'s."""
    narrow, table, said = make_narrow(clone), Table(per_class=(8, 4, 4)), [*FERPLUS_COLUMNS.values()]
    (narrow.path / "data" / "raw" / "mine.csv").write_bytes(table.csv())
    rows = ["Usage,Image name," + ",".join(FERPLUS_COLUMNS)]
    for i, (usage, label) in enumerate(table.rows):
        name, other = CLASSES[label], CLASSES[label - 1]
        votes = {0: {"contempt": 7, name: 3}, 1: {name: 5, other: 5}}.get(i % 8, {name: 8, "unknown": 2})
        rows.append(f"{usage},fer{i:07}.png," + ",".join(str(votes.get(one, 0)) for one in said))
    (narrow.path / "data" / "raw" / "mine_votes.csv").write_text("\n".join([*rows, ""]))
    changes = {"dataset: data/raw/sample.csv": "dataset: data/raw/mine.csv", "labels: emotion": "labels: votes"}
    narrow.edit("params.yaml", changes | {"data/raw/sample_votes.csv": "data/raw/mine_votes.csv"})
    narrow.run("dvc", "repro", "-q", "evaluate@compact")
    data, scores = narrow.read_json("metrics/data.json"), narrow.read_json("metrics/compact.json")
    assert [*scores["per_class"]] == [*VOTED]
    assert data["rows"]["test"]["contempt"] > 0 and sum(data["no_majority"].values()) > 5
    assert scores["annotators"]["accuracy"] == scores["accuracy"]


def test_a_table_with_boxes_subjects_groups_and_votes(clone):
    """Each box is cropped, no subject is in two splits, groups are kept, and the majority of votes is the label.

    The folder's name has blanks, and a mapping merges classes.
    """
    narrow, files, red = make_narrow(clone), {}, (255, 0, 0)
    lines = [f"path,subject,x,y,w,h,group_age,{','.join(f'votes_{name}' for name in SHOWN)}"]
    for number in range(60):
        name = [*SHOWN][number % 3]
        photo = np.full((160, 200, 3), red, np.uint8)
        photo[30:94, 100:164] = draw(name, number)
        files[f"photos/{number}.png"] = encode(photo, mode="RGB")
        votes = "5,0,5" if number % 10 == 9 else ",".join("9" if one == name else "1" for one in SHOWN)
        lines.append(f"photos/{number}.png,person {number // 3},100,30,64,64,{20 + number // 30},{votes}")
    files["faces.csv"] = "\n".join([*lines, ""]).encode()
    write_folder(narrow.path / "data" / "raw" / "my faces (1)", files)
    changes = {"dataset: data/raw/sample.csv": "dataset: data/raw/my faces (1)", "labels: emotion": "labels: votes"}
    changes |= {"classes: ": "classes: {up: [glad], down: [bored, at ease]}", "size: ": "size: 64 "}
    narrow.edit("params.yaml", changes)
    narrow.run("dvc", "repro", "-q", "export@compact", "evaluate@compact")
    with h5py.File(narrow.path / "data" / "prepared" / "faces.h5") as file:
        assert file.attrs["classes"].tolist() == ["up", "down"]
        assert file.attrs["group_age"].tolist() == ["20", "21"]
        for split in ("train", "val", "test"):
            grey = Image.new("RGB", (1, 1), red).convert("L").getpixel((0, 0))
            assert (file[f"{split}/images"][:, :3] != grey).any(axis=(1, 2)).all(), (
                "the red around the boxes is cut off"
            )
            assert len(file[f"{split}/group_age"]) == len(file[f"{split}/labels"])
    data, scores = narrow.read_json("metrics/data.json"), narrow.read_json("metrics/compact.json")
    assert data["split"] == "made" and sum(data["no_majority"].values()) == 6
    assert scores["annotators"]["rows"] == scores["annotators"]["emotion_rows"] == data["rows"]["test"]["total"]
    assert scores["annotators"]["accuracy"] == scores["accuracy"]
    (ages,) = scores["groups"]
    assert ages["kind"] == "age" and {one["name"] for one in ages["groups"]} <= {"20", "21"} and ages["gap"] is None
    right = [one["images"] * one["accuracy"] for one in ages["groups"]]
    assert sum(right) == pytest.approx(data["rows"]["test"]["total"] * scores["accuracy"], abs=1e-4)
    assert "data/raw" not in narrow.run("git", "status", "--porcelain")
