"""The whole pipeline under faults, with the real `dvc`: kill -9, a full disk, one without the right to write, two at once.

Faults come at a moment that is known and not by luck: a stage under test starts with a few lines of Python of ours (its
`sitecustomize`), which strike when it puts its first, or n-th, file into its place.
"""

import re
import signal
import subprocess
from collections import Counter

import numpy as np
import pytest
from conftest import PAPERS, ROOT, Clone, Project, Table, make_narrow
from ruamel.yaml import YAML

from clones import AFTER_FILE, DVC, KILL_DVC, KILL_STAGE, REMEDIES, SIGNALS, STAGE, UNSHARE, find_tracebacks
from fer_pipeline.core.errors import InputError
from fer_pipeline.training.common import checkpoints
from fer_pipeline.training.common.checkpoints import lock_training

AT_ONCE = f"import os, signal; {KILL_DVC}; {KILL_STAGE}"
FIRST, SECOND = (AFTER_FILE.format(count=count, strike=f"{KILL_DVC}; {KILL_STAGE}") for count in (1, 2))
PER_NETWORK = [
    f"{stage}@{name}"
    for stage in ("predict", "evaluate", "export", "export_photo", "stress")
    for name in (*PAPERS, "compact")
]
STAGES = ["sample", "prepare", "draw_augmented", *(f"train_{name}" for name in (*PAPERS, "compact")), *PER_NETWORK[:8]]
KILLS = dict.fromkeys([*STAGES, "compare", *PER_NETWORK[8:], "score_exports", "draw_stress", "report"], FIRST)
KILLS |= {"train_vgg19": SECOND}  # after both checkpoints of its first epoch; Keras has one
SPARED = {*PER_NETWORK} - {"predict@baseline", "evaluate@baseline", "export@resnet18"}  # the loading of the libraries
KILLS |= dict.fromkeys(SPARED, AT_ONCE)  # by then their outputs are deleted
"""{stage, in the order of the pipeline: code that kills it}."""
NO_SPACE = "no space left on device; free some space and run again"


class Faulty(Project):
    """A clone in which stages can be struck."""

    def strike(self, stage, strike, code, **environment):
        """Run `dvc repro` up to the stage, which is struck; what both printed."""
        process = self.start("dvc", "repro", stage, stage=stage, strike=strike, **environment)
        printed, _ = process.communicate(timeout=300)  # it ends when the last of them does
        assert process.returncode == code, printed
        assert f"Running stage '{stage}'" in printed
        return printed

    def run_on_disk(self, folder, options, script, code):
        """Run a line of shell in which `folder` is a file system of its own (mount's options); what it printed."""
        mount = f"mkdir -p {folder} && mount {options} {folder}"
        if subprocess.run([*UNSHARE, mount], cwd=self.path, capture_output=True).returncode:
            pytest.skip("this system lets nobody mount a file system of his own")
        return self.run(*UNSHARE, f"{mount} && {script}", code=code)

    def read(self, *names):
        return self.hash_files(*(self.path / name for name in names))


def only_error(printed):
    """The one sentence of a stage that failed."""
    assert "Traceback" not in printed, printed
    (line,) = (line for line in printed.splitlines() if line.startswith("error: "))
    return line


@pytest.fixture
def unbroken(finished_pipeline):
    """A clone after a run that nothing disturbed: to look at, not to change."""
    return Faulty(finished_pipeline.path)


@pytest.fixture
def clone(unbroken, tmp_path):
    """A copy of the unbroken run, to break."""
    return unbroken.copy(tmp_path / "clone")


@pytest.mark.release
def test_killed_in_every_stage_the_pipeline_ends_the_same(unbroken, tmp_path):
    """kill -9 of dvc and of the stage, while it writes; each next `dvc repro` goes on by itself, to the same numbers."""
    fresh, printed, left = Faulty(make_narrow(Clone(tmp_path / "clone")).path), [], set()
    for stage, strike in KILLS.items():
        printed.append(fresh.strike(stage, strike, code=-signal.SIGKILL))
        left.update(fresh.path / name for name in fresh.find_unfinished())
    printed.append(fresh.run("dvc", "repro"))
    assert {path.parent.name for path in left} >= {"prepared", "metrics", "predictions"}
    runs = Counter(re.findall(r"Running stage '(.+?)'", "".join(printed)))
    assert runs == dict.fromkeys(KILLS, 2), "each stage runs until it is killed, and once more"
    assert "".join(printed).count("resuming after epoch 1") == 2  # of baseline and VGG19
    assert list(fresh.find_wrong(unbroken)) == []
    assert "Running stage" not in fresh.run("dvc", "repro")


@pytest.mark.release
@pytest.mark.parametrize("what", [STAGE, DVC, *SIGNALS])
def test_stopped_at_a_random_moment(what, clone, unbroken):
    """While the report is written anew: the next `dvc repro` ends in the same bytes and leaves nothing behind.

    It may take a remedy of docs/trouble.md: the moment can fall into the writing of one of DVC's own files.
    """
    clone.edit("dvc.lock", {"python stages/report.py": "another"})
    (clone.path / ".dvc/cache/runs").rename(clone.path.parent / "runs")  # or it would be restored from there
    clone.stop(what, np.random.default_rng().uniform(1, 8))
    wrong, _remedies = clone.finish(unbroken)
    assert wrong == []


