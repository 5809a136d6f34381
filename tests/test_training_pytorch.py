"""The training of PyTorch's networks: Table 3's settings, repeatable, and hard to kill."""

import itertools
import json
import math
import os
import re
import shutil
import signal
from collections import OrderedDict
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
import trainings
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from trainings import COMPUTE, FLOAT32, SEED, Copy, Outputs, make_rows, stage, train_here

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import Split
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.networks import compact
from fer_pipeline.networks.network import Shape
from fer_pipeline.networks.pytorch.crops import score
from fer_pipeline.networks.pytorch.files import load_network
from fer_pipeline.params.read import read_params
from fer_pipeline.training.common import checkpoints
from fer_pipeline.training.common.profile import read_training
from fer_pipeline.training.pytorch import data as torch_data
from fer_pipeline.training.pytorch import train as training
from fer_pipeline.training.pytorch.checkpoints import find_last
from fer_pipeline.training.pytorch.data import TensorSplit, TrainingBatches, make_batches
from fer_pipeline.training.pytorch.train import MovingAverage, TrainingModule, anneal, compute_votes_loss, decay

SMALL = read_training(read_params(), "resnet18", "smoke").model_copy(
    update={"width": 0.1, "batch_size": 16, "epochs": 3, "schedule": "one_cycle", "learning_rate": 0.05, "dropout": 0.2}
    | {"labels": "emotion"}
)
HARD = SMALL.model_copy(
    update={"epochs": 4, "freeze_epochs": 2, "ema": 0.9, "labels": "emotion+votes"}
    | {"augment": SMALL.augment.model_copy(update={"rotation": 10.0, "erase": 0.5, "mixup": 0.2})}
)
"""Everything that a resumed training has to take up again."""
ROWS = TensorSplit.of(make_rows(70, 1))
VAL = TensorSplit.of(make_rows(35, 2))


def build(width=0.1):
    return compact.build(Shape(width))


def start_training(rows=ROWS, **changes):
    """A narrow Compact in training on `rows`, with changed settings."""
    return TrainingModule(build(), 44, SMALL.model_copy(update=changes), 1, rows, rows)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return trainings.write_faces(tmp_path_factory.mktemp("faces") / "faces.h5")


@pytest.fixture
def fit(faces, tmp_path):
    """Train in this process with changed settings; returns the outputs."""
    count = itertools.count()

    def fit(name="compact", data=faces, seed=SEED, compute=COMPUTE, **changes):
        outputs = Outputs(tmp_path / f"out{next(count)}", name)
        return train_here(outputs, tmp_path / "states", data, SMALL.model_copy(update=changes), compute, seed)

    return fit


@pytest.fixture(scope="module")
def trained(tmp_path_factory, faces):
    """The outputs of a training by `SMALL` in float32, over five epochs."""
    folder = tmp_path_factory.mktemp("trained")
    outputs = Outputs(folder / "out", "compact")
    return train_here(outputs, folder / "states", faces, SMALL.model_copy(update={"epochs": 5}), FLOAT32)


def find_accuracy(path):
    """The accuracy on the centre crops of val of the network in a file, computed without this project's crops."""
    network, _ = load_network(path)
    with torch.inference_mode():
        images = VAL.images[:, :, 2:46, 2:46].float().expand(-1, 3, -1, -1) / 255
        return (network(images)[:, :7].argmax(1) == VAL.labels).float().mean().item()


