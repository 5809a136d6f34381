"""Trainings of both frameworks: what they write, Table 3's settings, and the same bytes whatever stops them."""

import functools
import itertools
import json
import math
import re
import shutil
import signal
import subprocess
import zipfile
from collections import OrderedDict
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import refuse
from safetensors import safe_open
from safetensors.torch import load_file
from trainings import COMPUTE, FACTS, FLOAT32, NARROW, PYTORCH, SEED, TRAIN, VAL, Copy, Training, stage, write_faces

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import write_files
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.faces.votes import to_shares
from fer_pipeline.networks import compact
from fer_pipeline.networks.keras.framework import keras, tf
from fer_pipeline.networks.network import find_network
from fer_pipeline.networks.pytorch.files import load_network
from fer_pipeline.networks.pytorch.heads import add_votes_head
from fer_pipeline.running import hardware, origin
from fer_pipeline.training.common import checkpoints
from fer_pipeline.training.common.run import warn_if_slow
from fer_pipeline.training.keras import data as keras_data
from fer_pipeline.training.pytorch import data as torch_data
from fer_pipeline.training.pytorch import learner as torch_learner

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras under NumPy 2
BOTH = pytest.mark.parametrize("name", ["baseline", "compact"])
"""A network of Keras, and one of PyTorch."""
VOTES = {"labels": "emotion+votes", "label_smoothing": 0.1}
AUGMENT = PYTORCH.augment.model_copy(update={"rotation": 10.0, "erase": 0.5, "mixup": 0.2})
PLATEAU = {"schedule": "plateau", "decay_every": 1, "decay_rate": 0.5, "min_delta": 1.0}
"""No epoch has a better val accuracy, so that each lowers the rate."""
HARD = {
    "baseline": VOTES | {"ema": 0.5, "weight_decay": 0.01},
    "compact": VOTES | {"freeze_epochs": 2, "ema": 0.9, "augment": AUGMENT},
}
HARD["compact, plateau"] = HARD["compact"] | PLATEAU
"""{case, a network first: settings with everything that a resumed training has to take up again}."""


@pytest.fixture(autouse=True)
def in_float32():
    """Keras' default precision, whatever a training of this process set."""
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_faces(tmp_path_factory.mktemp("faces") / "faces.h5")


@pytest.fixture
def fit(faces, tmp_path):
    """Train in this process, each time in a new folder, with changed settings; returns the `Training`."""
    count = itertools.count()
    return lambda name="compact", data=faces, **changes: Training(
        tmp_path / f"{next(count)}", name, data, **changes
    ).run()


class Stopped:
    """A training by `HARD` that was never stopped, and its checkpoints after each epoch: what a kill -9 leaves."""

    def __init__(self, folder, case, data):
        self.folder, self.name, self.data, self.settings = folder, case.partition(",")[0], data, HARD[case]
        self.whole = Training(folder / "whole", self.name, data, FLOAT32, **self.settings)
        epochs = itertools.count(1)

        def write(files):
            write_files(files)
            if "last." in str(*files):
                shutil.copytree(self.whole.states, folder / f"{next(epochs)}")

        with pytest.MonkeyPatch.context() as patch:
            framework = find_network(self.name).FRAMEWORK
            patch.setattr(f"fer_pipeline.training.{framework}.checkpoints.write_files", write)
            self.whole.run()

    def place(self, epoch, folder):
        """Copy the checkpoints after `epoch` to `folder`, as if the checkout had been moved; their folder."""
        shutil.copytree(self.folder / f"{epoch}", folder / ".checkpoints")
        (state,) = folder.glob(f".checkpoints/{self.name}-*")
        return state

    def go_on(self, folder, **changes):
        """Train in `folder`, with changed settings."""
        return Training(folder, self.name, self.data, FLOAT32, **self.settings | changes).run()


@pytest.fixture(scope="module")
def stop(tmp_path_factory, faces):
    """The `Stopped` of a case, made once."""
    return functools.cache(lambda case: Stopped(tmp_path_factory.mktemp("stopped"), case, faces))


