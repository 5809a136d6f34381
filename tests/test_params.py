"""Parameters: what is wrong in them is named before any work begins, and stages read what dvc.yaml declares."""

import ast
import re
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT, refuse
from ruamel.yaml import YAML

import sample
from fer_pipeline.params.read import read_params
from fer_pipeline.training.common import profile

PIPELINE = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
TEXT = (ROOT / "params.yaml").read_text()
PROFILES = {path.stem: path.read_text() for path in (ROOT / "profiles").glob("*.yaml")}


VIEWS = TEXT[TEXT.index("test_views:") : TEXT.index("\ncompute:")]
BAD = {
    "unknown key": ("seed: 2013", "seed: 2013\nsede: 1", "params.yaml: sede: unknown key; allowed here: profile, dataset, seed, networks"),
    "unknown key inside": ("  split: official", "  split: official\n  splits: x", "prepare.splits: unknown key; allowed here: split, votes, drop"),
    "missing key": ("seed: 2013", "", "params.yaml: seed: missing"),
    "text for a number": ("seed: 2013", "seed: '2013'", "seed: found '2013'; it should be a valid integer"),
    "number for a switch": ("drop_blank: false", "drop_blank: 0", "prepare.drop_blank: found 0; it should be a valid boolean"),
    "another word": ("split: official", "split: offical", "prepare.split: found 'offical'; it should be 'official' or 'paper'"),
    "another profile": ("profile: smoke", "profile: gpu", "profile: found 'gpu'; it should be one of best, cpu, paper, smoke, tune"),
    "out of range": ("weak_share: 0.1", "weak_share: 1.5", "sample.weak_share: found 1.5; it should be less than or equal to 1"),
    "not a number": ("weak_share: 0.1", "weak_share: .nan", "sample.weak_share: found nan; it should be a finite number"),
    "no dataset": ("dataset: data/raw/sample.csv", "dataset: ''", "dataset: found ''; it should have at least 1 character"),
    "neither of two": ("devices: auto", "devices: all", "compute.devices: found 'all'; it should be a valid integer, or be 'auto'"),
    "a date that is none": ("seed: 2013", "seed: 2013-02-30", "params.yaml: not valid YAML (day is out of range"),
    "no YAML": ("seed: 2013", "seed: [", "not valid YAML (expected"),
    "a key twice": ("seed: 2013", "seed: 2013\nseed: 1", "line 8: not valid YAML (found duplicate key"),
    "a model of no framework": ("vgg19: models/vgg19.safetensors", "vgg19: models/vgg19.pth", "networks: found 'models/vgg19.pth'; it should match pattern"),
    "a network with a strange name": ("  vgg19: models/", "  VGG-19: models/", "networks: found 'VGG-19'; it should match pattern"),
    "a network with the name of something else": ("  vgg19: models/", "  ensemble: models/", "params.yaml: networks: it should not be 'ensemble', which names something else"),
    "no network": (TEXT[TEXT.index("networks:") : TEXT.index("\nsample:")], "networks: {}\n", "networks: found {}; it should have at least 1 item"),
    "no views of a network": ("  resnet18: {turns", "  resnet: {turns", "params.yaml: the file: it should have test_views.resnet18, as networks lists resnet18"),
    "crops of a whole face": (TEXT[TEXT.index("  baseline: {") : TEXT.index("\n  vgg19: {")], "  baseline: ten_crop", "it should have `centre` or a list in test_views.baseline"),
    "too many views": ("turns: [-6, 0, 6]", "turns: [-6, -3, 0, 1, 3, 6]", "test_views: it should have at most 10 views, not 12"),
    "a view of nothing": ("turns: [-6, 0, 6]", "turns: []", "test_views: found []; it should have at least 1 item"),
    "several": ("seed: 2013", "seed: -1\nsede: 1", "seed: found -1", "sede: unknown key"),
    "a list": (TEXT, "- 1", "params.yaml: the file: found [1]"),
    "nothing": (TEXT, "", "params.yaml: the file: found None"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named(case, tmp_path):
    old, new, *expected = BAD[case]
    assert old in TEXT
    (tmp_path / "params.yaml").write_text(TEXT.replace(old, new, 1))
    said = refuse(read_params, path=tmp_path / "params.yaml")
    assert all(one in said for one in expected) and len(said.splitlines()) == len(expected)


def test_no_file(tmp_path):
    assert "params.yaml: not found" in refuse(read_params, path=tmp_path / "params.yaml")


def read_training(tmp_path, active, changes, network="vgg19"):
    """The settings of a network under the profile `active`; `changes` are {profile: (old, new)}."""
    for name, text in PROFILES.items():
        old, new = changes.get(name, ("", ""))
        assert old in text
        (tmp_path / f"{name}.yaml").write_text(text.replace(old, new, 1))
    return profile.read_training(read_params(), network, active, tmp_path)


def test_a_profile_is_laid_over_the_papers(tmp_path):
    vgg19 = read_training(tmp_path, "paper", {})
    assert (vgg19.epochs, vgg19.batch_size, vgg19.learning_rate, vgg19.patience) == (250, 64, 0.01, 15)  # Table 3
    best = read_training(tmp_path, "best", {})
    assert (best.epochs, best.batch_size, best.momentum) == (60, 128, vgg19.momentum)
    assert best.augment.rotation == 12 and best.augment.flip == vgg19.augment.flip
    changed = read_training(tmp_path, "best", {"paper": ("flip: 0.5 ", "flip: 0.25 ")})
    assert changed.augment == best.augment.model_copy(update={"flip": 0.25})


BAD_PROFILES = {
    "in the profile": ("smoke", {"smoke": ("  learning_rate: 0.05", "  learning_rate: -1")}, "profiles/smoke.yaml: vgg19.learning_rate: found -1; it should be greater than 0"),
    "in the paper's": ("smoke", {"paper": ("momentum: 0.9  ", "momentum: 9.0  ")}, "profiles/paper.yaml: vgg19.momentum: found 9.0; it should be less than 1"),
    "in a nested block": ("best", {"best": ("    erase: 0.5", "    erase: 5.0")}, "profiles/best.yaml: vgg19.augment.erase: found 5.0"),
    "an unknown key": ("smoke", {"smoke": ("  freeze_epochs: 0", "  freeze_epoch: 0")}, "profiles/smoke.yaml: vgg19.freeze_epoch: unknown key; allowed here: width, dropout"),
    "an unknown nested key": ("best", {"best": ("    erase: 0.5", "    earse: 0.5")}, "profiles/best.yaml: vgg19.augment.earse: unknown key; allowed here: crop, flip"),
    "a key that is gone": ("smoke", {"paper": ("  nesterov: false", "  # nesterov: false")}, "profiles/paper.yaml: vgg19.nesterov: missing"),
    "what contradicts itself": ("smoke", {"smoke": ("  freeze_epochs: 0", "  freeze_epochs: 99")}, "profiles/smoke.yaml: vgg19: it should have freeze_epochs (99)"),
    "a start that the training overwrites": ("smoke", {"smoke": ("  weights: none", "  weights: models/vgg19.safetensors")}, "profiles/smoke.yaml: vgg19.weights: DVC removes models/vgg19.safetensors before train_vgg19 writes it; name a copy"),
    "no block": ("smoke", {"smoke": ("vgg19:", "vgg:")}, "profiles/smoke.yaml: vgg19: no block of settings; give it one, {} where nothing differs"),
    "no mapping": ("smoke", {"smoke": (PROFILES["smoke"], "- 1")}, "profiles/smoke.yaml: vgg19: no block of settings"),
    "no YAML": ("smoke", {"smoke": ("vgg19:", "vgg19: [")}, "smoke.yaml: line "),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_PROFILES)
def test_what_is_wrong_in_a_profile_is_named_with_its_file(case, tmp_path):
    active, changes, expected = BAD_PROFILES[case]
    assert expected in refuse(read_training, tmp_path, active, changes)


def test_profiles_state_only_what_they_change():
    """No value that the paper's profile has as well; and all but `smoke` and `cpu` have networks of full width."""
    read = {name: YAML(typ="safe").load(text) for name, text in PROFILES.items()}
    flat = {name: dict(pd.json_normalize(blocks).iloc[0]) for name, blocks in read.items()}
    for name in read.keys() - {"paper"}:
        assert (
            read[name].keys() >= read["paper"].keys() if name == "smoke" else read[name].keys() == read["paper"].keys()
        )
        assert not flat[name].items() & flat["paper"].items(), name
        assert name in ("smoke", "cpu") or not any(key.endswith(".width") for key in flat[name])
    assert {value for key, value in flat["paper"].items() if key.endswith(".width")} == {1}


def test_bad_params_stop_a_stage_before_it_works(call_stage, tmp_path, monkeypatch):
    monkeypatch.setitem(read_params.__kwdefaults__, "path", tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text(TEXT.replace("split: official", "split: offical"))
    process = call_stage(sample, *(f"--{option}={tmp_path / option}" for option in ("out", "votes", "sheet")))
    error = "error: params.yaml: prepare.split: found 'offical'; it should be 'official' or 'paper'\n"
    assert (process.returncode, process.stderr) == (1, error)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_all_parameters_are_checked_before_any_stage_runs():
    command = [sys.executable, "-m", "fer_pipeline.training.common.profile"]
    assert subprocess.run(command, cwd=ROOT / "stages").returncode == 0


def test_every_value_is_explained():
    """Each value carries its unit, reason or place in the paper: in params.yaml, and where paper.yaml has its key first."""
    _, *listed = (
        TEXT[TEXT.index("networks:") : TEXT.index("\nsample:")] + VIEWS
    ).splitlines()  # names and files say enough
    first = PROFILES["paper"][: PROFILES["paper"].index("\nresnet18:")]
    lines = [line for line in (TEXT + first).splitlines() if line not in listed]
    values = [line for line in lines if re.match(r"\s*\w+: +[^&*{#\s]", line)]
    assert len(values) > 75
    assert [line for line in values if "#" not in line] == []


READS_PROFILES = {"read_training", "read_trainings"}
"""The first reads one network's, the second all."""


def overlap(key, other):
    """Whether two keys such as 'prepare' and 'prepare.size' are one, or one holds the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


@pytest.mark.parametrize("name", PIPELINE)
def test_the_keys_that_a_stage_reads_are_its_params(name):
    """`params.<key>` in a script; whoever reads profiles reads `params.profile`, and declares its file too."""
    stage = PIPELINE[name].get("do", PIPELINE[name])
    tree = ast.parse((ROOT / re.search(r"stages/\w+\.py", stage["cmd"]).group()).read_text())
    read = {
        ast.unparse(node).removeprefix("params.").replace("read_params().", "")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and re.fullmatch(r"(params|read_params\(\))(\.\w+)+", ast.unparse(node))
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    calls = [call for call in calls if ast.unparse(call.func) not in READS_PROFILES]
    if any(ast.unparse(argument) == "params" for call in calls for argument in call.args):  # to the room of that name
        for file in (ROOT / "stages" / "fer_pipeline" / name).glob("*.*"):
            read |= {*re.findall(r"\bparams\.(\w+)", file.read_text())} - {"schema"}
    called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & READS_PROFILES
    read |= {"profile"} if called else set()
    listed = stage.get("params", [])
    keys = {key for key in listed if isinstance(key, str)}
    files = {file: blocks for entry in listed if isinstance(entry, dict) for file, blocks in entry.items()}
    assert [key for key in keys if not any(overlap(key, one) for one in read)] == [], "declared, but not read"
    assert [one for one in read if not any(overlap(key, one) for key in keys)] == [], "read, but not declared"
    blocks = [name.removeprefix("train_")] if called == {"read_training"} else None
    wanted = dict.fromkeys(("profiles/paper.yaml", "profiles/${profile}.yaml"), blocks) if called else {}
    if blocks and f"\n{blocks[0]}:" not in PROFILES["paper"]:  # a network that the active profile alone has
        del wanted["profiles/paper.yaml"]
    assert files == wanted