@pytest.mark.parametrize("name", ["resnet18", "vgg19"])
def test_what_a_training_writes(name, fit, tmp_path):
    out = fit(name, epochs=2)
    out.check(2, 64)
    network, found = load_network(out.model)
    assert found == name
    assert out.read_report()["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert [path.name for path in (tmp_path / "states").iterdir()] == [f"{name}.lock"]


def test_the_saved_network_is_the_best_epochs(trained):
    assert find_accuracy(trained.model) == pytest.approx(trained.read_report()["val_accuracy"], abs=1e-6)


def test_the_same_run_gives_the_same_bytes(fit):
    first, again, other = (fit(epochs=2, seed=seed).read() for seed in (1, 1, 2))
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_early_stopping_counts_as_table_3_does(fit):
    """No epoch is better by 1.0, so that training ends `patience` epochs after the first."""
    out = fit(epochs=9, patience=2, min_delta=1.0)
    assert out.read_report()["epochs_run"] == len(out.read_history()) == 3
    assert out.read_report()["stopped"] == "val accuracy rose by less than 1 in 2 epochs"


def test_schedules_beside_numbers_worked_out_by_hand():
    settings = read_training(read_params(), "vgg19", "paper")
    factors = [decay(epoch, settings) for epoch in (0, 79, 80, 84, 85, 90, 249)]
    assert factors == pytest.approx([1, 1, 1, 1, 0.9, 0.81, 0.9**33])
    assert [anneal(step, 16, 0.25) for step in (0, 3, 4, 10, 16)] == pytest.approx([0.25, 1, 1, 0.5, 0])


SCHEDULES = {
    "step": ({"decay_start": 1}, [1, 1, 0.5, 0.25]),
    "cosine": ({"warm_up": 0.25}, [anneal(step, 16, 0.25) for step in (3, 7, 11, 15)]),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_schedule_is_applied(schedule, fit):
    settings, factors = SCHEDULES[schedule]
    out = fit(epochs=4, decay_every=1, decay_rate=0.5, schedule=schedule, **settings)
    assert [row["learning_rate"] for row in out.read_history()] == pytest.approx([0.05 * f for f in factors], rel=1e-5)


def test_one_cycle_rises_and_anneals(trained):
    rates = [row["learning_rate"] for row in trained.read_history()]
    assert max(rates) == pytest.approx(0.05, rel=0.05)
    assert rates[-1] < 1e-4 and rates.index(max(rates)) in (1, 2)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_optimizer_is_the_one_named(optimizer):
    """AdamW's first step is the learning rate for every weight, whatever its gradient; SGD's is in proportion to it."""
    module = start_training(optimizer=optimizer, schedule="step", weight_decay=0.0)
    weights = module.network.head.weight
    before = weights.detach().clone()
    gradient = torch.linspace(0.1, 1, weights.numel())
    weights.grad = gradient.reshape(weights.shape)
    configured = module.configure_optimizers()
    configured["optimizer"].step()
    steps = (before - weights.detach()).flatten() / SMALL.learning_rate
    expected = gradient if optimizer == "sgd" else torch.ones_like(gradient)
    assert steps.tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def test_frozen_epochs_train_the_head_alone(fit, tmp_path):
    """Not one number of the body moves, running means of BatchNorm included."""
    state = build().state_dict()
    save_file(state, tmp_path / "start.safetensors")
    trained = load_file(fit(weights=str(tmp_path / "start.safetensors"), epochs=1, freeze_epochs=1).model)
    assert {key for key in state if not torch.equal(trained[key], state[key])} == {"head.weight", "head.bias"}


def test_everything_thaws_after_the_freeze(fit, monkeypatch):
    """While the body is frozen, its statistics stay the same and it gets no gradients."""
    seen, step = set(), TrainingModule.training_step

    def watch(module, batch, batch_idx):
        norm = module.network.stem[1]
        means = norm.running_mean.clone()
        loss = step(module, batch, batch_idx)
        wanted = [parameter.requires_grad for parameter in module.network.parameters()]
        seen.add((module.current_epoch, norm.training, bool((norm.running_mean != means).any()), sum(wanted)))
        return loss

    monkeypatch.setattr(TrainingModule, "training_step", watch)
    fit(freeze_epochs=1)
    everything = len(list(build().parameters()))
    assert seen == {(0, False, False, 2), (1, True, True, everything), (2, True, True, everything)}


def test_the_average_is_validated_and_kept(fit, trained):
    """With an average of long memory the kept network is not the last one, and has the val accuracy of the report."""
    averaged = fit(epochs=5, ema=0.9, compute=FLOAT32)
    assert not torch.equal(*(load_file(out.model)["head.weight"] for out in (averaged, trained)))
    assert find_accuracy(averaged.model) == pytest.approx(averaged.read_report()["val_accuracy"], abs=1e-6)


def test_the_average_follows_by_hand():
    """Against a loop in plain numbers: faster at first, then by its decay; counts of batches are copied."""
    network = torch.nn.BatchNorm1d(1)
    module, average = L.LightningModule(), MovingAverage(0.7)
    module.network = network
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")), global_step=0)
    average.setup(trainer, module, "fit")
    average.on_train_start(trainer, module)
    expected = None
    for seen, value in enumerate((5.0, 1.0, 4.0, 2.0, 8.0, 3.0, 9.0)):
        with torch.no_grad():
            network.weight.fill_(value)
            network.num_batches_tracked.fill_(seen)
        trainer.global_step += 1
        average.on_train_batch_end(trainer, module, None, None, seen)
        decay = min(0.7, seen / (9 + seen))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    assert network.weight.item() == 9
    average.on_train_end(trainer, module)
    assert network.weight.item() == pytest.approx(expected, rel=1e-5)
    assert network.num_batches_tracked == 6


@pytest.fixture(scope="module")
def learnt(tmp_path_factory, faces):
    """The outputs of a long training with two heads, and a normalisation by the train rows."""
    folder = tmp_path_factory.mktemp("learnt")
    changes = {"labels": "emotion+votes", "epochs": 20, "normalisation": "train", "learning_rate": 0.05}
    settings = SMALL.model_copy(update={**changes, "dropout": 0.0, "clip": 1.0})
    return train_here(Outputs(folder / "out", "compact"), folder / "states", faces, settings)


def test_a_second_head_learns_how_annotators_vote(learnt, trained):
    """The first head's tensors keep their names; both heads are far above chance on val."""
    state, alone = load_file(learnt.model), load_file(trained.model)
    assert state.keys() - alone.keys() == {"votes.weight", "votes.bias", "normalise.mean", "normalise.deviation"}
    assert state["head.weight"].shape == alone["head.weight"].shape and state["votes.weight"].shape[0] == 8
    with safe_open(learnt.model, "pt") as file:
        assert json.loads(file.metadata()["vote_classes"]) == [*CLASSES, "contempt"]
    network, _ = load_network(learnt.model)
    with torch.inference_mode():
        scores = score(network, VAL.images, 44, 10)
    emotion, votes = scores.exp().split([7, 8], dim=1)
    assert torch.allclose(emotion.sum(1), torch.ones(35)) and torch.allclose(votes.sum(1), torch.ones(35))
    assert VAL.shares[0].sum() == 0, "a row whose majority is no face is left out"
    assert -(VAL.shares * scores[:, 7:]).sum(1)[1:].mean().item() < 0.75 * np.log(8)
    accuracy = find_accuracy(learnt.model)
    assert learnt.read_report()["val_accuracy"] == pytest.approx(accuracy, abs=0.03), "the first head alone is judged"
    assert accuracy > 0.5


def test_the_loss_of_votes_worked_out_by_hand():
    logits = torch.tensor([[2.0, *[0.0] * 7], [0.0] * 8, [0.0] * 8])
    shares = torch.tensor([[0.5, 0.5, *[0.0] * 6], [1.0, *[0.0] * 7], [0.0] * 8])
    total = np.log(np.exp(2) + 7)
    expected = (0.5 * (total - 2) + 0.5 * total + np.log(8)) / 2
    assert compute_votes_loss(logits, shares).item() == pytest.approx(expected, rel=1e-6)
    assert compute_votes_loss(logits[2:], shares[2:]).item() == 0


def test_without_votes_in_the_data_the_labels_alone_are_learnt(fit, tmp_path, capsys):
    splits = {name: make_rows(35, 1)._replace(votes=None) for name in ("train", "val", "test")}
    splits["train"] = splits["train"]._replace(duplicate_of_train=None)
    plain = trainings.write_faces(tmp_path / "plain.h5", **splits)
    assert len({fit(data=plain, labels=labels, epochs=1).read() for labels in ("emotion", "emotion+votes")}) == 1
    assert "compact learns the labels alone" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["train", "imagenet"])
def test_the_network_normalises_itself(where, fit, request):
    """By the mean and deviation of the train rows, or ImageNet's: in its file, and in its answers."""
    out = request.getfixturevalue("learnt") if where == "train" else fit(normalisation="imagenet", epochs=1)
    state, pixels = load_file(out.model), ROWS.images.double() / 255
    expected = {
        "train": ([pixels.mean().item()] * 3, [pixels.std().item()] * 3),
        "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    }[where]
    for key, numbers in zip(("mean", "deviation"), expected, strict=True):
        assert state[f"normalise.{key}"].flatten().tolist() == pytest.approx(numbers, rel=1e-5)
    with safe_open(out.model, "pt") as file:
        assert "in the network, less" in file.metadata()["normalisation"]
    network, _ = load_network(out.model)
    bare = type(network)(OrderedDict([*network.named_children()][1:]))
    images = torch.rand(3, 3, 44, 44)
    by_hand = (images - state["normalise.mean"]) / state["normalise.deviation"]
    assert torch.allclose(network(images), bare(by_hand), atol=1e-5)


ALL_CLASSES = [0] * 6 + [1] * 2 + [2, 3, 4, 5, 6], [13 / 42, 13 / 14, *[13 / 7] * 5]
THREE_CLASSES = [0] * 6 + [2] * 3 + [4] * 3, [12 / 18, 0, 12 / 9, 0, 12 / 9, 0, 0]


@pytest.mark.parametrize(("labels", "expected"), [ALL_CLASSES, THREE_CLASSES])
def test_balanced_weights_are_inverse_to_frequency(labels, expected):
    rows = TensorSplit(ROWS.images[: len(labels)], torch.tensor(labels))
    assert start_training(rows, class_weights="balanced").class_weights.tolist() == pytest.approx(expected)


UNFIT = {
    ("strategy", "foo"): "params.yaml: compute: Lightning refuses it",
    ("num_nodes", 2): "compute.num_nodes is 2; start this command on each machine under torchrun",
    ("devices", 2): "batch_size 15 cannot be shared equally by 2 processes",
}


@pytest.mark.parametrize("key_and_value", UNFIT)
def test_hardware_that_does_not_fit_is_one_sentence(key_and_value):
    settings, compute = SMALL.model_copy(update={"batch_size": 15}), COMPUTE.model_copy(update=dict([key_and_value]))
    with pytest.raises(InputError, match=UNFIT[key_and_value]):
        training.make_trainer(settings, compute, "float32", [], False)


def test_compiling_needs_a_compiler(fit, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match="compute.compile: no C.. compiler found; install g.., or set it to false"):
        fit(compute=COMPUTE.model_copy(update={"compile": True}))


def test_label_smoothing_and_class_weights_reach_the_loss(fit, tmp_path):
    train = Split(*(None if part is None else part[:64] for part in make_rows(70, 1)._replace(duplicate_of_train=None)))
    uneven = trainings.write_faces(tmp_path / "uneven.h5", train=train)
    losses = [
        fit(data=uneven, epochs=1, **changes).read_history()[0]["train_loss"]
        for changes in ({}, {"label_smoothing": 0.3}, {"class_weights": "balanced"})
    ]
    assert len(set(losses)) == 3


def test_small_epochs_come_first(fit, monkeypatch):
    seen = []

    def build_watched(shape):
        network = compact.build(shape)
        network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2:]))
        return network

    architecture = SimpleNamespace(build=build_watched, INPUT_SIZE=44)
    monkeypatch.setattr(training, "find_network", lambda name: architecture)
    fit(small_epochs=1, epochs=2)
    small, whole = torch.Size((32, 32)), torch.Size((44, 44))
    assert [size for i, size in enumerate(seen) if i == 0 or size != seen[i - 1]] == [small, whole]
    assert seen.count(small) == 4


