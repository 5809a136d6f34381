"""The training of PyTorch's networks: Table 3's settings, repeatable, and hard to kill."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import Split, pack_faces, read_faces
from fer_pipeline.faces.fer2013 import CLASSES, SPLITS
from fer_pipeline.networks import resnet18
from fer_pipeline.networks.network import Shape
from fer_pipeline.networks.pytorch.crops import score
from fer_pipeline.networks.pytorch.files import load_network
from fer_pipeline.params.read import read_params
from fer_pipeline.training.common import checkpoints
from fer_pipeline.training.pytorch import train as training
from fer_pipeline.training.pytorch.checkpoints import find_last
from fer_pipeline.training.pytorch.data import FER2013, Batches, TrainingBatches
from fer_pipeline.training.pytorch.train import MovingAverage, Transfer, anneal, decay, judge_votes, train

PROFILES, COMPUTE = read_params("profiles", "compute")
SMALL = PROFILES.smoke.resnet18.model_copy(
    update={
        "width": 0.1,
        "batch_size": 16,
        "epochs": 3,
        "schedule": "one_cycle",
        "learning_rate": 0.05,
        "dropout": 0.2,
        "labels": "emotion",
    }
)


def build_resnet18(width=0.1):
    return resnet18.build(Shape(width))


def start_training(rows, **changes):
    """A narrow ResNet18 in training on the rows of a `FER2013`, with changed settings."""
    return Transfer(build_resnet18(), 44, SMALL.model_copy(update=changes), 1, rows, rows)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """faces.h5 with a bright bar per class, at a height that tells the class, on noise; eight of ten say so."""
    path = tmp_path_factory.mktemp("faces") / "faces.h5"
    rng = np.random.default_rng(0)

    def draw(count):
        labels = np.arange(count, dtype=np.uint8) % 7
        images = rng.integers(0, 120, (count, 48, 48), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[6 * label + 3 : 6 * label + 7] += 100
        votes = np.zeros((count, 10), np.uint8)
        votes[np.arange(count), labels] = 8
        votes[np.arange(count), 7] = 2  # contempt
        votes[0] = 0, 0, 0, 0, 0, 0, 0, 0, 0, 10  # no face
        return Split(images, labels, np.zeros(count, bool), votes)

    path.write_bytes(
        pack_faces({name: draw(count) for name, count in zip(SPLITS, (70, 35, 35), strict=True)}, "official", "0" * 32)
    )
    return path


@pytest.fixture
def fit(faces, tmp_path, monkeypatch):
    """Train in this process with changed settings; returns the folder with model, report and history."""
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path / "checkpoints")

    def fit(folder="run", name="resnet18", data=faces, seed=1, compute=COMPUTE, **changes):
        out = tmp_path / folder
        paths = {key: out / f"x.{ending}" for key, ending in (("report", "json"), ("history", "csv"))}
        paths |= {"model": out / "x.safetensors", "timing": out / "timing.json"}
        args = SimpleNamespace(name=name, data=data, **paths)
        train(name, SMALL.model_copy(update=changes), compute, seed, args)
        return out

    return fit


def read_report(out):
    return json.loads((out / "x.json").read_text())


def read_history(out):
    with open(out / "x.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", ["resnet18", "vgg19"])
def test_what_a_training_writes(name, fit):
    out = fit(name=name)
    report, history = read_report(out), read_history(out)
    assert list(history[0]) == ["epoch", "learning_rate", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    assert [row["epoch"] for row in history] == [1, 2, 3]
    best = max(history, key=lambda row: row["val_accuracy"])
    assert report["best_epoch"] == best["epoch"]
    assert report["val_accuracy"] == best["val_accuracy"] and report["train_loss"] == best["train_loss"]
    assert (report["epochs_run"], report["stopped"]) == (3, "after all 3 epochs")
    network, found = load_network(out / "x.safetensors")
    assert found == name
    assert report["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert report["device"] in ("cpu", "cuda") and report["precision"] in ("float32", "bfloat16")
    times = json.loads((out / "timing.json").read_text())[f"train_{name}"]
    assert times["images_per_second"] == pytest.approx(3 * 64 / times["seconds"], rel=0.2)
    assert times["hardware"] and not {"seconds", "images_per_second"} & report.keys()
    assert not list(checkpoints.CHECKPOINTS.glob("*"))


def test_the_saved_network_is_the_best_epochs(fit, faces):
    """Its val accuracy, measured anew by hand, is the report's."""
    out = fit(epochs=6, compute=COMPUTE.model_copy(update={"precision": "float32"}))
    network, _ = load_network(out / "x.safetensors")
    val = FER2013(faces, "val")
    with torch.inference_mode():
        images = val.images[:, :, 2:46, 2:46].float().expand(-1, 3, -1, -1) / 255
        accuracy = (network(images).argmax(1) == val.labels).float().mean().item()
    assert accuracy == pytest.approx(read_report(out)["val_accuracy"], abs=1e-6)


