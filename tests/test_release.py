"""pretrained/: its files and their card, on the real data; how a release is made or refused."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from itertools import product

import numpy as np
import onnx
import pytest
import torch
from conftest import ENVIRONMENT, ROOT, put
from PIL import Image
from ruamel.yaml import YAML
from safetensors.torch import load_file
from torchvision.transforms.functional import ten_crop
from trainings import make_rows, write_faces

import release
from fer_pipeline.core.errors import InputError
from fer_pipeline.exported.onnx import OUTPUT, load_exported
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.networks.load import load_model
from fer_pipeline.networks.network import CENTRE, TEN_CROP
from fer_pipeline.params.read import read_params
from fer_pipeline.running.hardware import name_cpu

PRETRAINED = ROOT / "pretrained"
FILES = {kind: file.format("compact") for kind, file in release.FILES.items()}
WEIGHTS = "compact.safetensors"


@pytest.fixture(scope="module")
def card():
    return release.Card.model_validate_json((PRETRAINED / "compact.json").read_bytes())


def test_the_card_is_made_of_its_numbers(card):
    assert release.make_card(card) == (PRETRAINED / "README.md").read_text()
    assert (ROOT / "results" / card.run / "run.json").exists()


def test_the_card_says_what_damage_costs(card):
    found = json.loads((ROOT / "results" / card.run / "metrics/stress/compact.json").read_bytes())["test"]
    assert card.damaged.model_dump() == {key: found[key] for key in ("mean", "worst", "rows", "clean")}
    said = f"is {card.damaged.mean.accuracy:.2%} on average and {card.damaged.worst.accuracy.value:.2%}"
    assert said in " ".join((PRETRAINED / "README.md").read_text().split())


def test_the_card_begins_as_hugging_faces_do(card):
    """With its figures, for `model-index`."""
    facts = YAML(typ="safe").load((PRETRAINED / "README.md").read_text().split("---\n")[1])
    ((result,),) = (model["results"] for model in facts["model-index"])
    assert facts["pipeline_tag"] == "image-classification" and result["dataset"]["split"] == "PrivateTest"
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    first = "FER-2013's labels, first head"
    assert values[f"{first}, int8, ten crops"] == card.files["int8"].ten_crops.measured.accuracy
    crop = "one crop and its mirror image"
    assert values[f"macro F1, {first}, float32, {crop}"] == card.files["float32"].one_crop.measured.macro_f1
    assert values[f"majority among the seven, probabilities, int8, {crop}"] == card.files["int8"].answers_accuracy


def test_the_readme_says_what_its_example_agrees_with(card):
    """Its `probabilities` are the int8 file's: the second head's, and their accuracy is the card's."""
    file, text = card.files["int8"], " ".join((ROOT / "README.md").read_text().split())
    assert file.answers == "votes" and "`probabilities` are the second head's" in text
    assert (
        f"agrees with the annotators' majority on {file.answers_accuracy:.1%} of the test faces where that is "
        "one of the seven emotions" in text
    )
    assert f"the first head's (`logits`) agree with {file.one_crop.measured.accuracy:.1%} of the labels" in text