def run_out(module, batch, batch_idx):
    raise torch.cuda.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("place", "name", "replacement", "message"),
    [
        (training, "as_input", lambda crops: torch.full((len(crops), 3, 44, 44), math.nan), "the loss is nan in epoch 1, step 1, at learning rate 0.002; lower"),
        (training, "score", lambda _, images, *__: torch.full((len(images), 7), -math.inf), "the val loss is inf after epoch 1, at learning rate"),
        (TrainingModule, "training_step", run_out, "try batch_size 8 in params.yaml"),
    ],
)  # fmt: skip
def test_a_training_that_cannot_go_on_ends_in_one_sentence(
    place, name, replacement, message, fit, monkeypatch, tmp_path
):
    monkeypatch.setattr(place, name, replacement)
    with pytest.raises(InputError, match=message):
        fit()
    assert not list(tmp_path.glob("out*/*"))


def test_batches_cover_the_rows_once():
    """Each epoch another order; the same for every process, which takes its share of each batch."""
    images = torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1).expand(50, 1, 48, 48).contiguous()
    rows = TensorSplit(images, torch.arange(50))
    epochs = []
    for epoch in (0, 1):
        augment, find_epoch = SMALL.augment, lambda epoch=epoch: (1, epoch)
        whole = list(TrainingBatches(rows, 44, augment, 16, find_epoch))
        shares = [list(TrainingBatches(rows, 44, augment, 16, find_epoch, rank, 2)) for rank in (0, 1)]
        assert [len(labels) for _, labels, _ in whole] == [16, 16, 16]
        for (images, labels, _), *parts in zip(whole, *shares, strict=True):
            assert (images[:, 0, 0, 0] == labels / 255).all() and images.shape == (16, 1, 44, 44)
            for rank, (part_images, part_labels, _) in enumerate(parts):
                assert torch.equal(part_labels, labels[rank::2]) and torch.equal(part_images, images[rank::2])
        epochs.append(torch.cat([labels for _, labels, _ in whole]))
    assert all(len(set(labels.tolist())) == 48 for labels in epochs)
    assert not torch.equal(*epochs)
    plain = torch.cat([labels for _, labels in make_batches(rows, 16)])
    assert torch.equal(plain, rows.labels)


