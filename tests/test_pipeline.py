"""The pipeline as a user has it: the real `dvc` and the real `make` in a clone."""

import gzip
import json
import os
import re
import sys

import pytest
from conftest import ROOT, Table, find_runs, put
from ruamel.yaml import YAML


def test_the_lock_is_current(clone):
    """On a clean clone, with no data at all, DVC finds nothing to run."""
    printed = clone.run("dvc", "repro", "--allow-missing", "--dry")
    assert "Data and pipelines are up to date." in printed
    assert "Running stage" not in printed


def test_ones_own_data_set(small_clone):
    """Another `dataset` is a matter of one line."""
    table = Table(per_class=(5, 2, 2))
    (small_clone.path / "data" / "raw" / "fer 2013 (1).csv").write_bytes(table.csv())
    small_clone.edit("params.yaml", {"dataset: data/raw/sample.csv": "dataset: data/raw/fer 2013 (1).csv"})
    small_clone.run("dvc", "repro", "-q", "prepare")
    assert small_clone.read_data_report()["rows"]["train"]["total"] == 35
    assert "data/raw" not in small_clone.run("git", "status", "--porcelain")


def test_bad_data_loses_nothing(small_clone):
    """DVC deletes the outputs of a stage before it runs, unless they persist; a failed run must leave them."""
    outputs = ["data/prepared/faces.h5", "metrics/data.json", "plots/data/faces.png", "data/raw/sample.csv"]
    before = {name: (small_clone.path / name).read_bytes() for name in outputs}
    (small_clone.path / "data" / "raw" / "mine").write_bytes(Table().csv()[:-60])
    small_clone.edit("params.yaml", {"dataset: data/raw/sample.csv": "dataset: data/raw/mine"})
    printed = small_clone.run("dvc", "repro", "prepare", code=255)
    assert "error: data/raw/mine: 1 bad row" in printed
    assert "Traceback" not in printed
    assert {name: (small_clone.path / name).read_bytes() for name in outputs} == before


def test_an_experiment_changes_what_it_names_and_nothing_else(small_clone):
    """`dvc exp run -S` writes the files anew: of each no line changes but the one that is named, and comments stay.

    Only prepare runs for another split. Back at the first one the faces are byte for byte what they were.
    """
    faces, table = small_clone.path / "data/prepared/faces.h5", small_clone.path / "data/raw/sample.csv"
    before, drawn = faces.read_bytes(), table.stat().st_mtime_ns
    changes = {
        "params.yaml": {"profile: smoke ": "profile: cpu ", "split: official ": "split: paper "},
        "profiles/cpu.yaml": {"  epochs: 9": "  epochs: 5"},
        "profiles/paper.yaml": {"  epochs: 50 ": "  epochs: 9 "},
    }
    expected = {}
    for name, pairs in changes.items():
        expected[name] = (small_clone.path / name).read_text()
        for old, new in pairs.items():
            assert old in expected[name]
            expected[name] = expected[name].replace(old, new, 1)
    values = ("prepare.split=paper", "profile=cpu")
    values += ("profiles/cpu.yaml:vgg19.epochs=5", "profiles/paper.yaml:baseline.epochs=9")
    small_clone.run("dvc", "exp", "run", "-q", *(word for value in values for word in ("-S", value)), "prepare")
    for name, text in expected.items():
        found = (small_clone.path / name).read_text()
        assert [line.split() for line in found.splitlines()] == [line.split() for line in text.splitlines()]
    assert small_clone.read_data_report()["split"] == "paper"
    shown = small_clone.run("dvc", "params", "diff")
    for key, value in (("vgg19.epochs", "5"), ("baseline.epochs", "9"), ("profile", "cpu")):
        assert re.search(rf"{re.escape(key)} .*{value}", shown), shown
    small_clone.run("git", "checkout", "-q", ".")
    small_clone.run("dvc", "repro", "-q", "prepare")
    assert faces.read_bytes() == before and table.stat().st_mtime_ns == drawn
    assert small_clone.run("git", "status", "--porcelain") == ""