def test_the_files_are_those_of_the_card(card):
    total = 0
    for kind, name in FILES.items():
        content = (PRETRAINED / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == card.files[kind].sha256
        total += len(content)
        heads = load_exported(PRETRAINED / name).answer(np.zeros((3, 48, 48), np.uint8))
        assert [head.shape for head in heads] == [(3, 7), (3, 8)]
    assert total < 12e6 and card.files["int8"].bytes <= 2.1e6
    assert card.files["int8"].lost_on_val <= 0.2
    content = (PRETRAINED / WEIGHTS).read_bytes()
    assert hashlib.sha256(content).hexdigest() == card.weights.sha256 and len(content) <= 4.1e6


@pytest.mark.release
def test_the_card_is_right_about_fer2013(card, real_zip, run_stage, tmp_path):
    """To the digit on the same processor. Others round differently, which may change one answer or two."""
    script, votes = real_zip.parent / "to_csv.py", real_zip.parent / "ferplus" / "fer2013new.csv"
    if not (script.exists() and votes.exists()):
        pytest.skip("beside FER-2013 there is no FER+, or no script that brings it into FER+'s order")
    source, faces = tmp_path / "fer2013.csv", tmp_path / "faces.h5"
    subprocess.run([sys.executable, script, real_zip, source], check=True, capture_output=True)
    arguments = ["--source", source, "--votes", votes, "--split", card.split, "--out", faces]
    prepared = run_stage("prepare", *arguments, "--report", tmp_path / "data.json", "--plots", tmp_path / "plots")
    assert prepared.returncode == 0, prepared.stderr
    splits, _ = read_faces(faces)
    settings = read_params().evaluate
    for kind, name in FILES.items():
        said = card.files[kind]
        crops = ((1, said.one_crop), (10, said.ten_crops)) if kind == "int8" else ((1, said.one_crop),)  # it is slow
        for number, accuracy in crops:
            model = load_exported(PRETRAINED / name)
            found = release.measure_accuracy(model, splits, number, settings, card.seed)
            here = card.speed_hardware == name_cpu()
            allowed = (1e-6 if here else 1.5 if kind == "float32" else 3) / len(splits["test"].labels)
            for key in ("accuracy", "accuracy_unseen", "val_accuracy"):
                assert getattr(found.measured, key) == pytest.approx(getattr(accuracy.measured, key), abs=allowed)
            assert found.annotators.votes_accuracy == pytest.approx(accuracy.annotators.votes_accuracy, abs=allowed)
            if here and kind == "float32":
                assert found.measured.per_class == accuracy.measured.per_class


IN_STAGES = ENVIRONMENT | {"PYTHONPATH": "stages", "OMP_NUM_THREADS": "1"}


JUDGE = """
import sys
import numpy as np
from fer_pipeline.exported.onnx import load_exported
model = load_exported("pretrained/compact.int8.onnx")
np.save(sys.argv[2], model.compute(np.load(sys.argv[1]), "logits", "votes")["logits"])
"""


@pytest.mark.release
def test_a_processor_without_vnni_answers_alike(tmp_path):
    """There a product of full int8 weights overflows, which once cost five points of accuracy."""
    if not shutil.which("qemu-x86_64"):
        pytest.skip("no qemu-x86_64 here; install Debian's package qemu-user")
    faces, answers = tmp_path / "faces.npy", {}
    with Image.open(ROOT / "docs/photos/grace-hopper.jpg") as photo:
        grey = photo.convert("L").crop((183, 120, 353, 332)).resize((48, 48))
    np.save(faces, np.stack([grey, grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]))
    for name, qemu in {"this": [], "without": ["qemu-x86_64", "-cpu", "Haswell"]}.items():
        command = [*qemu, sys.executable, "-c", JUDGE, faces, tmp_path / name]
        subprocess.run(command, cwd=ROOT, check=True, env=IN_STAGES, capture_output=True)
        answers[name] = np.load(tmp_path / f"{name}.npy")
    np.testing.assert_allclose(answers["without"], answers["this"], atol=1e-4)


@pytest.mark.parametrize("crop", [44, 48, 40])
def test_shifted_faces_have_torchvisions_crops(crop):
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8)
    edge = (48 - crop) // 2
    inner = slice(edge, edge + crop)
    ours = {moved[:, inner, inner].tobytes() for moved in release.shift_for_crops(faces, crop, 10)}
    theirs = {one.numpy().tobytes() for one in ten_crop(torch.from_numpy(faces), crop)}
    assert ours == theirs
    assert [moved is faces for moved in release.shift_for_crops(faces, crop, 1)] == [True]


@pytest.fixture
def kept(finished_clone):
    """A finished clone with a kept run `run`, whose networks claim to be trained on FER-2013."""
    path = finished_clone.path
    for name in FILES.values():
        file = path / "models/export" / name
        model = onnx.load(file)
        facts = {prop.key: prop.value for prop in model.metadata_props} | {"trained_on": "fer2013.csv"}
        onnx.helper.set_model_props(model, facts)
        file.unlink()  # it may be a link into the cache
        onnx.save(model, file)
    keep_run(finished_clone)
    return finished_clone