def test_a_small_data_set_is_one_batch():
    rows = TensorSplit(ROWS.images[:5], ROWS.labels[:5])
    assert [len(labels) for _, labels, _ in TrainingBatches(rows, 44, SMALL.augment, 64, lambda: (1, 0))] == [5]


class Stopped:
    """A training in this process that was never stopped, and its state in the middle of later epochs.

    A state is a copy of the checkpoints in the second step of an epoch: what a kill -9 leaves at that moment.
    """

    def __init__(self, folder, faces, settings):
        self.folder, self.faces, self.settings = folder, faces, settings
        states, step = folder / "states", TrainingModule.training_step

        def keep_state(module, batch, batch_idx):
            if module.current_epoch and batch_idx == 1:
                shutil.copytree(states, folder / f"epoch{module.current_epoch + 1}")
            return step(module, batch, batch_idx)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TrainingModule, "training_step", keep_state)
            self.whole = train_here(Outputs(folder / "out", "compact"), states, faces, settings)

    def place(self, epoch, folder):
        """Copy the state of a stop in `epoch` (from 1), as if the checkout had been moved to `folder`; its checkpoints."""
        shutil.copytree(self.folder / f"epoch{epoch}", folder / "states")
        (state,) = folder.glob("states/compact-*")
        return state

    def go_on(self, folder, **changes):
        """Train in `folder`, with changed settings; returns the outputs."""
        settings = self.settings.model_copy(update=changes)
        return train_here(Outputs(folder / "out", "compact"), folder / "states", self.faces, settings)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, faces):
    return Stopped(tmp_path_factory.mktemp("stopped"), faces, HARD)


