"""params.yaml: what is wrong in it is named before any work begins, and stages read what dvc.yaml declares."""

import ast
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from fer_pipeline.core.errors import InputError
from fer_pipeline.params.read import read_params

PIPELINE = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
TEXT = (ROOT / "params.yaml").read_text()


def read_changed(tmp_path, old, new):
    assert old in TEXT
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    return read_params("seed", path=path)


BAD = {
    "a profile of an odd name": ("  smoke:  ", "  __base__: {}\n  smoke:  ", "profiles.__base__: unknown key"),
    "a network of an odd name": ("  vgg19: models/vgg19.safetensors ", "  model_config: models/x.keras\n  vgg19: models/vgg19.safetensors ", "networks: it should not be 'model_config', which names something else"),
    "unknown key": ("seed: 2013", "seed: 2013\nsede: 1", "params.yaml: sede: unknown key; allowed here: profile, dataset, seed, networks"),
    "unknown key inside": ("  split: official", "  split: official\n  splits: x", "prepare.splits: unknown key; allowed here: split, votes, drop"),
    "missing key": ("seed: 2013", "", "params.yaml: seed: missing"),
    "text for a number": ("seed: 2013", "seed: '2013'", "seed: found '2013'; it should be a valid integer"),
    "fraction for a count": ("train_rows: 2400", "train_rows: 2400.5", "sample.train_rows: found 2400.5; it should be a valid integer"),
    "number for a switch": ("drop_blank: false", "drop_blank: 0", "prepare.drop_blank: found 0; it should be a valid boolean"),
    "another word": ("split: official", "split: offical", "prepare.split: found 'offical'; it should be 'official' or 'paper'"),
    "another profile": ("profile: smoke", "profile: gpu", "profile: found 'gpu'; it should be 'paper', 'cpu', 'best' or 'smoke'"),
    "out of range": ("weak_share: 0.1", "weak_share: 1.5", "sample.weak_share: found 1.5; it should be less than or equal to 1"),
    "not a number": ("weak_share: 0.1", "weak_share: .nan", "sample.weak_share: found nan; it should be a finite number"),
    "no dataset": ("dataset: data/raw/sample.csv", "dataset: ''", "dataset: found ''; it should have at least 1 character"),
    "deep inside": ("learning_rate: 0.01", "learning_rate: -1", "profiles.paper.vgg19.learning_rate: found -1; it should be greater than 0"),
    "neither of two": ("devices: auto", "devices: all", "compute.devices: found 'all'; it should be a valid integer, or be 'auto'"),
    "a date that is none": ("seed: 2013", "seed: 2013-02-30", "params.yaml: not valid YAML (day is out of range"),
    "no YAML": ("seed: 2013", "seed: [", "params.yaml: line 9: not valid YAML (expected"),
    "a key twice": ("seed: 2013", "seed: 2013\nseed: 1", "line 7: not valid YAML (found duplicate key"),
    "a model of no framework": ("vgg19: models/vgg19.safetensors", "vgg19: models/vgg19.pth", "networks: found 'models/vgg19.pth'; it should match pattern"),
    "a network with a strange name": ("  vgg19: models/", "  VGG-19: models/", "networks: found 'VGG-19'; it should match pattern"),
    "a network with the name of something else": ("  vgg19: models/", "  ensemble: models/", "params.yaml: networks: it should not be 'ensemble', which names something else"),
    "a network without a block": ("  baseline: models/", "  small: models/small.safetensors\n  baseline: models/", "profiles.smoke.small: missing; "),
    "a block without a network": ("  vgg19: models/vgg19.safetensors ", "  # ", "profiles.paper.vgg19: unknown key; allowed here: baseline, resnet18"),
    "one network": (TEXT[TEXT.index("  vgg19: models/") : TEXT.index("\nsample:")], "", "networks: found {'baseline': 'models/baseline.keras'}; it should have at least 2 items"),
    "a list": (TEXT, "- 1", "params.yaml: the file: found [1]"),
    "nothing": (TEXT, "", "params.yaml: the file: found None"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named(case, tmp_path):
    old, new, expected = BAD[case]
    with pytest.raises(InputError) as error:
        read_changed(tmp_path, old, new)
    assert expected in str(error.value)


def test_every_problem_is_named_at_once(tmp_path):
    with pytest.raises(InputError) as error:
        read_changed(tmp_path, "seed: 2013", "seed: -1\nsede: 1")
    assert len(str(error.value).splitlines()) == 2


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="params.yaml: not found"):
        read_params("seed", path=tmp_path / "params.yaml")


def test_only_what_is_asked_for_is_handed_out(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace("profile: smoke", "profile: paper"))
    seed, vgg19 = read_params("seed", "profiles.${profile}.vgg19", path=path)
    assert seed == 2013
    assert (vgg19.epochs, vgg19.batch_size, vgg19.learning_rate, vgg19.patience) == (250, 64, 0.01, 15)  # Table 3
    with pytest.raises(AttributeError):
        read_params("sede", path=path)


def test_profiles_state_only_what_they_change():
    """The widths of all but `smoke` are the paper's networks."""
    profiles, networks = read_params("profiles", "networks")
    full = profiles.paper, profiles.cpu, profiles.best
    sections = [getattr(profile, name) for profile in full for name in networks]
    assert {section.width for section in sections if section} == {1}  # a network of another origin may have none


def test_bad_params_stop_a_stage_before_it_works(run_stage, tmp_path):
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "params.yaml").write_text(TEXT.replace("split: official", "split: offical"))
    script = tmp_path / "stages" / "sample"
    process = run_stage(
        script, "--out", tmp_path / "x.csv", "--votes", tmp_path / "v.csv", "--sheet", tmp_path / "x.png"
    )
    assert process.returncode == 1
    assert process.stderr == "error: params.yaml: prepare.split: found 'offical'; it should be 'official' or 'paper'\n"
    assert not (tmp_path / "x.csv").exists()