def keep_run(clone):
    """Write results/run: the clone's metrics, and its dvc.lock with the MD5 of the files in models/export/."""
    shutil.copytree(clone.path / "metrics", clone.path / "results" / "run" / "metrics")
    facts = {"profile": "best", "split": "official", "seed": 2013, "dataset": "fer2013.csv"}
    facts["networks"] = {"compact": {"hardware": "A GPU", "versions": {"torch": "2.11.0"}, "commit": "a" * 40}}
    (clone.path / "results" / "run" / "run.json").write_text(json.dumps(facts))
    yaml = YAML()
    lock = yaml.load(clone.path / "dvc.lock")
    for out in lock["stages"]["export@compact"]["outs"]:
        out["md5"] = hashlib.md5((clone.path / out["path"]).read_bytes()).hexdigest()
    yaml.dump(lock, clone.path / "results" / "run" / "dvc.lock")


def make_release(clone, name="run", code=0):
    return clone.run(sys.executable, "tools/release.py", name, "compact", code=code)


def test_a_release_is_measured_and_said(kept, monkeypatch):
    """Its numbers are the files': accuracy is computed in another way, and each number of the card is in the JSON."""
    shutil.rmtree(kept.path / "pretrained", ignore_errors=True)
    assert "-> pretrained/" in make_release(kept)
    folder = kept.path / "pretrained"
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "compact.json",
        "photo.onnx",
        WEIGHTS,
        *FILES.values(),
    }
    card = release.Card.model_validate_json((folder / "compact.json").read_bytes())
    splits, facts = read_faces(kept.path / "data/prepared/faces.h5")
    test, val, trained = splits["test"], splits["val"], kept.path / "models" / WEIGHTS
    for kind, name in FILES.items():
        assert (folder / name).read_bytes() == (kept.path / "models/export" / name).read_bytes()
        model = load_exported(folder / name)
        right = model.predict(test.images).argmax(axis=1) == test.labels
        assert card.files[kind].one_crop.measured.accuracy == pytest.approx(right.mean(), abs=1e-6)
        average = release.predict(model, test.images, 10, OUTPUT)
        crops = [release.predict(model, moved, 1, OUTPUT) for moved in release.shift_for_crops(test.images, 44, 10)]
        assert np.allclose(average, np.mean(crops, axis=0))
        right = average.argmax(axis=1) == test.labels
        assert card.files[kind].ten_crops.measured.accuracy == pytest.approx(right.mean(), abs=1e-6)
    state, rounded = (load_file(path) for path in (trained, folder / WEIGHTS))
    assert all(torch.equal(state[key].half(), one) for key, one in rounded.items() if one.is_floating_point())
    said = (
        load_model("compact", folder / WEIGHTS, "float32", facts).predict(val.images, CENTRE)[0, :, :7].argmax(axis=1)
    )
    assert card.weights.val_accuracy == pytest.approx((said == val.labels).mean(), abs=1e-6)
    assert card.weights.lost_on_val <= release.MOST_LOST and card.weights.bytes == (folder / WEIGHTS).stat().st_size
    monkeypatch.setattr(release, "MOST_LOST", card.weights.lost_on_val - 0.01)
    with pytest.raises(InputError, match="compact.safetensors: in float16 it loses .* points of val accuracy"):
        release.round_weights(trained, "compact", val, facts)
    text = (folder / "README.md").read_text()
    assert text == release.make_card(card)
    assert f"{card.files['int8'].ten_crops.measured.accuracy:.2%}" in text and "`fer2013.csv`" in text
    assert "| trained on | A GPU, torch 2.11.0, commit aaaaaaaaaa, " in text
    assert "None" not in text and not re.search(r"[ \t]\n|\n\n\n", text)
    links = re.findall(r"\]\(([^)#]+)", text)
    assert all((folder / link).exists() for link in links)
    assert {"compact.onnx", "compact.int8.onnx", WEIGHTS, "compact.json", "../docs/responsible-use.md"} <= set(links)
    one_head = change(card, {"annotators": None, "votes_ci95": None})
    assert "second" in text and "second" not in release.make_card(one_head)
    changes = {"measured.accuracy": 0.1234, "measured.macro_f1": 0.4321, "measured.accuracy_unseen": 0.3333}
    changed = release.make_card(change(card, changes))
    assert all(f"{one:.2%}" in changed and f"{one:.2%}" not in text for one in changes.values())