def test_other_params_of_a_network_rerun_it_and_what_follows_it_and_the_way_back_runs_nothing(finished_clone):
    """After all stages have run nothing does; with VGG19's learning rate changed only its part does.

    Back at parameters that ran before, DVC restores every result from its cache of runs.
    """
    assert "Running stage" not in finished_clone.run("dvc", "repro")
    assert finished_clone.run("git", "status", "--porcelain") == ""
    before = read_files(finished_clone)
    option = ("-S", "profiles/smoke.yaml:vgg19.learning_rate=0.01")
    again = find_runs(finished_clone.run("dvc", "exp", "run", *option))
    assert again == {
        *("draw_augmented", "train_vgg19", "predict@vgg19", "evaluate@vgg19", "export@vgg19", "score_exports"),
        *("compare", "report"),
    }
    assert read_files(finished_clone) != before
    back = finished_clone.run("dvc", "exp", "run", "-S", "profiles/smoke.yaml:vgg19.learning_rate=0.05")
    assert "Running stage" not in back and "is cached - skipping run" in back
    assert read_files(finished_clone) == before
    finished_clone.run("dvc", "repro", "-q")
    keep_the_run(finished_clone)


def add_small_network(clone):
    """As CONTRIBUTING.md says: one file, its line in params.yaml, its block in a profile, its lines in dvc.yaml.

    The network is Compact, but for faces of 40x40 pixels.
    """
    compact = (clone.path / "stages/fer_pipeline/networks/compact.py").read_text()
    small = compact.replace('"Compact"', '"Small CNN"').replace("11 / 12", "10 / 12")
    (clone.path / "stages/fer_pipeline/networks/small.py").write_text(small)
    clone.edit("params.yaml", {"\nsample: ": "  small: models/small.safetensors\n\nsample: "})
    paper, smoke = (
        YAML(typ="safe").load(clone.path / f"profiles/{name}.yaml")["resnet18"] for name in ("paper", "smoke")
    )
    with open(clone.path / "profiles/smoke.yaml", "a") as profile:
        profile.write(f"\nsmall: {json.dumps(paper | smoke)}\n")
    text = (clone.path / "dvc.yaml").read_text()
    training = re.search(r"  train_compact:\n.*?\n\n", text, re.DOTALL).group()
    training = training.replace("compact", "small").replace("      - profiles/paper.yaml: [small]\n", "")
    text = text.replace("  predict:\n", f"{training}  predict:\n")
    text = re.sub(
        r"^( +- .*)compact(.*)$",
        lambda line: f"{line[0]}\n{line[1]}small{line[2]}" if "profiles" not in line[0] else line[0],
        text,
        flags=re.M,
    )
    text += text[text.index("  compact:\n    {path") :].replace("compact", "small").replace("Compact", "Small CNN")
    (clone.path / "dvc.yaml").write_text(text)


def read_files(clone):
    """{name: bytes} of all results but the times."""
    files = [path for kind in ("metrics", "plots", "models", "data") for path in clone.path.glob(f"{kind}/**/*.*")]
    return {
        path.relative_to(clone.path): path.read_bytes() for path in files if path.is_file() and path.stem != "timing"
    }


def test_another_network_is_one_file(finished_clone, photo_file):
    """No other training runs; everything that follows has it. Taken out again, all is as before, from the cache."""
    before = read_files(finished_clone)
    add_small_network(finished_clone)
    ran = find_runs(finished_clone.run("dvc", "repro"))
    assert ran == {
        *("draw_augmented", "train_small", "predict@small", "evaluate@small", "export@small", "score_exports"),
        *("compare", "report"),
    }
    assert "Running stage" not in finished_clone.run("dvc", "repro")

    def read(name):
        return json.loads((finished_clone.path / "metrics" / name).read_text())

    names = ["baseline", "vgg19", "resnet18", "compact", "small"]
    compare = read("compare.json")
    assert list(compare["table7"]) == list(read("export.json")["networks"]) == names
    assert compare["table7"]["small"]["paper"] is None
    assert len(compare["mcnemar"]) == 10 and len(compare["agreement"]["right_by"]) == 6
    assert compare["weighted_ensemble"]["members"] == names and len(compare["weighted_ensemble"]["weights"]) == 5
    agreement = (finished_clone.path / "plots/compare/agreement.csv").read_text()
    assert "right_by_5,right_by_4,right_by_3,right_by_2,right_by_1,right_by_0" in agreement
    assert (finished_clone.path / "plots/report.html").read_text().count("Small CNN") > 20
    assert "models/small.safetensors" in finished_clone.run("dvc", "ls", ".", "-R", "--dvc-only")
    line = finished_clone.run(sys.executable, "apps/predict.py", "--model", "small", photo_file)
    assert "grace_hopper.jpg" in line and "%" in line

    finished_clone.run("git", "checkout", "-q", ".")
    (finished_clone.path / "stages/fer_pipeline/networks/small.py").unlink()
    assert "Running stage" not in finished_clone.run("dvc", "repro")
    after = read_files(finished_clone)
    assert {name: after[name] for name in before} == before
    assert all("small" in str(name) for name in after.keys() - before.keys())


