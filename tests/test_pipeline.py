"""The pipeline as users have it: the real `dvc` and `make` in a clone, a remote in a folder, queued experiments."""

import gzip
import json
import os
import re
import sys

import pytest
from conftest import ROOT, Project, Table, find_runs, put
from ruamel.yaml import YAML

from clones import SMALL, set_up_make


def test_the_lock_is_current(clone):
    """On a clean clone, with no data at all, DVC finds nothing to run."""
    printed = clone.run("dvc", "repro", "--allow-missing", "--dry")
    assert "Data and pipelines are up to date." in printed
    assert "Running stage" not in printed


def test_an_experiment_changes_what_it_names_and_nothing_else(clone):
    """`dvc exp run -S` writes the files anew: of each no line changes but the one that is named, and comments stay.

    Only prepare runs for another split. Back at the first one the faces are byte for byte what they were.
    """
    clone.edit("params.yaml", SMALL)
    clone.run("dvc", "repro", "-q", "prepare")
    clone.commit()
    faces, table = clone.path / "data/prepared/faces.h5", clone.path / "data/raw/sample.csv"
    before, drawn = faces.read_bytes(), table.stat().st_mtime_ns
    changes = {
        "params.yaml": {"profile: smoke ": "profile: cpu ", "split: official ": "split: paper "},
        "profiles/cpu.yaml": {"  epochs: 24": "  epochs: 5"},
        "profiles/paper.yaml": {"  epochs: 50 ": "  epochs: 9 "},
    }
    for name, pairs in changes.items():
        clone.edit(name, pairs)
    expected = {name: (clone.path / name).read_text() for name in changes}
    clone.run("git", "checkout", "-q", ".")
    values = ("prepare.split=paper", "profile=cpu")
    values += ("profiles/cpu.yaml:compact.epochs=5", "profiles/paper.yaml:baseline.epochs=9")
    clone.run("dvc", "exp", "run", "-q", *(word for value in values for word in ("-S", value)), "prepare")
    for name, text in expected.items():
        found = (clone.path / name).read_text()
        assert [line.split() for line in found.splitlines()] == [line.split() for line in text.splitlines()]
    assert clone.read_json("metrics/data.json")["split"] == "paper"
    clone.run("git", "checkout", "-q", ".")
    clone.run("dvc", "repro", "-q", "prepare")
    assert faces.read_bytes() == before and table.stat().st_mtime_ns == drawn
    assert clone.run("git", "status", "--porcelain") == ""


@pytest.mark.parametrize(("key", "name"), [("dataset", "sample.csv"), ("prepare.votes", "sample_votes.csv")])
def test_a_mistyped_name_of_data_is_one_sentence(clone, key, name):
    """DVC alone would say *[Errno 2]*."""
    clone.edit(
        "params.yaml", SMALL | {f"{key.split('.')[-1]}: data/raw/{name}": f"{key.split('.')[-1]}: data/raw/x.csv"}
    )
    printed = clone.run("dvc", "repro", code=255)
    assert f"error: params.yaml: {key}: 'data/raw/x.csv' not found; put the data there" in printed
    assert "Errno" not in printed


def list_followers(network):
    """The stages that run again after a change to one network."""
    each = ("predict", "evaluate", "export", "export_photo", "stress")
    own = {f"train_{network}", *(f"{stage}@{network}" for stage in each)}
    return own | {"draw_augmented", "score_exports", "compare", "draw_stress", "report"}