def list_epochs(printed):
    """The epochs that a training has run, in this process and without a terminal."""
    return [int(epoch) for epoch in re.findall(r"^epoch (\d+)", printed, re.MULTILINE | re.IGNORECASE)]


def fall(*shares):
    """The half cosine from 1 to 0 at these shares of its way."""
    return [(1 + math.cos(math.pi * share)) / 2 for share in shares]


STEP = {"schedule": "step", "decay_start": 1, "decay_every": 1, "decay_rate": 0.5}
SCHEDULES = [
    ("resnet18", STEP, [1, 1, 0.5, 0.25]),
    ("compact", PLATEAU, [1, 1, 0.5, 0.25]),
    ("vgg19", {"schedule": "cosine", "warm_up": 0.25}, [1, *fall(3 / 12, 7 / 12, 11 / 12)]),
    ("compact", {}, [0.04 + 0.96 * fall(0.8 / 3.8)[0], *fall(3.2 / 11.2, 7.2 / 11.2), 4e-6]),  # one cycle
    ("baseline", {}, [0.04 + 0.96 * 4 / 6, *fall(3 / 14, 8 / 14, 13 / 14)]),
]


@pytest.mark.parametrize(("name", "changes", "factors"), SCHEDULES)
def test_what_a_training_writes(name, changes, factors, fit):
    """Its learning rates are those at the last step of four epochs, which have 4 steps in PyTorch and 5 in Keras."""
    training = fit(name, **changes)
    assert training.check().shape == (35, 7)
    rates = [row["learning_rate"] / training.settings.learning_rate for row in training.read_history()]
    assert rates == pytest.approx(factors, rel=1e-4)


@pytest.mark.parametrize(
    ("case", "epoch"),
    [("baseline", 3), ("baseline", 4), *(("compact", epoch) for epoch in (1, 2, 3, 4)), ("compact, plateau", 2)],
)
def test_run_again_after_a_stop_it_ends_the_same(case, epoch, stop, tmp_path, capsys):
    """In another place; it repeats no epoch, and then its state is removed."""
    stopped = stop(case)
    state = stopped.place(epoch, tmp_path)
    capsys.readouterr()
    whole, resumed = stopped.whole, stopped.go_on(tmp_path)
    assert resumed.read() == whole.read()
    printed = capsys.readouterr()
    assert f"resuming after epoch {epoch}\n" in printed.err
    assert list_epochs(printed.out) == [*range(epoch + 1, 5)]
    assert not state.exists()


@BOTH
def test_other_params_start_anew_and_leave_the_old_state(name, stop, tmp_path, capsys):
    """Without the average the weights are others. With the old params back, the first training goes on."""
    stopped = stop(name)
    state = stopped.place(3, tmp_path)
    capsys.readouterr()
    assert stopped.go_on(tmp_path, ema=0.0).read()[0] != stopped.whole.read()[0]
    assert "resuming" not in capsys.readouterr().err and state.exists()
    stopped.go_on(tmp_path)
    assert "resuming after epoch 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "file", "damage"),
    [
        ("baseline", "last.npz", "one bit"),
        *itertools.product(["compact"], ["last.ckpt", "best.ckpt"], ["one bit", "empty"]),
    ],
)
def test_a_damaged_checkpoint_is_said_and_ignored(name, file, damage, stop, tmp_path, capsys):
    """One bit of the weights, which the libraries would read, or everything."""
    stopped = stop(name)
    path = stopped.place(3, tmp_path) / file
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = archive.read(max(archive.infolist(), key=lambda member: member.file_size))
    content[content.index(largest) + len(largest) // 2] ^= 1
    path.write_bytes(content if damage == "one bit" else b"")
    capsys.readouterr()
    assert stopped.go_on(tmp_path).read() == stopped.whole.read()
    printed = capsys.readouterr()
    assert re.search(r"last\.\w+: damaged \(.*\); training starts anew\n", printed.err)
    assert list_epochs(printed.out) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "backend", "signals"),
    [
        ("baseline", "tensorflow", [signal.SIGKILL]),
        ("baseline", "torch", [signal.SIGKILL]),
        ("compact", "", [signal.SIGINT, signal.SIGKILL]),
    ],
)
def test_processes_that_are_stopped_and_killed_end_the_same(name, backend, signals, stop, faces, tmp_path, monkeypatch):
    """In the second and third epoch: neither writes an output, and the end has the same bytes."""
    monkeypatch.setenv("KERAS_BACKEND", backend)
    copy = Copy(tmp_path / "stopped", name, faces, FLOAT32, **HARD[name])
    for epoch, number in enumerate(signals, 2):
        assert ("resuming after epoch 1" in copy.stop(epoch, number)) == (epoch > 2)
    assert "resuming after epoch" in copy.finish()
    if backend == "torch":
        whole = Copy(tmp_path / "whole", name, faces, FLOAT32, **HARD[name])
        whole.finish()
        assert whole.read_report()["backend"] == "torch" and whole.check().shape == (35, 15)
    else:
        whole = stop(name).whole
    assert copy.read() == whole.read()
    assert not copy.find("*")