def read_edits():
    """{edited file: stages that run again} of the table in docs/training.md; `@*` stands for each network."""
    text = (ROOT / "docs" / "training.md").read_text()
    table = text[text.index("## Which edits rerun what") :].split("\n\n")[2]
    for line in table.splitlines()[2:]:
        _, _, file, stages, _ = line.split("|")
        yield re.search(r"`(.+)`", file).group(1), re.findall(r"`([\w@*]+)`", stages)


def test_an_edit_reruns_what_the_table_says(finished_clone):
    """The stages whose deps it changes; those behind them run if an output differs: with a colour no network is opened."""
    edits = dict(read_edits())
    assert len(edits) >= 10
    networks = YAML(typ="safe").load(ROOT / "params.yaml")["networks"]
    for file, stages in edits.items():
        path = finished_clone.path / file
        before = path.read_bytes()
        comment = b"{# edited #}" if path.suffix == ".j2" else b"# edited\n"
        path.write_bytes(before + comment)
        found = find_runs(finished_clone.run("dvc", "repro", "--dry"))
        path.write_bytes(before)
        expected = {stage.replace("*", name) for stage in stages for name in networks}
        assert found == expected, file
    finished_clone.edit("dvc.yaml", {"caption: []": "caption: ['curves.png: Curves.']"})
    assert find_runs(finished_clone.run("dvc", "repro", "--dry")) == {"report"}, "a caption"

    colours = {'color_palette("colorblind")': 'color_palette("deep")'}
    finished_clone.edit("stages/fer_pipeline/figures/style.py", colours)
    before = (finished_clone.path / "plots/vgg19/test/classes.png").read_bytes()
    ran = find_runs(finished_clone.run("dvc", "repro"))
    assert {"prepare", "evaluate@vgg19", "compare", "report"} <= ran
    assert not [stage for stage in ran if stage.startswith(("train_", "predict@", "export@", "score_ex"))]
    assert (finished_clone.path / "plots/vgg19/test/classes.png").read_bytes() != before


def keep_the_run(clone):
    """What `make results` does with a finished run, and with one that is not."""
    command = (sys.executable, "tools/collect.py", "tiny")
    assert "README.md: no place for the run" in clone.run(*command, code=1)
    with open(clone.path / "README.md", "a") as readme:
        readme.write("<!-- results tiny -->\n\n<!-- end of results -->\n")
    lock = clone.path / "dvc.lock"
    left = '  train_gone:\n    cmd: "true"\n    outs:\n    - path: metrics/gone.json\n      md5: 99914b932bd37a50b983c5e7c90ae93b\n'
    lock.write_text(lock.read_text() + left)  # a network that is in dvc.yaml no more
    (clone.path / "metrics" / "gone.json").write_text("{}")
    timing = clone.path / "metrics" / "timing.json"
    content = json.loads(timing.read_text())
    other = put({"timing": json.loads(timing.read_text())}, {"timing: train_compact.commit": "0" * 40})
    timing.write_text(json.dumps(other["timing"]))
    assert re.search(
        r"not trained alike: commit \w+ \(baseline and resnet18\), 0+ \(compact\); ", clone.run(*command, code=1)
    )
    kept = clone.path / "results" / "tiny"
    assert not kept.exists()
    clone.run(*command, "--mixed")
    assert re.search(r"^\| Compact .*, commit 0000000000 \|$", (clone.path / "README.md").read_text(), re.MULTILINE)
    timing.write_text(json.dumps(content))
    clone.run(*command)
    assert not (kept / "metrics" / "gone.json").exists()
    assert "[tiny](results/tiny/)" in (clone.path / "README.md").read_text()
    for name in ("metrics/compare.json", "metrics/timing.json", "plots/vgg19/test/gradcam.png"):
        assert (kept / name).read_bytes() == (clone.path / name).read_bytes()
    assert (kept / "timing.html").read_bytes() == (clone.path / "plots" / "timing.html").read_bytes()
    stages = clone.read_lock()["stages"]
    assert stages.pop("train_gone") and YAML(typ="safe").load(kept / "dvc.lock")["stages"] == stages
    said = {path: path.read_bytes() for path in kept.glob("predictions/*.csv.gz")}
    own = {path.stem: gzip.decompress(content) for path, content in said.items()}
    assert own == {
        path.name: path.read_bytes() for path in clone.path.glob("data/predictions/*.csv") if "train" not in path.name
    }
    facts = json.loads((kept / "run.json").read_text())
    seconds, networks = facts["stages_seconds"], facts["networks"]
    assert len(seconds) == 22 and None not in seconds.values()
    made = content["train_compact"]
    known = {
        "hardware": made["hardware"],
        "device": "cpu",
        "seed": 2013,
        "start": made["start"],
        "commit": made["commit"],
    }
    assert (known | {"clean": True}).items() <= networks["compact"].items() and networks["compact"]["versions"]["torch"]
    assert networks["compact"]["minutes"] == pytest.approx(made["seconds"] / 60, abs=0.05)
    unknown = dict.fromkeys(("start", "commit", "clean", "minutes"))  # its model came from the cache
    assert unknown.items() <= networks["vgg19"].items() and networks["vgg19"]["hardware"] == made["hardware"]
    timing.unlink()  # as in a clone whose results all came from a remote
    clone.run(*command)
    assert {path: path.read_bytes() for path in kept.glob("predictions/*.csv.gz")} == said
    assert not (kept / "metrics" / "timing.json").exists()
    assert unknown.items() <= json.loads((kept / "run.json").read_text())["networks"]["compact"].items()
    (clone.path / "metrics" / "compare.json").unlink()
    assert "not up to date" in clone.run(*command, code=1)
    assert (kept / "metrics" / "compare.json").exists()