def test_it_learns(fit):
    """Bars at seven heights: far above the 14 % of chance, on rows that it never saw."""
    assert read_report(fit(epochs=12, dropout=0.0, learning_rate=0.1, clip=1.0))["val_accuracy"] > 0.5


def test_the_same_run_gives_the_same_bytes(fit):
    first, again, other = fit("first"), fit("again"), fit("other", seed=2)
    for name in ("x.safetensors", "x.csv"):
        assert (first / name).read_bytes() == (again / name).read_bytes()
        assert (first / name).read_bytes() != (other / name).read_bytes()


def test_early_stopping_counts_as_table_3_does(fit):
    """Nothing is better by a whole 1.0: the first epoch counts, then `patience` more."""
    out = fit(epochs=9, patience=2, min_delta=1.0)
    report = read_report(out)
    assert report["epochs_run"] == len(read_history(out)) == 3
    assert report["stopped"] == "val accuracy rose by less than 1 in 2 epochs"


def test_the_schedule_of_the_paper():
    """Held to epoch 80, then x 0.9 every 5 epochs; `decay` counts epochs from 0."""
    settings = PROFILES.paper.vgg19
    factors = [decay(epoch, settings) for epoch in (0, 79, 80, 84, 85, 90, 249)]
    assert factors == pytest.approx([1, 1, 1, 1, 0.9, 0.81, 0.9**33])


def test_the_step_schedule_is_applied(fit):
    out = fit(schedule="step", decay_start=1, decay_every=1, decay_rate=0.5, epochs=4)
    assert [row["learning_rate"] for row in read_history(out)] == pytest.approx([0.05, 0.05, 0.025, 0.0125])


def test_one_cycle_rises_and_anneals(fit):
    rates = [row["learning_rate"] for row in read_history(fit(epochs=5))]
    assert max(rates) == pytest.approx(0.05, rel=0.05)
    assert rates[-1] < 1e-4 and rates.index(max(rates)) in (1, 2)


def test_the_optimizer_is_the_one_named(faces):
    """AdamW's first step is the learning rate for every weight, whatever its gradient; SGD's is in proportion to it."""
    rows = FER2013(faces, "train")
    steps = {}
    for optimizer in ("sgd", "adamw"):
        torch.manual_seed(3)
        module = start_training(rows, optimizer=optimizer, schedule="step", weight_decay=0.0)
        weights = module.network.head.weight
        before = weights.detach().clone()
        weights.grad = torch.linspace(0.1, 1, weights.numel()).reshape(weights.shape)
        configured = module.configure_optimizers()
        configured["optimizer"].step()
        steps[optimizer] = (before - weights.detach()).flatten() / SMALL.learning_rate
    assert steps["adamw"].tolist() == pytest.approx([1] * len(steps["adamw"]), abs=1e-3)
    assert steps["sgd"].tolist() == pytest.approx(torch.linspace(0.1, 1, len(steps["sgd"])).tolist(), abs=1e-3)