def test_a_tree_is_clean_if_its_code_is_that_of_the_commit(tmp_path, monkeypatch):
    """There is no commit without Git, outside of a checkout, or in a folder of somebody else's."""
    monkeypatch.setattr(origin, "ROOT", tmp_path)
    assert origin.find_commit() == (None, None)
    for name in ("params.yaml", "metrics/data.json", "dvc.lock"):
        write_files({tmp_path / name: b"x"})
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "x")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    commit, clean = origin.find_commit()
    assert re.fullmatch("[0-9a-f]{40}", commit) and clean
    for name, clean in (
        ("metrics/data.json", True),
        ("params.yaml", True),
        ("dvc.yaml", True),
        ("plots/new.png", True),
        ("new.py", False),
    ):
        write_files({tmp_path / name: b"other"})
        assert origin.find_commit() == (commit, clean), name
    monkeypatch.setattr(origin, "ROOT", tmp_path / "metrics")
    assert origin.find_commit() == (None, None)
    monkeypatch.setenv("PATH", "")
    assert origin.find_commit() == (None, None)


def test_threads_are_those_of_the_parameter(faces, tmp_path, monkeypatch):
    """One thread by the parameter gives the bytes of one by the variables that the libraries read; two give others."""
    monkeypatch.setenv(hardware.LIMITS[0], "1")
    by_variable = Copy(tmp_path / "variable", "compact", faces, FLOAT32, epochs=1)
    by_variable.finish()
    for variable in hardware.LIMITS:
        monkeypatch.setenv(variable, "2")
    one = FLOAT32.model_copy(update={"threads": 1})
    by_parameter = Copy(tmp_path / "parameter", "compact", faces, one, epochs=1)
    by_parameter.finish()
    assert by_parameter.read() == by_variable.read()


@pytest.mark.parametrize(
    ("seconds", "threads", "said"), [([5, 3, 7], "auto", True), ([5, 3, 5], "auto", False), ([5, 3, 7], 1, False)]
)
def test_an_epoch_that_takes_long_is_said(seconds, threads, said, capsys):
    warn_if_slow(seconds, threads)
    told = "this epoch took 2.3 times as long as the fastest: something else uses this machine; compute.threads: 1 may"
    assert capsys.readouterr().err.startswith(told) == said


def test_other_code_starts_anew(faces, tmp_path, monkeypatch):
    """Edits of loaded files count, except in the rooms that change no output: those of params and of running."""
    loaded = checkpoints.list_code()
    rooms = {path.relative_to(checkpoints.STAGES).parts[1] for path in loaded if "fer_pipeline" in path.parts}
    assert {"core", "faces", "networks", "training"} <= rooms and not {"params", "running"} & rooms
    assert torch_data.__file__ in map(str, loaded) and stage.__file__ in map(str, loaded)
    code = tmp_path / "code.py"
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(checkpoints, "list_code", lambda: [code])
    folders = []
    for content in ("", "# changed", ""):
        code.write_text(content)
        folders.append(checkpoints.find_checkpoints("compact", [PYTORCH, 1], faces, ["torch"]))
    assert folders[0] == folders[2] != folders[1]