@pytest.mark.parametrize(
    ("file", "kept", "remedy"),
    [(".dvc/tmp/rwlock", b'{"read', "rm .dvc/tmp/rwlock"), ("dvc.lock", None, "git checkout dvc.lock")],
)
def test_a_file_of_dvc_that_was_cut_short(file, kept, remedy, clone, unbroken):
    """The manual has the remedy for what DVC then says, and the results stay the same."""
    content = (clone.path / file).read_bytes()
    (clone.path / file).write_bytes(kept or content[: content.rindex(b"hash: md5") + 3])  # no YAML any more
    assert clone.finish(unbroken) == ([], [f"with {remedy}"])
    page = (ROOT / "docs/trouble.md").read_text()
    assert all(remedy.removeprefix("rm ") in page for remedy in REMEDIES.values())


def test_what_is_wrong_after_a_fault_is_found(clone, unbroken):
    """Another byte, another file, an unfinished one, a process, a traceback; not a lock in another order."""
    yaml, lock = YAML(), clone.path / "dvc.lock"
    content = yaml.load(lock)
    content["stages"]["sample"] = content["stages"].pop("sample")
    yaml.dump(content, lock)
    assert list(clone.find_wrong(unbroken)) == []
    model = clone.path / "models/compact.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    assert list(clone.find_wrong(unbroken)) == ["1 files differ: models/compact.safetensors"]
    (clone.path / "metrics/.compare.1.unfinished.json").touch()
    trace = 'Traceback (most recent call last):\n  File "x", line 1, in <module>\n    import x\n'
    clone.log.write_text(f"a\n{trace}KeyboardInterrupt\n{trace}KeyError: 'y'\nb\n")
    with subprocess.Popen(["sleep", "60"], cwd=clone.path) as left:
        found = list(clone.find_wrong(unbroken, 255, "x\nERROR: y\n"))
        left.kill()
    assert found == [
        "the next dvc repro ended with 255: ERROR: y",
        "left behind: metrics/.compare.1.unfinished.json",
        "still running: sleep",
        "a traceback: KeyError: 'y'",
    ]
    assert find_tracebacks(f"{trace}KeyboardInterrupt\n") == []


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_stage_ends_when_dvc_was_killed(shell, clone):
    """An orphan would write into the next run: it ends, before it began or later, and takes its unfinished files with it.

    bash makes way for the stage, Debian's sh stays between it and DVC and outlives DVC.
    """
    outputs = ("metrics/data.json", "data/prepared/faces.h5")
    before, report = clone.read(*outputs), clone.path / "metrics/data.json"
    clone.edit("params.yaml", {"split: official": "split: paper"})
    starting = f"import os, signal, time; {KILL_DVC}; time.sleep(1)"
    clone.strike("prepare", starting, code=-signal.SIGKILL, SHELL=shell)  # whoever adopts orphans is then its parent
    assert not report.exists() or clone.read_json("metrics/data.json")["split"] == "official"
    strike = AFTER_FILE.format(count=1, strike=f"{KILL_DVC}; time.sleep(60); print('survived', flush=True)")
    assert "survived" not in clone.strike("prepare", strike, code=-signal.SIGKILL, SHELL=shell)
    assert not clone.find_unfinished()
    clone.run("dvc", "repro", "-q", "prepare")
    assert clone.read_json("metrics/data.json")["split"] == "paper"
    assert clone.read(*outputs) != before


def test_a_killed_stage_stops_dvc(clone):
    """kill -9 of the stage alone: dvc says so, nothing of it is recorded, and the next run makes it whole."""
    before = clone.read("dvc.lock")
    clone.edit("params.yaml", {"split: official": "split: paper"})
    printed = clone.strike("prepare", AFTER_FILE.format(count=1, strike=KILL_STAGE), code=255)
    assert "failed to reproduce 'prepare'" in printed
    assert clone.read("dvc.lock") == before
    assert clone.find_unfinished()
    assert "Running stage 'prepare'" in clone.run("dvc", "repro", "prepare")
    assert not clone.find_unfinished()


@pytest.mark.parametrize(
    ("stage", "folder", "size", "kept"),
    [
        ("prepare", "data/prepared", "64k", ["metrics/data.json", "plots/data/classes.csv"]),
        ("predict@resnet18", "data/predictions", "8k", ["models/resnet18.safetensors", "metrics/vgg19.json"]),
    ],
)
def test_no_space_for_the_outputs(stage, folder, size, kept, clone):
    before = clone.read(*kept, "dvc.lock")
    printed = clone.run_on_disk(folder, f"-t tmpfs -o size={size} none", f"dvc repro -f -s {stage}", code=255)
    assert re.fullmatch(f"error: {folder}/.+: {NO_SPACE}", only_error(printed))
    assert clone.read(*kept, "dvc.lock") == before
    assert not clone.find_unfinished()