@pytest.mark.parametrize("epoch", [2, 3, 4])  # the first two are frozen
def test_run_again_after_a_stop_it_ends_the_same(epoch, stopped, tmp_path, capsys):
    """In another place, and whatever became of its log; then its state is removed."""
    state = stopped.place(epoch, tmp_path)
    logs = [path for path in state.glob("live/**/*") if path.is_file()]
    assert logs
    for path in logs:
        os.truncate(path, 0)
    assert stopped.go_on(tmp_path).read() == stopped.whole.read()
    assert f"resuming after epoch {epoch - 1}\n" in capsys.readouterr().err
    assert not state.exists()


def test_stopped_under_a_plateau_it_ends_the_same(faces, tmp_path, capsys):
    """No epoch has a better val accuracy, so that every one of them lowers the rate."""
    settings = {"schedule": "plateau", "decay_every": 1, "decay_rate": 0.5, "min_delta": 1.0}
    stopped = Stopped(tmp_path / "alone", faces, HARD.model_copy(update=settings))
    stopped.place(3, tmp_path)
    assert stopped.go_on(tmp_path).read() == stopped.whole.read()
    assert "resuming after epoch 2" in capsys.readouterr().err
    rates = [row["learning_rate"] for row in stopped.whole.read_history()]
    assert rates == pytest.approx([0.05, 0.05, 0.025, 0.0125])