def test_frozen_epochs_train_the_head_alone(fit, tmp_path):
    """Not one number of the body moves, running means of BatchNorm included; then everything does."""
    torch.manual_seed(5)
    start = build_resnet18().state_dict()
    save_file(start, tmp_path / "start.safetensors")
    options = {"weights": str(tmp_path / "start.safetensors"), "epochs": 1}
    frozen = load_file(fit("frozen", freeze_epochs=1, **options) / "x.safetensors")
    thawed = load_file(fit("thawed", freeze_epochs=0, **options) / "x.safetensors")
    body = [key for key in start if not key.startswith("head.")]
    assert all(torch.equal(frozen[key], start[key]) for key in body)
    assert not any(torch.equal(thawed[key], start[key]) for key in body)
    assert not torch.equal(frozen["head.weight"], start["head.weight"])


def test_batchnorm_thaws_with_the_body(fit, tmp_path, monkeypatch):
    """Statistics stand still while the body is frozen and no gradient of it is computed; both end with the freeze."""
    torch.manual_seed(5)
    save_file(build_resnet18().state_dict(), tmp_path / "start.safetensors")
    seen = []
    step = Transfer.training_step

    def watch(module, batch, batch_idx):
        norm = module.network.bn1
        means = norm.running_mean.clone()
        loss = step(module, batch, batch_idx)
        wanted = [parameter.requires_grad for parameter in module.network.parameters()]
        seen.append((module.current_epoch, norm.training, bool((norm.running_mean != means).any()), sum(wanted)))
        return loss

    monkeypatch.setattr(Transfer, "training_step", watch)
    fit(weights=str(tmp_path / "start.safetensors"), freeze_epochs=1, epochs=3)
    everything = len(list(build_resnet18().parameters()))
    assert set(seen) == {(0, False, False, 2), (1, True, True, everything), (2, True, True, everything)}


def test_the_average_is_validated_and_kept(fit, faces):
    """With an average of long memory the kept network is not the last one, and has the val accuracy of the report."""
    settings = {"epochs": 4, "ema": 0.9, "compute": COMPUTE.model_copy(update={"precision": "float32"})}
    averaged, plain = fit("averaged", **settings), fit("plain", **settings | {"ema": 0.0})
    tensors = [load_file(out / "x.safetensors")["head.weight"] for out in (averaged, plain)]
    assert not torch.equal(*tensors)
    network, _ = load_network(averaged / "x.safetensors")
    val = FER2013(faces, "val")
    with torch.inference_mode():
        images = val.images[:, :, 2:46, 2:46].float().expand(-1, 3, -1, -1) / 255
        accuracy = (network(images).argmax(1) == val.labels).float().mean().item()
    assert accuracy == pytest.approx(read_report(averaged)["val_accuracy"], abs=1e-6)


def test_the_average_follows_by_hand():
    """Against a loop in plain numbers: faster at first, then by its decay; counts of batches are taken as they are."""
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


def test_a_second_head_learns_how_annotators_vote(fit, faces):
    """Beside the first, whose tensors keep their names; what it says of val comes nearer to the votes than chance."""
    out = fit(labels="emotion+votes", epochs=20, normalisation="train", learning_rate=0.02)
    state, alone = load_file(out / "x.safetensors"), load_file(fit("alone", epochs=1) / "x.safetensors")
    assert state.keys() - alone.keys() == {"votes.weight", "votes.bias", "normalise.mean", "normalise.deviation"}
    assert state["head.weight"].shape == alone["head.weight"].shape and state["votes.weight"].shape[0] == 8
    with safe_open(out / "x.safetensors", "pt") as file:
        assert json.loads(file.metadata()["vote_classes"]) == [*CLASSES, "contempt"]
    network, _ = load_network(out / "x.safetensors")
    val = FER2013(faces, "val")
    with torch.inference_mode():
        scores = score(network, val.images, 44, 10)
    emotion, votes = scores.exp().split([7, 8], dim=1)
    assert torch.allclose(emotion.sum(1), torch.ones(35)) and torch.allclose(votes.sum(1), torch.ones(35))
    assert val.shares[0].sum() == 0, "a row whose majority is no face is left out"
    found = -(val.shares * scores[:, 7:]).sum(1)[1:].mean().item()
    assert found < 0.75 * np.log(8)
    assert read_report(out)["val_accuracy"] == pytest.approx(
        (score(network, val.images, 44, 1)[:, :7].argmax(1) == val.labels).float().mean().item(), abs=0.03
    ), "the first head alone is judged"