def overflow(batches, seed, epoch, shuffle=keras_data.Batches.shuffle):
    """Keras' order of an epoch; in the second, labels so heavy that the loss overflows in the second step."""
    shuffle(batches, seed, epoch)
    batches.targets[batches.order[16:]] *= np.float32(1e38 if epoch else 1)


def spoil_val(rows, facts, votes, to_arrays=keras_data.to_arrays):
    """Keras' arrays, those of val without usable labels."""
    images, targets = to_arrays(rows, facts, votes)
    return images, targets * np.float32(math.nan if len(images) == 35 else 1)


def spoil_crops(crops):
    return torch.full((len(crops), 3, 44, 44), math.nan)


def spoil_scores(_, images, *__):
    return torch.full((1, len(images), 7), -math.inf)


NO_MEMORY = Mock(side_effect=tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"))
FAILURES = {  # what is replaced in fer_pipeline/training/: by what, and the sentence
    "keras.data.Batches.shuffle": (overflow, "^the loss is not finite in epoch 2; lower learning_rate of baseline in"),
    "keras.train.to_arrays": (spoil_val, "the loss is not finite in epoch 1; lower learning_rate of baseline in"),
    "keras.train.keras.Sequential.fit": (NO_MEMORY, "batches of 16 images; set batch_size of baseline .* to 8"),
    "pytorch.learner.as_input": (spoil_crops, "the loss is not finite in epoch 1; lower learning_rate of compact in"),
    "pytorch.learner.score_views": (
        spoil_scores,
        "the loss is not finite in epoch 1; lower learning_rate of compact in",
    ),
    "pytorch.learner.derive_seed": (
        Mock(side_effect=torch.cuda.OutOfMemoryError),
        "batches of 16 images; set batch_size of compact .* to 8",
    ),
}


@pytest.mark.parametrize("place", FAILURES)
def test_a_training_that_cannot_go_on_ends_in_one_sentence(place, faces, tmp_path, monkeypatch):
    """It writes no output, and keeps the epochs before."""
    replacement, message = FAILURES[place]
    monkeypatch.setattr(f"fer_pipeline.training.{place}", replacement)
    training = Training(tmp_path, "baseline" if "keras" in place else "compact", faces)
    with pytest.raises(InputError, match=message):
        training.run()
    assert not training.exist() and bool(training.find("last.*")) == ("epoch 2" in message)


class Own(torch.nn.Sequential):
    """A network with a forward of its own."""

    def __init__(self, layers):
        super().__init__(OrderedDict(layers))


@pytest.mark.parametrize("labels", ["emotion", "emotion+votes"])
@pytest.mark.parametrize(
    "make",
    [
        Own,
        lambda layers: torch.nn.Sequential(OrderedDict(zip([*[*layers][:-1], "last"], layers.values(), strict=True))),
        lambda layers: torch.nn.Sequential(OrderedDict(head=layers["head"])),
        lambda layers: torch.nn.Sequential(OrderedDict(layers | {"head": torch.nn.Sequential(layers["head"])})),
    ],
)
def test_a_network_without_the_parts_that_training_needs_is_one_sentence(make, labels, fit, monkeypatch):
    build = compact.build
    monkeypatch.setattr(compact, "build", lambda shape: make(dict(build(shape).named_children())))
    said = "stages/fer_pipeline/networks/compact.py: build() makes no plain nn.Sequential that ends in `dropout` and a"
    assert refuse(fit, labels=labels).startswith(said)


UNFIT = {
    ("precision", "float16"): "compute.precision is float16, which needs an NVIDIA GPU, and there is none; set",
    ("devices", 2): "batch_size 15 cannot be shared equally by 2 processes",
    ("compile", True): "compute.compile: no C.. compiler found; install g.., or set it to false",
}


@pytest.mark.parametrize("key_and_value", UNFIT)
def test_hardware_that_does_not_fit_is_one_sentence(key_and_value, fit, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match=UNFIT[key_and_value]):
        fit(compute=COMPUTE.model_copy(update=dict([key_and_value])), batch_size=15)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory, faces):
    """A long training with two heads, and a normalisation by the train rows."""
    changes = {"labels": "emotion+votes", "epochs": 20, "normalisation": "train", "dropout": 0.0, "clip": 1.0}
    return Training(tmp_path_factory.mktemp("learnt"), "compact", faces, FLOAT32, **changes).run()