def test_other_params_start_anew_and_leave_the_old_state(stopped, tmp_path, capsys):
    """The old state also outlives the end of the other training: with its params back, the first training goes on."""
    state = stopped.place(3, tmp_path)
    stopped.go_on(tmp_path, learning_rate=0.04)
    assert "resuming" not in capsys.readouterr().err and state.exists()
    stopped.go_on(tmp_path)
    assert "resuming after epoch" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
@pytest.mark.parametrize("damage", ["one bit", "empty"])
def test_damage_that_torch_would_read_is_found(tmp_path, capsys, name, damage):
    weights = torch.arange(1000.0)
    for file in ("last.ckpt", "best.ckpt"):
        torch.save({"epoch": 1, "callbacks": {"x": {"dirpath": str(tmp_path)}}, "weights": weights}, tmp_path / file)
    assert find_last(tmp_path) == tmp_path / "last.ckpt"
    content = bytearray((tmp_path / name).read_bytes())
    content[content.index(weights[500:510].numpy().tobytes())] ^= 1
    (tmp_path / name).write_bytes(content if damage == "one bit" else b"")
    assert find_last(tmp_path) is None
    assert re.search(r"last.ckpt: damaged \(.*\); training starts anew\n$", capsys.readouterr().err)


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
        folders.append(checkpoints.find_checkpoints("compact", [SMALL, 1], faces, ["torch"]))
    assert folders[0] == folders[2] != folders[1]


def test_processes_that_are_stopped_and_killed_end_the_same(stopped, tmp_path):
    """Ctrl-C in the second epoch, kill -9 in the third: neither writes an output, and the end has the same bytes."""
    copy = Copy(tmp_path, stopped.faces, "compact", HARD)
    assert "resuming" not in copy.stop("epoch 1 ", signal.SIGINT)
    assert "resuming after epoch 1" in copy.stop("epoch 2 ", signal.SIGKILL)
    assert "resuming after epoch" in copy.finish()[1]
    assert copy.outputs.read() == stopped.whole.read()
    assert not copy.find("*")


@pytest.mark.parametrize("freeze", [0, 1])  # after a freeze the kept epoch may be the frozen one: its history tells
def test_two_processes_get_the_weights_of_one(freeze, fit, faces, tmp_path):
    """torchrun with gloo, the same global batch: equal to rounding, BatchNorm's statistics included."""
    changes = {"dropout": 0.0, "epochs": 1 + 2 * freeze, "freeze_epochs": freeze, "learning_rate": 0.005}
    compute = FLOAT32.model_copy(update={"devices": 2, "strategy": "ddp"})
    copy = Copy(tmp_path, faces, "compact", SMALL.model_copy(update=changes), compute)
    copy.finish("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={29531 + freeze}")
    alone = fit(compute=FLOAT32, **changes)
    for row, by_one in zip(copy.outputs.read_history(), alone.read_history(), strict=True):
        assert row == pytest.approx(by_one, rel=0.02, abs=1e-3)
    both, one = (load_file(out.model) for out in (copy.outputs, alone))
    torch.manual_seed(SEED)
    start = build().state_dict()
    assert both.keys() == one.keys() == start.keys()
    for key, tensor in one.items():
        learnt = (tensor - start[key]).abs().max().item()
        assert learnt > 0 or freeze, key
        assert (both[key] - tensor).abs().max().item() <= 0.05 * learnt, key