@pytest.mark.parametrize(
    ("stage", "model", "size", "tries"),
    [
        ("train_baseline", "models/baseline.keras", "300k", 2),
        ("train_resnet18", "models/resnet18.safetensors", "650k", 1),
    ],
)
def test_no_space_for_checkpoints(stage, model, size, tries, clone, unbroken):
    """In the second epoch: the first one is kept, and with more space it goes on from there to the same model."""
    more = "mount -o remount,size=100m .checkpoints"
    script = "; ".join([*[f"dvc repro -f -s {stage}"] * tries, more, f"dvc repro -f -s {stage}"])
    printed = clone.run_on_disk(".checkpoints", f"-t tmpfs -o size={size} none", script, code=0)
    assert "Traceback" not in printed, printed
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == tries, printed
    assert all(re.fullmatch(rf"error: .*/\.checkpoints/.+: {NO_SPACE}", error) for error in errors)
    assert printed.count("resuming after epoch 1") == tries
    assert clone.read(model) == unbroken.read(model)


def test_a_models_folder_that_is_read_only(clone):
    """Said before the training, not after it."""
    script = "rm models/resnet18.safetensors && mount -o remount,ro,bind models && dvc repro -f -s train_resnet18"
    printed = clone.run_on_disk("models", "--bind models", script, code=255)
    sentence = "read-only file system; choose a place that can be written to"
    assert only_error(printed) == f"error: models/resnet18.safetensors: {sentence}"
    assert "epoch 1" not in printed


def test_two_at_once(clone):
    """The second `dvc repro` is refused by name of the first, which ends as if nothing had been."""
    before = clone.read("data/prepared/faces.h5", "metrics/data.json")
    go = clone.path.parent / "go"
    wait = f"print('writing', flush=True)\n        while not os.path.exists({str(go)!r}): time.sleep(0.05)"
    strike = AFTER_FILE.format(count=1, strike=wait)
    first = clone.start("dvc", "repro", "-f", "-s", "prepare", stage="prepare", strike=strike)
    assert any(line == "writing\n" for line in first.stdout)
    try:
        refused = clone.run("dvc", "repro", "prepare", code=255)
    finally:
        go.touch()
        printed, _ = first.communicate(timeout=120)
    assert "is busy, it is being blocked by" in refused and f"(PID {first.pid}): " in refused
    assert "Traceback" not in refused
    assert first.returncode == 0, printed
    assert clone.read("data/prepared/faces.h5", "metrics/data.json") == before
    assert "Running stage" not in clone.run("dvc", "repro")


def test_a_training_runs_once_at_a_time(monkeypatch, tmp_path):
    """As when one is started by hand, or under torchrun, beside `dvc repro`."""
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path / "checkpoints")
    with lock_training("vgg19"):
        with pytest.raises(InputError, match="vgg19: another process trains it"), lock_training("vgg19"):
            pass
        with lock_training("resnet18"):
            pass
        monkeypatch.setenv("RANK", "1")
        with lock_training("vgg19"):
            pass
        monkeypatch.delenv("RANK")
    with lock_training("vgg19"):
        pass


CHANGE_AFTER = """
import hashlib, json
call = {function}
def change(*args, **options):
    result = call(*args, **options)
    row = open('data/raw/mine.csv', 'rb').readlines()[-1]
    open('data/raw/mine.csv', 'ab').write(row)
    return result
{function} = change
"""


@pytest.mark.parametrize("function", ["hashlib.file_digest", "json.dumps"])  # while it reads, and before it writes
def test_a_raw_file_that_changes_while_prepare_reads_it(function, clone):
    """DVC takes a file's hash after the stage: a change that goes unseen would stand in dvc.lock beside old outputs."""
    (clone.path / "data/raw/mine.csv").write_bytes(Table().csv())
    clone.edit("params.yaml", {"dataset: data/raw/sample.csv": "dataset: data/raw/mine.csv"})
    clone.run("dvc", "repro", "-q", "sample")  # which looks whether there is such a file
    kept = ("data/prepared/faces.h5", "metrics/data.json", "plots/data/classes.csv", "dvc.lock")
    before = clone.read(*kept)
    printed = clone.strike("prepare", CHANGE_AFTER.format(function=function), code=255)
    sentence = "changed while it was read; wait until it is complete and run again"
    assert only_error(printed) == f"error: data/raw/mine.csv: {sentence}"
    assert clone.read(*kept) == before
    clone.run("dvc", "repro", "-q", "prepare")
    deps = clone.read_lock()["stages"]["prepare"]["deps"]
    recorded = next(dep["md5"] for dep in deps if dep["path"] == "data/raw/mine.csv")
    source = clone.read_json("metrics/data.json")["source"]
    assert (source["md5"], source["rows"]) == (recorded, len(Table()) + 1)