def test_every_value_is_explained():
    """Each line with a value carries its unit, reason or place in the paper."""
    _, *listed = TEXT[TEXT.index("networks:") : TEXT.index("\nsample:")].splitlines()  # names and files say enough
    values = [
        line
        for line in TEXT.splitlines()
        if line not in listed and re.match(r"\s*\w+: +[^&*{#\s]", line) and "<<" not in line
    ]
    assert len(values) > 30
    unexplained = [line for line in values if "#" not in line]
    override = re.search(r"\n  cpu:.*", TEXT, re.DOTALL).group()
    assert [line for line in unexplained if line not in override] == []


def script_of(stage):
    return re.search(r"python (stages/\w+\.py)", stage["cmd"]).group(1)


def test_trainings_do_not_load_the_readers_of_raw_data():
    """So that a change there, which leaves faces.h5 as it is, trains nothing anew."""
    code = "import sys; from fer_pipeline.training.{}.train import train; print(sys.modules.get('fer_pipeline.raw.source'))"
    for framework in ("keras", "pytorch"):
        command = [sys.executable, "-c", code.format(framework)]
        assert subprocess.check_output(command, cwd=ROOT / "stages", text=True).endswith("None\n")


@pytest.mark.parametrize("name", PIPELINE)
def test_the_keys_that_a_stage_reads_are_its_params(name):
    stage = PIPELINE[name].get("do", PIPELINE[name])
    tree = ast.parse((ROOT / script_of(stage)).read_text())
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "read_params"
    ]
    assert len(calls) == ("params" in stage)
    keys = [read_key(argument, name.removeprefix("train_")) for call in calls for argument in call.args]
    assert sorted(keys) == sorted(stage.get("params", []))


def read_key(argument, network):
    """A key as the code has it, of a training with the name of its network filled in."""
    if isinstance(argument, ast.Constant):
        return argument.value
    return "".join(network if isinstance(part, ast.FormattedValue) else part.value for part in argument.values)