def change(card, values):
    """A card with other values inside what ten crops of the float32 file give."""
    values = {f"card: files.float32.ten_crops.{key}": value for key, value in values.items()}
    return release.Card.model_validate(put({"card": card.model_dump()}, values)["card"])


def test_a_release_from_the_cache(kept):
    """It takes the run's files from there if the working tree has another run's; if both are damaged it says so."""
    for name in FILES.values():
        file = kept.path / "models/export" / name
        md5 = hashlib.md5(file.read_bytes()).hexdigest()
        place = kept.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)
        file.write_bytes(b"another run's")
    make_release(kept)
    before = (kept.path / "pretrained/README.md").read_bytes()
    place.chmod(0o644)
    place.write_bytes(b"damaged")
    printed = make_release(kept, code=1)
    assert re.fullmatch(r"error: models/export/compact.int8.onnx: the file of that run .+; run `dvc pull`\n", printed)
    assert (kept.path / "pretrained/README.md").read_bytes() == before


def test_what_cannot_be_released(finished_clone):
    """Each in one sentence, and pretrained/ stays as it is."""
    path = finished_clone.path
    before = {file: file.read_bytes() for file in (path / "pretrained").glob("*")}
    printed = make_release(finished_clone, "none", 1)
    assert "results/none: no kept run; keep one with `make results NAME=none`" in printed
    keep_run(finished_clone)
    assert "know drawn faces only" in make_release(finished_clone, code=1)
    lock = YAML(typ="safe").load(path / "dvc.lock")
    del lock["stages"]["export@compact"]
    YAML().dump(lock, path / "results" / "run" / "dvc.lock")
    assert "made no models/export/compact.onnx" in make_release(finished_clone, code=1)
    assert {file: file.read_bytes() for file in (path / "pretrained").glob("*")} == before