@BOTH
def test_a_second_head_learns_how_annotators_vote(name, stop, learnt):
    """Its eight probabilities follow the seven; the first head alone is judged; both are far above chance on val."""
    training = learnt if name == "compact" else stop(name).whole
    said, shares = training.check(), to_shares(VAL.votes)
    assert [head.sum(axis=1) for head in np.split(said, [7], axis=1)] == [pytest.approx(1, abs=1e-5)] * 2
    assert shares[0].sum() == 0, "a row whose majority is no face is left out"
    assert -(shares * np.log(said[:, 7:])).sum(axis=1)[1:].mean() < 0.75 * np.log(8)
    assert training.read_report()["val_accuracy"] > 0.5


def test_a_second_head_leaves_the_names_of_the_first(learnt, fit):
    state, alone = load_file(learnt.model), load_file(fit(epochs=1).model)
    assert state.keys() - alone.keys() == {"votes.weight", "votes.bias", "normalise.mean", "normalise.deviation"}
    assert state["head.weight"].shape == alone["head.weight"].shape and state["votes.weight"].shape[0] == 8
    with safe_open(learnt.model, "pt") as file:
        assert json.loads(file.metadata()["vote_classes"]) == [*CLASSES, "contempt"]


def test_a_training_goes_on_from_another_ones_network(learnt, fit, faces, tmp_path, capsys):
    """With all of it on the same classes; with other classes, the body alone helps. The line is printed once."""
    start = {"weights": str(learnt.model), "normalisation": "train", "learning_rate": 1e-4, "epochs": 1}
    whole = fit(labels="emotion+votes", **start)
    assert "safetensors: body, normalisation, head, second head\n" in capsys.readouterr().out
    assert abs(whole.read_report()["val_accuracy"] - learnt.read_report()["val_accuracy"]) < 0.15
    facts = FACTS._replace(classes=("a", "b", "c", "d", "e", "f", "g"), voted=())
    rows = [one._replace(votes=None) for one in (TRAIN, VAL)]
    other = write_faces(tmp_path / "other.h5", *rows, facts)
    changes = start | {"data": other, "epochs": 2, "learning_rate": 0.05}
    tuned, anew = fit(**changes, freeze_epochs=1), fit(**changes | {"weights": "none"})
    assert "normalisation; head drawn anew (other classes); second head left out\n" in capsys.readouterr().out
    assert tuned.read_report()["val_accuracy"] > anew.read_report()["val_accuracy"] + 0.2


def test_without_votes_in_the_data_the_labels_alone_are_learnt(fit, tmp_path, capsys):
    plain = write_faces(tmp_path / "plain.h5", TRAIN._replace(votes=None), VAL._replace(votes=None))
    assert len({fit(data=plain, labels=labels, epochs=1).read() for labels in ("emotion", "emotion+votes")}) == 1
    assert "compact learns the labels alone" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["train", "imagenet"])