def test_the_picture_of_the_pipeline_is_dvcs(clone):
    """docs/pipeline.md shows what `dvc dag --mermaid` prints, with all networks as one."""
    printed = clone.run("dvc", "dag", "--mermaid")
    stages = {
        node: re.sub("^train_.*", "train", name.partition("@")[0])
        for node, name in re.findall(r'(\w+)\["(.+?)"\]', printed)
    }
    arrows = {(stages[before], stages[after]) for before, after in re.findall(r"(\w+)-->(\w+)", printed)}
    drawn = re.findall(r"^  (\w+) --> (.+)$", (ROOT / "docs" / "pipeline.md").read_text(), re.MULTILINE)
    assert {(before, after) for before, listed in drawn for after in listed.split(" & ")} == arrows


def test_make_sets_up_once(clone):
    """`make` makes .venv from the lock file; here a pip that only notes its arguments stands for the downloads."""
    fake = clone.path / "fake-python"
    fake.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        '  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; printf "#!/bin/sh\\necho dvc \\"\\$@\\"\\n" > "$3/bin/dvc"; chmod +x "$3/bin/dvc";;\n'
        '  *pip*) echo "pip $*";;\n'
        "esac\n"
    )
    fake.chmod(0o755)
    first = clone.run("make", "repro", f"PYTHON={fake}")
    assert "--requirement requirements.lock" in first
    assert "dvc repro" in first
    second = clone.run("make", "repro", f"PYTHON={fake}")
    assert "-m pip" not in second
    assert "dvc repro" in second
    report = clone.run("make", "report", f"PYTHON={fake}")
    assert "dvc repro report" in report
    assert f"file://{clone.path}/plots/report.html" in report
    os.utime(clone.path / "requirements.lock")
    assert "--requirement requirements.lock" in clone.run("make", "repro", f"PYTHON={fake}")


def test_the_lock_file_names_packages_and_versions_only():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert len(lines) > 100
    for line in lines:
        name, _, version = line.partition(" ;")[0].partition("==")
        assert name.replace("-", "").replace("_", "").replace(".", "").isalnum(), line
        assert version.replace(".", "").isalnum(), line


def test_the_environment_is_the_lock_file():
    """What the tests run on is what the lock file says."""
    from importlib.metadata import version

    for name in ("torch", "torchvision", "tensorflow", "keras", "dvc", "h5py", "numpy", "pydantic", "pillow"):
        assert f"\n{name}=={version(name)}\n" in (ROOT / "requirements.lock").read_text()