def test_the_loss_of_votes_worked_out_by_hand():
    """Rows without shares have no part in it; the others count alike."""
    logits = torch.tensor([[2.0, *[0.0] * 7], [0.0] * 8, [0.0] * 8])
    shares = torch.tensor([[0.5, 0.5, *[0.0] * 6], [1.0, *[0.0] * 7], [0.0] * 8])
    total = np.log(np.exp(2) + 7)
    expected = (0.5 * (total - 2) + 0.5 * total + np.log(8)) / 2
    assert judge_votes(logits, shares).item() == pytest.approx(expected, rel=1e-6)
    assert judge_votes(logits[2:], shares[2:]).item() == 0


def test_without_votes_in_the_data_the_labels_alone_are_learnt(fit, faces, tmp_path, capsys):
    """The network is that of `labels: emotion`, which is said."""
    splits = {name: rows._replace(votes=None) for name, rows in read_faces(faces)[0].items()}
    (tmp_path / "plain.h5").write_bytes(pack_faces(splits, "official", "0" * 32))
    outs = [fit(labels, data=tmp_path / "plain.h5", labels=labels, epochs=1) for labels in ("emotion", "emotion+votes")]
    assert len({(out / "x.safetensors").read_bytes() for out in outs}) == 1
    assert "resnet18 learns the labels alone" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["train", "imagenet"])