def test_the_network_normalises_itself(where, fit, request):
    """By the mean and deviation of the train rows, or ImageNet's: in its file, and in its answers."""
    out = request.getfixturevalue("learnt") if where == "train" else fit(normalisation="imagenet", epochs=1)
    state, pixels = load_file(out.model), TRAIN.images / 255
    expected = {
        "train": ([pixels.mean()] * 3, [pixels.std()] * 3),
        "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    }[where]
    for key, numbers in zip(("mean", "deviation"), expected, strict=True):
        assert state[f"normalise.{key}"].flatten().tolist() == pytest.approx(numbers, rel=1e-5)
    with safe_open(out.model, "pt") as file:
        assert "in the network, less" in file.metadata()["normalisation"]
    network = load_network(out.model).network
    bare = type(network)(OrderedDict([*network.named_children()][1:]))
    images = torch.rand(3, 3, 44, 44)
    by_hand = (images - state["normalise.mean"]) / state["normalise.deviation"]
    assert torch.allclose(network(images), bare(by_hand), atol=1e-5)


def test_early_stopping_counts_as_table_3_does(fit):
    """No epoch is better by 1.0, so that training ends `patience` epochs after the first."""
    out = fit(epochs=9, patience=2, min_delta=1.0)
    assert out.read_report()["epochs_run"] == len(out.read_history()) == 3
    assert out.read_report()["stopped"] == "val accuracy rose by less than 1 in 2 epochs"


def test_small_and_frozen_epochs_come_first(fit, monkeypatch):
    """While the body is frozen, its statistics stay the same and it gets no gradients."""
    seen, step, shrink = set(), torch_learner.Learner.step, Mock(wraps=torch_learner.F.interpolate)

    def watch(learner):
        norm = learner.network.stem[1]
        means = norm.running_mean.clone()
        step(learner)
        moved = bool((norm.running_mean != means).any())
        wanted = sum(one.requires_grad for one in learner.network.parameters())
        size = shrink.called and shrink.call_args.kwargs["size"]
        seen.add((len(learner.history), size, norm.training, moved, wanted))
        shrink.reset_mock()

    monkeypatch.setattr(torch_learner.Learner, "step", watch)
    monkeypatch.setattr(torch_learner.F, "interpolate", shrink)
    fit(freeze_epochs=1, small_epochs=2, epochs=3)
    everything = len(list(compact.build(NARROW).parameters()))
    assert seen == {(0, 32, False, False, 2), (1, 32, True, True, everything), (2, False, True, True, everything)}


def test_seed_label_smoothing_and_class_weights_have_an_effect(fit, tmp_path):
    uneven = TRAIN._replace(**{key: getattr(TRAIN, key)[:64] for key in ("images", "labels", "votes")})
    uneven = write_faces(tmp_path / "uneven.h5", uneven)
    changes = ({}, {"label_smoothing": 0.3}, {"class_weights": "balanced"}, {"seed": SEED + 1})
    assert len({fit(data=uneven, epochs=1, **change).read_history()[0]["train_loss"] for change in changes}) == 4


TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29531"]
SHARED = {
    "compute.devices": ([], {"labels": "emotion+votes", "class_weights": "balanced"}),
    "torchrun": (
        TORCHRUN,
        {"freeze_epochs": 1, "epochs": 3},
    ),  # its history tells: the frozen epoch may be the kept one
}


@pytest.mark.parametrize("how", SHARED)
def test_two_processes_get_the_weights_of_one(how, fit, tmp_path):
    """The same global batch, whose halves differ in classes and votes: equal to rounding, with BatchNorm's statistics.

    A loss whose denominators are those of each half differs by more.
    """
    launcher, changes = SHARED[how]
    changes = {"dropout": 0.0, "epochs": 1, "learning_rate": 0.005, **changes}
    freeze = changes.get("freeze_epochs")
    uneven = TRAIN._replace(labels=np.where(np.arange(70) < 50, 0, TRAIN.labels).astype(np.uint8))
    uneven.votes[:25] = 0
    faces = write_faces(tmp_path / "faces.h5", uneven)
    compute = FLOAT32.model_copy(update={} if launcher else {"devices": 2})
    copy = Copy(tmp_path / "copy", "compact", faces, compute, **changes)
    copy.finish(*launcher)
    alone = fit(data=faces, compute=FLOAT32, **changes)
    for row, by_one in zip(copy.read_history(), alone.read_history(), strict=True):
        assert row == pytest.approx(by_one, rel=0.02, abs=1e-3)
    both, one = (load_file(out.model) for out in (copy, alone))
    torch.manual_seed(SEED)
    start = compact.build(NARROW)
    start = (add_votes_head(start, 8) if "labels" in changes else start).state_dict()
    assert both.keys() == one.keys() == start.keys()
    for key, tensor in one.items():
        learnt = (tensor - start[key]).abs().max().item()
        assert learnt > 0 or freeze, key
        assert (both[key] - tensor).abs().max().item() <= 0.05 * learnt, key