@pytest.mark.release
def test_further_seeds(finished_clone):
    """Each is trained once, with the kept run's settings but the seed; the vote averages their probabilities.

    The run's own network is not needed, nor are params.yaml and profiles as they were.
    """
    path = finished_clone.path
    command = (sys.executable, "tools/seeds.py", "tiny", "compact")
    assert "results/tiny: no kept run" in finished_clone.run(*command, "5", code=1)
    with open(path / "README.md", "a") as readme:
        readme.write("<!-- results tiny -->\n\n<!-- end of results -->\n")
    finished_clone.run(sys.executable, "tools/collect.py", "tiny")
    own, file = json.loads((path / "metrics/compact.json").read_text()), path / "models/compact.safetensors"
    file.rename(path / "away.safetensors")
    finished_clone.edit("params.yaml", {"profile: smoke ": "profile: best ", "seed: 2013": "seed: 7"})
    (path / "profiles/smoke.yaml").unlink()
    assert "epoch 2" in finished_clone.run(*command, "5")
    kept = path / "results/tiny/seeds.json"
    found = json.loads(kept.read_text())
    assert [one["seed"] for one in found["seeds"]] == [2013, 5]
    assert all(found["seeds"][0][key] == own[key] for key in ("accuracy", "accuracy_views", "val_accuracy_views"))
    assert found["mean_views"] == pytest.approx(np.mean([one["accuracy_views"] for one in found["seeds"]]), abs=1e-6)
    trained = [
        json.loads((path / file).read_text())
        for file in ("metrics/train/compact.json", "build/seeds/compact-5/training.json")
    ]
    for one, report in zip(found["seeds"], trained, strict=True):
        assert (one["best_epoch"], one["epochs"], one["hardware"]) == (report["best_epoch"], 2, name_cpu())
        assert one["versions"]["torch"] == version("torch")
    assert [place.name for place in sorted(kept.parent.glob("predictions/*-5*"))] == [
        f"compact-5{head}.csv.gz" for head in ("", "_single_crop", "_views", "_votes")
    ]
    commit = finished_clone.run("git", "rev-parse", "HEAD").strip()
    assert [(one["commit"], one["clean"]) for one in found["seeds"]][1:] == [(commit, False)]
    accuracies = [one["accuracy"] for one in found["seeds"]]
    assert found["mean"] == pytest.approx(np.mean(accuracies), abs=1e-6)
    assert (found["lowest"], found["highest"]) == (min(accuracies), max(accuracies))
    page = " ".join((path / "README.md").read_text().split())
    assert f"Over the seeds 2013 and 5, Compact averages {found['mean']:.2%}" in page
    files = (path / "away.safetensors", path / "build/seeds/compact-5/compact.safetensors")
    assert files[0].read_bytes() != files[1].read_bytes()
    splits, facts = read_faces(path / "data/prepared/faces.h5")
    test = splits["test"]
    both = [
        load_model("compact", file, own["precision"], facts).predict(test.images, TEN_CROP)[0, :, :7] for file in files
    ]
    right = np.mean(both, axis=0).argmax(axis=1) == test.labels
    assert found["vote"]["accuracy"] == pytest.approx(right.mean(), abs=1e-6)

    shutil.rmtree(path / "build")
    printed = finished_clone.run(*command, "5", "6")
    assert printed.count("epoch 2") == 1 and "seed 6" in printed
    more = json.loads(kept.read_text())
    assert more["seeds"][:2] == found["seeds"] and more["seeds"][2]["seed"] == 6
    rescore = (sys.executable, "tools/rescore.py", "tiny")
    assert "\nseeds.json: as the predictions say\n" in finished_clone.run(*rescore)
    kept.write_text(json.dumps(put({"seeds": more}, {"seeds: seeds[1].accuracy_views": 0.123})["seeds"]))
    assert "seeds.json: seeds[1].accuracy_views is 0.123, by the pred" in finished_clone.run(*rescore, code=1)
    assert "2013 is the run's own seed" in finished_clone.run(*command, "2013", code=1)
    assert "has those of compact; a run" in finished_clone.run(*command[:3], "vgg19", "5", code=1)
    assert "has no network 'x'; it has baseline, vgg19" in finished_clone.run(*command[:3], "x", "5", code=1)
    (path / "data/prepared/faces.h5").unlink()
    assert "faces.h5 is missing, or not the run's (MD5 " in finished_clone.run(*command, "7", code=1)


@pytest.mark.release
def test_the_worth_of_a_start_is_measured(clone):
    """On other rows than the start's, of five classes in their natural shares; what was trained is not trained again."""
    path, rows = clone.path, make_rows(140, 1)
    val = make_rows(35, 2)
    val.duplicate_of_train[:4] = True
    rows.images[135] = rows.images[3]  # a fear that is also a happy
    write_faces(path / "faces.h5", rows, val)
    command = (sys.executable, "benchmarks/tune.py", "faces.h5", "--rows", "20", "100", "--seeds", "5", "--epochs", "2")
    assert "tuned, 20 rows, seed 5: " in clone.run(*command)
    found = json.loads((path / "results/tune.json").read_text())
    assert [(one["rows"], one["way"]) for one in found["runs"]] == [*product((20, 100), ("tuned", "from nothing"))]
    (start, facts), (own, five), (few, _) = (
        read_faces(path / f"build/tune/{name}.h5") for name in ("start", "100-5", "20-5")
    )
    images = [{image.tobytes() for image in one["train"].images} for one in (start, own, few)]
    assert not images[0] & images[1] and images[2] < images[1] and len(images[0]) == 39
    assert five.classes == ("angry", "happy", "sad", "surprise", "neutral") and facts.classes == facts.voted
    assert np.bincount(few["train"].labels).tolist() == [4] * 5 and found["val_rows"] == len(few["val"].labels) == 23
    cells = [f"{one['val_accuracy']:.2%}" for one in found["runs"]]
    table = re.findall(
        r"^\| (\d+) \| (.+?) \(.+\) \| (.+?) \(", (path / "docs/experiments.md").read_text(), re.MULTILINE
    )
    assert table[:2] == [("20", *cells[:2]), ("100", *cells[2:])]
    assert "epoch 2" not in clone.run(*command)