def test_the_network_normalises_itself(where, fit, faces, tmp_path):
    """By the mean and deviation of the train rows, or ImageNet's: in its file, and in what it answers."""
    out = fit(normalisation=where, epochs=1)
    state = load_file(out / "x.safetensors")
    pixels = FER2013(faces, "train").images.double() / 255
    expected = {
        "train": ([pixels.mean()] * 3, [pixels.std()] * 3),
        "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    }[where]
    for key, numbers in zip(("mean", "deviation"), expected, strict=True):
        assert state[f"normalise.{key}"].flatten().tolist() == pytest.approx(
            [float(number) for number in numbers], rel=1e-5
        )
    with safe_open(out / "x.safetensors", "pt") as file:
        assert "in the network, less" in file.metadata()["normalisation"]
    network, _ = load_network(out / "x.safetensors")
    images = torch.rand(3, 3, 44, 44)
    bare = torch.nn.Sequential(*list(network.children())[1:])
    by_hand = (images - state["normalise.mean"]) / state["normalise.deviation"]
    assert torch.allclose(network(images), bare(by_hand), atol=1e-5)


def test_the_schedules_beside_numbers_worked_out_by_hand(fit):
    """cosine: up in a line over a quarter of 16 steps, then down; plateau: halved after an epoch that is no better."""
    assert [anneal(step, 16, 0.25) for step in (0, 3, 4, 10, 16)] == pytest.approx([0.25, 1, 1, 0.5, 0])
    rates = [row["learning_rate"] for row in read_history(fit("cosine", schedule="cosine", warm_up=0.25, epochs=4))]
    assert rates == pytest.approx([0.05 * anneal(step, 16, 0.25) for step in (3, 7, 11, 15)], rel=1e-5)
    plateau = fit("plateau", schedule="plateau", decay_every=1, decay_rate=0.5, min_delta=1.0, epochs=4)
    assert [row["learning_rate"] for row in read_history(plateau)] == pytest.approx([0.05, 0.05, 0.025, 0.0125])


def test_balanced_weights_are_inverse_to_frequency(faces):
    train = SimpleNamespace(labels=torch.tensor([0] * 6 + [1] * 2 + [2, 3, 4, 5, 6]), __len__=None)
    rows = FER2013(faces, "train")
    rows.labels, rows.images = train.labels, rows.images[:13]
    module = start_training(rows, class_weights="balanced")
    assert module.class_weights.tolist() == pytest.approx([13 / 42, 13 / 14, *[13 / 7] * 5])


def test_a_class_without_train_rows_has_no_weight(faces):
    rows = FER2013(faces, "train")
    rows.labels = torch.tensor([0] * 6 + [2] * 3 + [4] * 3)
    rows.images = rows.images[:12]
    module = start_training(rows, class_weights="balanced")
    assert module.class_weights.tolist() == pytest.approx([12 / 18, 0, 12 / 9, 0, 12 / 9, 0, 0])


def test_a_val_loss_that_is_not_finite_stops(fit, monkeypatch):
    monkeypatch.setattr(
        training, "score", lambda network, images, size, crops: torch.full((len(images), 7), float("-inf"))
    )
    with pytest.raises(InputError, match="the val loss is inf after epoch 1, at learning rate"):
        fit()


def test_processes_share_batches_alike():
    with pytest.raises(InputError, match="batch_size 15 cannot be shared alike by 2 processes"):
        training.make_trainer(
            SMALL.model_copy(update={"batch_size": 15}), COMPUTE.model_copy(update={"devices": 2}), "float32", [], False
        )


def test_what_lightning_refuses_is_one_sentence(fit):
    with pytest.raises(InputError, match="params.yaml: compute: Lightning refuses it"):
        fit(compute=COMPUTE.model_copy(update={"strategy": "foo"}))


def test_several_machines_need_torchrun(fit):
    with pytest.raises(InputError, match="compute.num_nodes is 2; start this command on each machine under torchrun"):
        fit(compute=COMPUTE.model_copy(update={"num_nodes": 2}))


def test_compiling_needs_a_compiler(fit, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match="compute.compile: no C.. compiler found; install g.., or set it to false"):
        fit(compute=COMPUTE.model_copy(update={"compile": True}))


def test_label_smoothing_and_class_weights_reach_the_loss(fit, faces, tmp_path):
    """The first epoch's loss differs for each, on classes that are not all of one size."""
    splits, _ = read_faces(faces)
    splits["train"] = Split(*(None if part is None else part[:64] for part in splits["train"]))
    uneven = tmp_path / "uneven.h5"
    uneven.write_bytes(pack_faces(splits, "official", "0" * 32))
    losses = [
        read_history(fit(folder, data=uneven, epochs=1, **changes))[0]["train_loss"]
        for folder, changes in (("a", {}), ("b", {"label_smoothing": 0.3}), ("c", {"class_weights": "balanced"}))
    ]
    assert len(set(losses)) == 3


def test_small_epochs_come_first(fit, monkeypatch):
    """The network sees crops of 32 pixels in training, until `small_epochs` are over; val always has 44."""
    seen = []

    def build(settings):
        network = resnet18.build(settings)
        network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2:]))
        return network

    architecture = SimpleNamespace(build=build, INPUT_SIZE=44)
    monkeypatch.setattr(training, "find_network", lambda name: architecture)
    fit(small_epochs=1, epochs=2)
    small, whole = torch.Size((32, 32)), torch.Size((44, 44))
    assert [size for i, size in enumerate(seen) if i == 0 or size != seen[i - 1]] == [small, whole]
    assert seen.count(small) == 4


def test_a_loss_that_is_not_finite_stops(fit, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "as_input", lambda crops: torch.full((len(crops), 3, 44, 44), float("nan")))
    with pytest.raises(InputError, match=r"the loss is nan in epoch 1, step 1, at learning rate 0.002; lower"):
        fit()
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_finite_are_refused(fit, tmp_path):
    start = build_resnet18().state_dict()
    start["layer1.0.bn1.running_var"][:] = float("nan")
    save_file(start, tmp_path / "start.safetensors")
    with pytest.raises(InputError, match=r"start.safetensors: layer1.0.bn1.running_var holds values that are not"):
        fit(weights=str(tmp_path / "start.safetensors"))