def test_other_params_of_a_network_rerun_it_and_what_follows_it_and_the_way_back_runs_nothing(finished_clone):
    """After all stages have run nothing does; with VGG19's learning rate changed only its part does.

    Back at parameters that ran before, DVC restores every result from its cache of runs.
    """
    assert "Running stage" not in finished_clone.run("dvc", "repro")
    assert finished_clone.run("git", "status", "--porcelain") == ""
    before = read_files(finished_clone)
    option = ("-S", "profiles/smoke.yaml:vgg19.learning_rate=0.01")
    again = find_runs(finished_clone.run("dvc", "exp", "run", *option))
    assert again == list_followers("vgg19")
    assert read_files(finished_clone) != before
    back = finished_clone.run("dvc", "exp", "run", "-S", "profiles/smoke.yaml:vgg19.learning_rate=0.05")
    assert "Running stage" not in back and "is cached - skipping run" in back
    assert read_files(finished_clone) == before
    finished_clone.run("dvc", "repro", "-q")
    keep_the_run(finished_clone)


def test_another_profile_trains_all_networks(clone):
    """Also `paper`, of which the stages name no file that they did not name before."""
    clone.edit("params.yaml", {"profile: smoke ": "profile: paper "})
    status = json.loads(clone.run("dvc", "status", "--json"))
    for stage in ("draw_augmented", *(stage for stage in status if stage.startswith("train_"))):
        (changed,) = (one["changed deps"] for one in status[stage] if "changed deps" in one)
        assert changed["params.yaml"] == {"profile": "modified"}


def add_small_network(clone):
    """As CONTRIBUTING.md says: one file, its line in params.yaml, its block in a profile, its lines in dvc.yaml.

    The network is Compact, but for faces of 40x40 pixels.
    """
    compact = (clone.path / "stages/fer_pipeline/networks/compact.py").read_text()
    small = compact.replace('"Compact"', '"Small CNN"').replace("11 / 12", "10 / 12")
    (clone.path / "stages/fer_pipeline/networks/small.py").write_text(small)
    added = {
        "\nsample: ": "  small: models/small.safetensors\n\nsample: ",
        "\ncompute:": "  small: ten_crop\n\ncompute:",
    }
    clone.edit("params.yaml", added)
    paper, smoke = (
        YAML(typ="safe").load(clone.path / f"profiles/{name}.yaml")["resnet18"] for name in ("paper", "smoke")
    )
    with open(clone.path / "profiles/smoke.yaml", "a") as profile:
        profile.write(f"\nsmall: {json.dumps(paper | smoke)}\n")
    text = (clone.path / "dvc.yaml").read_text()
    training = re.search(r"  train_compact:\n.*?\n\n", text, re.DOTALL).group()
    training = training.replace("compact", "small").replace("      - profiles/paper.yaml: [small]\n", "")
    text = text.replace("  predict:\n", f"{training}  predict:\n")
    listed = r"^ +(?!.*(?:stages/|: )).*\bcompact\b.*,$"  # the lines of deps that are about the network alone
    text = re.sub(listed, lambda line: f"{line[0]}\n{line[0].replace('compact', 'small')}", text, flags=re.M)
    text += text[text.index("  compact:\n    {path") :].replace("compact", "small").replace("Compact", "Small CNN")
    (clone.path / "dvc.yaml").write_text(text)


def read_files(clone):
    """{name: bytes} of all results but the times."""
    files = [path for kind in ("metrics", "plots", "models", "data") for path in clone.path.glob(f"{kind}/**/*.*")]
    return {
        path.relative_to(clone.path): path.read_bytes() for path in files if path.is_file() and path.stem != "timing"
    }


def test_one_network_is_enough(finished_clone):
    """Without what CONTRIBUTING.md adds for another one: nothing trains, and the report speaks of no votes."""
    gone = finished_clone.read_lock()["stages"]["compare"]["params"]["params.yaml"]["networks"].keys() - {"compact"}
    for file in ("params.yaml", "dvc.yaml"):
        text = (finished_clone.path / file).read_text()
        for name in gone:
            text = re.sub(rf"^  (train_)?{name}(-onnx(-int8)?)?:.*\n(    .*\n)*\n?", "", text, flags=re.MULTILINE)
            text = re.sub(rf"^ +.*[/.]{name}\b.*\n", "", text, flags=re.MULTILINE)
        (finished_clone.path / file).write_text(text)
    ran = find_runs(finished_clone.run("dvc", "repro"))
    assert ran == {"draw_augmented", "compare", "score_exports", "draw_stress", "report"}
    report = (finished_clone.path / "plots" / "report.html").read_text()
    assert "Compact classifies a face" in report and "Soft vote" not in report and "between each pair" not in report