def test_a_later_nan_keeps_the_last_good_epoch(fit, monkeypatch):
    """The second epoch breaks; a run without the fault resumes after the first, and ends as one never stopped."""
    whole = fit("whole")
    step = Transfer.training_step

    def break_down(module, batch, batch_idx):
        loss = step(module, batch, batch_idx)
        if module.current_epoch == 1:
            raise InputError("broken on purpose")
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Transfer, "training_step", break_down)
        with pytest.raises(InputError, match="on purpose"):
            fit("resumed")
    resumed = fit("resumed")
    for name in ("x.safetensors", "x.csv"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_too_little_gpu_memory_names_a_batch_size(fit, monkeypatch):
    def run_out(module, batch, batch_idx):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Transfer, "training_step", run_out)
    with pytest.raises(InputError, match="try batch_size 8 in params.yaml"):
        fit()


def test_batches_cover_the_rows_once():
    """Each epoch another order; the same for every process, which takes its share of each batch."""
    rows = FER2013.__new__(FER2013)
    rows.labels = torch.arange(50)
    rows.images = torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1).expand(50, 1, 48, 48).contiguous()
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
    plain = torch.cat([labels for _, labels in Batches(rows, 16)])
    assert torch.equal(plain, rows.labels)


def test_a_small_data_set_is_one_batch():
    rows = FER2013.__new__(FER2013)
    rows.labels, rows.images = torch.arange(5), torch.zeros(5, 1, 48, 48, dtype=torch.uint8)
    assert [len(labels) for _, labels, _ in TrainingBatches(rows, 44, SMALL.augment, 64, lambda: (1, 0))] == [5]


class Copy:
    """The scripts under other params in a folder of their own, run as processes."""

    def __init__(self, folder, faces):
        self.folder = folder
        shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(faces, folder / "faces.h5")
        self.change({})

    def change(self, changes, compute=()):
        from ruamel.yaml import YAML

        yaml = YAML()
        params = yaml.load(ROOT / "params.yaml")
        augment = {**SMALL.augment.model_dump(), "rotation": 10.0, "erase": 0.5, "mixup": 0.2}
        settings = {**SMALL.model_dump(), "epochs": 4, "freeze_epochs": 2, "ema": 0.9, "augment": augment}
        settings |= {"labels": "emotion+votes", **changes}
        params["profiles"]["smoke"]["resnet18"] = settings
        params["compute"].update(compute)
        with open(self.folder / "params.yaml", "w") as file:
            yaml.dump(params, file)

    def start(self, launcher=(sys.executable,)):
        out = self.folder / "out"
        paths = [
            "--data",
            "faces.h5",
            "--model",
            out / "x.safetensors",
            "--report",
            out / "x.json",
            "--history",
            out / "x.csv",
            "--timing",
            out / "timing.json",
        ]
        return subprocess.Popen(
            [*launcher, "stages/train.py", "--name", "resnet18", *map(str, paths)],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def finish(self, launcher=(sys.executable,)):
        process = self.start(launcher)
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        return stderr

    def stop_in_epoch(self, epoch, number):
        """Send a signal in the middle of an epoch (counted from 1)."""
        process = self.start()
        for line in process.stdout:
            if line.startswith(f"epoch {epoch - 1} "):
                break
        deadline = time.monotonic() + 60
        while not self.checkpoints("last.ckpt") and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, number)
        _, stderr = process.communicate(timeout=60)
        return process.returncode, stderr

    def checkpoints(self, name):
        return list((self.folder / ".checkpoints").glob(f"*/{name}"))

    def outputs(self):
        return {name: (self.folder / "out" / name).read_bytes() for name in ("x.safetensors", "x.csv")}


@pytest.fixture
def copy(tmp_path, faces):
    return Copy(tmp_path / "copy", faces)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, faces):
    """The outputs of a run that was never stopped."""
    copy = Copy(tmp_path_factory.mktemp("unbroken") / "copy", faces)
    copy.finish()
    return copy.outputs()