def test_another_network_is_one_file(finished_clone, photo_file):
    """No other training runs; everything that follows has it. Taken out again, all is as before, from the cache."""
    before = read_files(finished_clone)
    add_small_network(finished_clone)
    ran = find_runs(finished_clone.run("dvc", "repro"))
    assert ran == list_followers("small")
    assert "Running stage" not in finished_clone.run("dvc", "repro")

    names = ["baseline", "vgg19", "resnet18", "compact", "small"]
    compare, exports = (finished_clone.read_json(f"metrics/{name}.json") for name in ("compare", "export"))
    assert list(compare["table7"]) == list(exports["networks"]) == names
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
    assert not [stage for stage in ran if stage.startswith(("train_", "predict@", "export@", "score_ex", "stress"))]
    assert (finished_clone.path / "plots/vgg19/test/classes.png").read_bytes() != before


def score_the_run_again(clone, kept):
    """From its predictions alone: all scores are as kept, and one that was changed is named."""
    command, path = (sys.executable, "tools/rescore.py", "tiny"), kept / "metrics" / "compare.json"
    (data := clone.path / "data").rename(clone.path / "away")
    names = clone.read_lock()["stages"]["compare"]["params"]["params.yaml"]["networks"]
    assert clone.run(*command).count("as the predictions say") == 2 * len(names) + 2
    content = path.read_bytes()
    changed = put({"compare": json.loads(content)}, {"compare: ensembles[0].accuracy": 0.123})
    path.write_text(json.dumps(changed["compare"]))
    assert re.search(r"compare\.json: ensembles\[0\]\.accuracy is 0\.123, by the pred", clone.run(*command, code=1))
    path.write_bytes(content)
    (clone.path / "away").rename(data)


def keep_the_run(clone):
    """What `make results` does with a finished run, and with one that is not."""
    command = (sys.executable, "tools/collect.py", "tiny")
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
    for name in ("metrics/compare.json", "metrics/timing.json", "plots/vgg19/test/curves.png"):
        assert (kept / name).read_bytes() == (clone.path / name).read_bytes()
    left_out = ("vgg19/test/gradcam.png", "baseline/test/mistakes.png", "data/faces.png", "stress/damages.png")
    assert not [path for path in left_out if (kept / "plots" / path).exists()]
    assert (kept / "report.html").read_text().count("not\nkept here") > len(left_out)
    assert (kept / "timing.html").read_bytes() == (clone.path / "plots" / "timing.html").read_bytes()
    stages = clone.read_lock()["stages"]
    assert stages.pop("train_gone") and YAML(typ="safe").load(kept / "dvc.lock")["stages"] == stages
    said = {path: path.read_bytes() for path in kept.glob("predictions/*.csv.gz")}
    own = {path.stem: gzip.decompress(content) for path, content in said.items() if path.stem != "rows.csv"}
    assert own == {
        path.name: path.read_bytes() for path in clone.path.glob("data/predictions/*.csv") if "train" not in path.name
    }
    score_the_run_again(clone, kept)
    facts = json.loads((kept / "run.json").read_text())
    seconds, networks = facts["stages_seconds"], facts["networks"]
    assert seconds.keys() == stages.keys() and None not in seconds.values()
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


def test_a_fresh_clone_pulls_and_runs_nothing(finished_clone, tmp_path):
    """One sets up the remote and pushes; another clones, pulls, and has everything."""
    fresh = Project(tmp_path / "fresh")
    set_up_make(finished_clone)
    finished_clone.run("make", "remote", f"URL={tmp_path / 'a store'}")
    finished_clone.commit()
    finished_clone.run("git", "clone", "-q", ".", fresh.path)
    finished_clone.run("dvc", "push")

    outputs = [out["path"] for stage in fresh.read_lock()["stages"].values() for out in stage["outs"]]
    missing = {path for path in outputs if not (fresh.path / path).exists()}
    assert {"data/raw/sample.csv", "data/prepared/faces.h5", "models/vgg19.safetensors", "plots/report.html"} <= missing
    fresh.run("dvc", "pull")
    assert fresh.read_outs() == finished_clone.read_outs()
    printed = fresh.run("dvc", "repro")
    assert "Data and pipelines are up to date." in printed
    assert "Running stage" not in printed
    assert fresh.run("git", "status", "--porcelain") == ""


def test_the_pretrained_network_is_had_by_name_without_a_remote(clone, tmp_path):
    clone.run("git", "tag", "-a", "pretrained@v1.0.0", "-m", "a release")
    clone.run("git", "clone", "-q", "--bare", ".", tmp_path / "bare")
    clone.run("dvc", "artifacts", "get", tmp_path / "bare", "pretrained", "-o", tmp_path / "by-name.onnx")
    clone.run("dvc", "get", tmp_path / "bare", "pretrained/photo.onnx", "-o", tmp_path / "by-path.onnx")
    for name, file in (("by-name", "compact.int8"), ("by-path", "photo")):
        assert (tmp_path / f"{name}.onnx").read_bytes() == (ROOT / f"pretrained/{file}.onnx").read_bytes()


@pytest.mark.parametrize("argument", [(), ("URL=",), ("URL= ",)])
def test_a_remote_needs_a_url(clone, argument):
    """It is refused in one sentence, before anything is installed or written."""
    printed = clone.run("make", "--no-print-directory", "remote", *argument, code=2, URL="")
    assert printed.splitlines()[0].startswith("error: no URL: name a folder, ssh://HOST/PATH or s3://BUCKET/PATH")
    assert not (clone.path / ".venv").exists()
    assert clone.run("git", "status", "--porcelain") == ""


def test_a_remote_brings_what_its_kind_needs(clone):
    """A bucket needs packages that the lock file leaves out; a folder and SSH need none."""
    (clone.path / ".venv" / "bin").mkdir(parents=True)
    (clone.path / ".venv" / ".ready").touch()
    for name in ("python", "dvc"):
        (clone.path / ".venv" / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (clone.path / ".venv" / "bin" / name).chmod(0o755)
    for url in ("/srv/dvc", "ssh://host/srv/dvc"):
        assert "pip" not in clone.run("make", "remote", f"URL={url}")
    printed = clone.run("make", "remote", "URL=s3://bucket/faces")
    assert "--constraint requirements.lock .[remote]\n" in printed
    assert "dvc remote add --force --default team s3://bucket/faces\n" in printed


@pytest.mark.release
def test_queued_experiments_find_ones_own_data(finished_clone):
    """Runs of the queue have a copy with what git and DVC know: data that `dvc add` took in is there, two at once."""
    (finished_clone.path / "data" / "raw" / "mine.csv").write_bytes(Table(per_class=(5, 5, 5)).csv())
    finished_clone.run("dvc", "add", "-q", "data/raw/mine.csv")
    finished_clone.edit("params.yaml", {"dataset: data/raw/sample.csv": "dataset: data/raw/mine.csv"})
    finished_clone.commit()
    assert "data/raw/mine.csv.dvc" in finished_clone.run("git", "ls-files")
    train_rows = {"official": 35, "paper": 28}
    for split in train_rows:
        finished_clone.run("dvc", "exp", "run", "--queue", "-n", split, "-S", f"prepare.split={split}", "prepare")
    finished_clone.run("dvc", "exp", "run", "--run-all", "-j", "2")
    for split, rows in train_rows.items():
        finished_clone.run("dvc", "exp", "apply", split)
        assert finished_clone.read_json("metrics/data.json")["split"] == split
        assert finished_clone.read_json("metrics/data.json")["rows"]["train"]["total"] == rows