@pytest.mark.parametrize("epoch", [2, 3, 4])  # the first two are frozen
def test_killed_and_run_again_it_ends_the_same(epoch, copy, unbroken):
    """kill -9: nothing is written, and the next run goes on from the last finished epoch, whatever became of its log."""
    code, _ = copy.stop_in_epoch(epoch, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not list(copy.folder.glob("out/*"))
    logs = [path for path in copy.checkpoints("live/**/*") if path.is_file()]
    assert logs
    for path in logs:
        os.truncate(path, 0)
    assert "resuming after epoch" in copy.finish()
    assert copy.outputs() == unbroken
    assert not copy.checkpoints("*")


def test_killed_under_a_plateau_it_ends_the_same(copy, faces, tmp_path):
    """Every epoch is one without a better val accuracy, and every one of them lowers the rate."""
    settings = {"schedule": "plateau", "decay_every": 1, "decay_rate": 0.5, "min_delta": 1.0, "epochs": 4}
    alone = Copy(tmp_path / "alone", faces)
    for each in (copy, alone):
        each.change(settings)
    alone.finish()
    copy.stop_in_epoch(3, signal.SIGKILL)
    assert "resuming after epoch" in copy.finish()
    assert copy.outputs() == alone.outputs()
    with open(copy.folder / "out" / "x.csv") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates[1:] == pytest.approx([rates[0], rates[0] / 2, rates[0] / 4])


def test_ctrl_c_leaves_no_half_file(copy, unbroken):
    code, stderr = copy.stop_in_epoch(2, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in stderr
    assert not list(copy.folder.glob("out/*"))
    copy.finish()
    assert copy.outputs() == unbroken


def test_other_params_start_anew_and_leave_the_old_state(copy, unbroken):
    """Nor is that lost when the other training ends: with its params back, the first one goes on; also elsewhere."""
    copy.stop_in_epoch(3, signal.SIGKILL)
    copy.change({"learning_rate": 0.04})
    assert "resuming" not in copy.finish()
    copy.change({})
    copy.folder = copy.folder.rename(copy.folder.with_name("moved"))
    assert "resuming after epoch" in copy.finish()
    assert copy.outputs() == unbroken


def test_other_code_starts_anew(copy):
    copy.stop_in_epoch(3, signal.SIGKILL)
    with open(copy.folder / "stages/fer_pipeline/training/pytorch/data.py", "a") as file:
        file.write("# changed\n")
    assert "resuming" not in copy.finish()


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
    assert "damaged (" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_said_so_and_ignored(copy, unbroken):
    copy.stop_in_epoch(3, signal.SIGKILL)
    (path,) = copy.checkpoints("last.ckpt")
    os.truncate(path, path.stat().st_size // 2)
    stderr = copy.finish()
    assert "last.ckpt: damaged" in stderr and "training starts anew" in stderr
    assert copy.outputs() == unbroken


@pytest.mark.parametrize("freeze", [0, 1])  # after a freeze the kept epoch may be the frozen one: its history tells
def test_two_processes_get_the_weights_of_one(freeze, copy, faces, tmp_path):
    """torchrun with gloo, the same global batch: equal to rounding, BatchNorm's statistics included."""
    settings = {"dropout": 0.0, "epochs": 1 + 2 * freeze, "freeze_epochs": freeze, "learning_rate": 0.005, "ema": 0.0}
    settings["labels"] = "emotion"  # of the votes, each process weighs its own rows
    copy.change(settings, {"precision": "float32", "devices": 2, "strategy": "ddp"})
    copy.finish([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29531"])
    alone = Copy(tmp_path / "alone", faces)
    alone.change(settings, {"precision": "float32"})
    alone.finish()
    for row, by_one in zip(*(read_history(run.folder / "out") for run in (copy, alone)), strict=True):
        assert row == pytest.approx(by_one, rel=0.02, abs=1e-3)
    both, one = (load_file(run.folder / "out" / "x.safetensors") for run in (copy, alone))
    torch.manual_seed(2013)
    start = build_resnet18().state_dict()
    assert both.keys() == one.keys() == start.keys()
    for key, tensor in one.items():
        learnt = (tensor - start[key]).abs().max().item()
        assert learnt > 0 or freeze, key
        assert (both[key] - tensor).abs().max().item() <= 0.05 * learnt, key
