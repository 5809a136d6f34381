"""The parts of a PyTorch training: varied crops, batches, rates, the average, losses; and the crops of evaluation."""

import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torchvision import transforms
from trainings import NARROW, PYTORCH, TRAIN

from fer_pipeline.networks import compact
from fer_pipeline.networks.network import CROPS
from fer_pipeline.networks.pytorch.crops import choose_device, choose_precision, score_views
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Photo
from fer_pipeline.training.common.profile import read_training
from fer_pipeline.training.pytorch import graph
from fer_pipeline.training.pytorch.augment import cut, draw_variations, vary
from fer_pipeline.training.pytorch.data import TensorSplit, TrainingBatches
from fer_pipeline.training.pytorch.learner import Learner, compute_votes_loss, weigh_classes
from fer_pipeline.training.pytorch.rates import anneal, cycle, decay

ROWS = TensorSplit.of(TRAIN)


def start_training(device="cpu", **changes):
    """A narrow Compact in training, with changed settings."""
    settings = PYTORCH.model_copy(update=changes)
    return Learner(compact.build(NARROW), 7, 44, settings, "float32", device, 1, ROWS, ROWS)


def test_schedules_beside_numbers_worked_out_by_hand():
    settings = read_training(read_params(), "vgg19", "paper")
    factors = [decay(settings, [{}] * epoch) for epoch in (0, 79, 80, 84, 85, 90, 249)]
    assert factors == pytest.approx([1, 1, 1, 1, 0.9, 0.81, 0.9**33])
    assert [anneal(step, 16, 0.25) for step in (0, 3, 4, 10, 16)] == pytest.approx([0.25, 1, 1, 0.5, 0])


@pytest.mark.parametrize("warm_up", [0.0, 0.1, 0.3])
def test_one_cycle_and_plateau_are_torchs(warm_up):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.5)
    torchs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, 30, pct_start=warm_up, cycle_momentum=False)
    for step in range(30):
        assert 0.5 * cycle(step, 30, warm_up) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        torchs.step()
    changes = {"schedule": "plateau", "decay_every": 2, "decay_rate": 0.5, "min_delta": 0.05}
    settings, history = PYTORCH.model_copy(update=changes), []
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    how = {"mode": "max", "threshold": 0.05, "threshold_mode": "abs"}
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, **how)
    for accuracy in (0.3, 0.5, 0.52, 0.5, 0.5, 0.5, 0.5, 0.6, 0.1, 0.1, 0.7, 0.7):
        history.append({"val_accuracy": accuracy})
        plateau.step(accuracy)
        assert decay(settings, history) == pytest.approx(optimizer.param_groups[0]["lr"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_captured_step_is_the_step(optimizer, monkeypatch):
    """Two trainings by CUDA graphs have the same weights, and those of one that starts each kernel alone."""
    torch.use_deterministic_algorithms(True)
    changes = {"optimizer": optimizer, "ema": 0.9, "freeze_epochs": 1, "batch_size": 10}
    weights = []
    for warm_up in (3, 3, 10**9):
        monkeypatch.setattr(graph, "WARM_UP", warm_up)
        torch.manual_seed(0)
        learner = start_training("cuda", **changes)
        for _ in range(3):
            learner.train_epoch()
        assert (learner.captured.graph is not None) == (warm_up == 3)
        weights.append(torch.cat([part.flatten().float() for part in learner.average.state_dict().values()]))
    assert torch.equal(weights[0], weights[1])
    assert torch.allclose(weights[0], weights[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_optimizer_is_the_one_named(optimizer):
    """AdamW's first step is the learning rate for every weight, whatever its gradient; SGD's is in proportion to it."""
    learner = start_training(optimizer=optimizer, weight_decay=0.0)
    weights = learner.network.head.weight
    before = weights.detach().clone()
    gradient = torch.linspace(0.1, 1, weights.numel())
    weights.grad = gradient.reshape(weights.shape)
    learner.rate.fill_(PYTORCH.learning_rate)
    learner.optimizer.step()
    steps = (before - weights.detach()).flatten() / PYTORCH.learning_rate
    expected = gradient if optimizer == "sgd" else torch.ones_like(gradient)
    assert steps.tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def test_the_average_follows_by_hand():
    """Against a loop in plain numbers: faster at first, then by its decay; counts of batches are copied."""
    learner = start_training(ema=0.7, batch_size=10)
    weight, expected = learner.network.head.bias, None
    learner.train_epoch()  # draws how fast the average follows, for seven steps of the first epoch
    for seen, value in enumerate((5.0, 1.0, 4.0, 2.0, 8.0, 3.0, 9.0)):
        with torch.no_grad():
            weight.fill_(value)
            learner.number.fill_(seen)
        learner.move_average()
        decay = min(0.7, seen / (9 + seen))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    assert learner.average.head.bias.tolist() == pytest.approx([expected] * 7, rel=1e-5)
    assert learner.average.stem[1].num_batches_tracked == learner.network.stem[1].num_batches_tracked == 7


def test_the_loss_of_votes_worked_out_by_hand():
    logits = torch.tensor([[2.0, *[0.0] * 7], [0.0] * 8, [0.0] * 8])
    shares = torch.tensor([[0.5, 0.5, *[0.0] * 6], [1.0, *[0.0] * 7], [0.0] * 8])
    total = np.log(np.exp(2) + 7)
    expected = (0.5 * (total - 2) + 0.5 * total + np.log(8)) / 2
    assert compute_votes_loss(logits, shares, shares.sum()).item() == pytest.approx(expected, rel=1e-6)
    assert compute_votes_loss(logits[2:], shares[2:], torch.tensor(0.0)).item() == 0


ALL_CLASSES = [0] * 6 + [1] * 2 + [2, 3, 4, 5, 6], [13 / 42, 13 / 14, *[13 / 7] * 5]
THREE_CLASSES = [0] * 6 + [2] * 3 + [4] * 3, [12 / 18, 0, 12 / 9, 0, 12 / 9, 0, 0]


@pytest.mark.parametrize(("labels", "expected"), [ALL_CLASSES, THREE_CLASSES])
def test_balanced_weights_are_inverse_to_frequency(labels, expected):
    assert weigh_classes(torch.tensor(labels), 7).tolist() == pytest.approx(expected)


def make_batches(rows, augment, batch_size, seed, *place):
    """All batches of an epoch."""
    batches = TrainingBatches(rows, 7, 44, augment, batch_size, *place)
    batches.draw(seed + 1)
    batches.draw(seed)
    return [batches.make(torch.tensor([number])) for number in range(len(batches))]


def test_batches_cover_the_rows_once():
    """Each epoch another order; the same for every process, which takes its share of each batch."""
    images = torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1).expand(50, 1, 48, 48).contiguous()
    rows = TensorSplit(images, torch.arange(50))
    epochs = []
    for seed in (0, 1):
        whole = make_batches(rows, PYTORCH.augment, 16, seed)
        shares = [make_batches(rows, PYTORCH.augment, 16, seed, rank, 2) for rank in (0, 1)]
        assert [len(labels) for _, labels, _ in whole] == [16, 16, 16]
        for (images, labels, _), *parts in zip(whole, *shares, strict=True):
            assert (images[:, 0, 0, 0] == labels / 255).all() and images.shape == (16, 1, 44, 44)
            for rank, (part_images, part_labels, _) in enumerate(parts):
                assert torch.equal(part_labels, labels[rank::2]) and torch.equal(part_images, images[rank::2])
        epochs.append(torch.cat([labels for _, labels, _ in whole]))
    assert all(len(set(labels.tolist())) == 48 for labels in epochs)
    assert not torch.equal(*epochs)


def test_a_small_data_set_is_one_batch():
    assert [len(labels) for _, labels, _ in make_batches(ROWS[:5], PYTORCH.augment, 64, 0)] == [5]


CROP_AND_FLIP = read_training(read_params(), "vgg19", "paper").augment


@pytest.fixture(scope="module")
def numbered():
    """100 images in which every pixel's value tells its place: uint8 (100, 1, 48, 48)."""
    grid = torch.arange(48)[:, None] * 5 + torch.arange(48)
    return (grid % 256).to(torch.uint8).expand(100, 1, 48, 48).contiguous()


def test_training_crops_are_windows_and_mirrored_windows(numbered):
    """Each of 1,000 crops is one of the 25 windows, mirrored or not, and all of these occur."""
    windows = {
        numbered[0, 0, top : top + 44, left : left + 44].numpy()[:, ::step].tobytes(): (top, left, step)
        for top, left, step in itertools.product(range(5), range(5), (1, -1))
    }
    assert len(windows) == 50
    generator = torch.Generator().manual_seed(1)
    draws = [draw_variations(100, 48, 44, CROP_AND_FLIP, generator) for _ in range(10)]
    crops = torch.cat([cut(numbered, 44, draw) for draw in draws])
    assert crops.shape == (1000, 1, 44, 44) and crops.dtype == torch.uint8
    kinds = [windows[crop.numpy().tobytes()] for crop in crops]
    assert set(kinds) == set(windows.values())
    assert 400 < sum(step < 0 for *_, step in kinds) < 600
    assert torch.equal(torch.cat([vary(numbered, 44, CROP_AND_FLIP, draw) for draw in draws]), crops / 255)


def vary_alike(images, seed=1, **changes):
    """Varied crops of uint8 (N, 1, 48, 48) under the paper's augmentation with changes, and how they were varied."""
    augment = CROP_AND_FLIP.model_copy(update=changes)
    draw = draw_variations(len(images), 48, 44, augment, torch.Generator().manual_seed(seed))
    return vary(images, 44, augment, draw), draw


def test_variations_follow_from_the_generator(numbered):
    changes = {"rotation": 12, "scale": 0.15, "shift": 0.1, "contrast": 0.3, "brightness": 0.1, "erase": 0.5}
    first, again, other = (vary_alike(numbered, seed, **changes)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_resampling_by_nothing_is_cropping(numbered):
    plain, resampled = (vary_alike(numbered, scale=scale)[0] for scale in (0.0, 1e-9))
    assert torch.allclose(plain, resampled, atol=1e-4)


def test_rotation_scale_and_shift_are_pillows():
    """On a smooth face, each alone and all together equal Pillow's affine transform with the same numbers."""
    y, x = np.mgrid[:48, :48] - 23.5
    face = (128 + 60 * np.sin(x / 6 + 1) + 50 * np.cos(y / 5)).astype(np.uint8)
    images = torch.from_numpy(face).expand(20, 1, 48, 48).contiguous()
    for changes in ({"rotation": 30}, {"scale": 0.3}, {"shift": 0.1}, {"rotation": 20, "scale": 0.2, "shift": 0.05}):
        crops, draw = vary_alike(images, flip=0.5, **changes)
        for crop, matrix in zip(crops[:, 0], draw.affine, strict=True):
            a, b, c, d, e, f = matrix.flatten().tolist()
            # from pixels of the crop to [-1, 1], by the matrix, and to pixels of the face; Pillow adds halves itself
            steps = (24 * a / 22, 24 * b / 22, 24 * (1 + c - a - b), 24 * d / 22, 24 * e / 22, 24 * (1 + f - d - e))
            how = (44, 44), Image.Transform.AFFINE, steps
            expected = Image.fromarray(face).transform(*how, Image.Resampling.BILINEAR)
            inside = np.asarray(Image.new("L", (48, 48), 1).transform(*how)) == 1
            difference = abs(crop.numpy() * 255 - np.asarray(expected, float))[inside]
            assert np.median(difference) < 1 and np.quantile(difference, 0.95) < 3
        scales = draw.affine[:, :, :2].det().abs().sqrt() * 48 / 44
        low, high = scales.min().item(), scales.max().item()
        assert 1 / (1 + changes.get("scale", 0)) - 1e-6 <= low and high <= 1 + changes.get("scale", 0) + 1e-6
        upright = draw.affine[:, 1, :2] * torch.stack([torch.where(draw.flip, -1.0, 1.0), torch.ones(20)], dim=1)
        angles = torch.rad2deg(torch.atan2(upright[:, 0], upright[:, 1])).abs().max().item()
        shifts = (draw.affine[:, :, 2] - (2 * draw.offset.flip(1) - 4) / 48).abs().max().item()
        for found, most in ((angles, changes.get("rotation", 0)), (shifts, 2 * changes.get("shift", 0))):
            assert 0.7 * most <= found <= most + 1e-4  # of twenty faces


def test_contrast_and_brightness():
    """Contrast alone keeps the mean of each face; brightness alone adds one number to its pixels."""
    images = torch.randint(100, 156, (200, 1, 48, 48), dtype=torch.uint8)
    plain, _ = vary_alike(images)
    contrast, draw = vary_alike(images, contrast=0.5)
    assert torch.allclose(contrast.mean((1, 2, 3)), plain.mean((1, 2, 3)), atol=1e-4)
    assert torch.allclose(contrast.std((1, 2, 3)) / plain.std((1, 2, 3)), draw.contrast, atol=1e-3)
    assert 1 / 1.5 <= draw.contrast.min() < 0.75 and 1.35 < draw.contrast.max() <= 1.5
    brightness, draw = vary_alike(images, brightness=0.2)
    assert torch.allclose(brightness - plain, draw.brightness.view(-1, 1, 1, 1).expand_as(plain), atol=1e-6)
    assert -0.2 <= draw.brightness.min() < -0.15 and 0.15 < draw.brightness.max() <= 0.2
    assert vary_alike(images, contrast=1.0, brightness=1.0)[0].aminmax() == (0, 1)


def test_boxes_are_erased_from_a_share_of_the_faces():
    images = torch.zeros(500, 1, 48, 48, dtype=torch.uint8)
    crops, draw = vary_alike(images, erase=0.5, erase_size=18)
    painted = crops[:, 0] > 0
    sizes = [(painted.any(2).sum(1)[i].item(), painted.any(1).sum(1)[i].item()) for i in range(500)]
    erased = [(high, wide) for high, wide in sizes if high]
    assert 200 < len(erased) < 300
    assert {side for box in erased for side in box} == set(range(6, 19))
    assert all(painted[i].sum() == high * wide for i, (high, wide) in enumerate(sizes))
    assert painted[:, 0].any() and painted[:, -1].any() and painted[:, :, 0].any() and painted[:, :, -1].any()
    assert len(set(draw.grey.tolist())) > 490


KINDS = {"gamma": 1.0, "gradient": 0.5, "blur": 1.5, "pixels": 24, "noise": 0.1}
NO_KINDS = {**dict.fromkeys(KINDS, 0.0), "pixels": 48}


@pytest.mark.parametrize("kind", KINDS)
def test_what_photos_go_through(kind):
    """Each kind alone, by hand, on a share of the faces, grey and in colour; the others stay as they are."""
    images = torch.randint(40, 216, (200, 3, 48, 48), dtype=torch.uint8)
    centre = {"crop": "centre", "flip": 0.0}
    share = "light" if kind in ("gamma", "gradient") else "detail"
    off = Photo(**{**NO_KINDS, kind: KINDS[kind]}, light=0.0, detail=0.0)
    photo = off.model_copy(update={share: 0.4})
    plain, crops = (vary_alike(images, **centre, photo=one)[0] for one in (off, photo))
    exponent, right, down, sigma, coarse, noise, _ = vary_alike(images, **centre, photo=photo)[1].damage.T
    changed = {
        "gamma": exponent != 1, "gradient": right != 0, "blur": sigma > 0, "pixels": coarse == 1, "noise": noise > 0,
    }[kind]  # fmt: skip
    assert 50 < changed.sum() < 110 and torch.equal(plain, images[:, :, 2:46, 2:46] / 255)
    assert torch.equal(crops[~changed], plain[~changed]) and crops.min() >= 0 and crops.max() <= 1
    assert (crops != plain)[changed].flatten(1).any(1).sum() > 45
    way = torch.linspace(-1, 1, 44)
    for number in changed.nonzero().flatten()[:20].tolist():
        face, found = plain[number], crops[number]
        if kind == "gamma":
            assert 0.5 <= exponent[number] <= 2
            expected = face ** exponent[number]
        elif kind == "gradient":
            assert math.hypot(right[number], down[number]) <= 0.5
            expected = (face * (1 + right[number] * way + down[number] * way[:, None])).clamp(0, 1)
        elif kind == "blur":
            assert sigma[number] <= 1.5
            expected = torch.from_numpy(gaussian_filter(face.numpy(), (0, *[sigma[number].item()] * 2), mode="nearest"))
        elif kind == "pixels":
            assert found.diff(dim=1).abs().mean() < 0.5 * face.diff(dim=1).abs().mean()
            expected = found
        else:
            assert (found - face).std() == pytest.approx(noise[number].item(), rel=0.1) and noise[number] <= 0.1
            expected = found
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_centre_crops_without_a_flip_change_nothing(numbered):
    crops, _ = vary_alike(numbered, crop="centre", flip=0.0)
    assert torch.equal(crops, numbered[:, :, 2:46, 2:46] / 255)


def test_mixup_blends_a_batch_with_itself_backwards():
    """Pixels and labels both tell the class of a face, so that the shares in the two have to agree."""
    labels = torch.arange(28) % 7
    images = (labels * 36).to(torch.uint8).view(28, 1, 1, 1).expand(28, 1, 48, 48).contiguous()
    rows = TensorSplit(images, labels, torch.eye(8)[labels])
    augment = CROP_AND_FLIP.model_copy(update={"mixup": 0.4})
    batches = make_batches(rows, augment, 14, 0)
    assert len(batches) == 2
    for crops, shares, votes in batches:
        assert torch.equal(votes[:, :7], shares), "the shares of votes are blended in the same way"
        assert shares.shape == (14, 7) and torch.allclose(shares.sum(1), torch.ones(14))
        assert torch.allclose(crops[:, 0, 0, 0], shares @ (torch.arange(7) * 36 / 255), atol=1e-5)
        assert (shares.amax(1) >= 0.5).all() and shares.amax(1).min() < 0.9
    for rank in (0, 1):
        parts = make_batches(rows, augment, 14, 0, rank, 2)
        for (crops, shares, _), (part, some, _) in zip(batches, parts, strict=True):
            assert torch.equal(part, crops[rank::2]) and torch.equal(some, shares[rank::2])


def test_scores_are_averaged_over_the_crops():
    """Of each of two heads, over the crops that torchvision cuts from Pillow's grey images."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 44 * 44, 15))
    images = torch.randint(0, 256, (4, 1, 48, 48), dtype=torch.uint8)
    for crops, cut_pictures in ((1, lambda face: [transforms.CenterCrop(44)(face)]), (10, transforms.TenCrop(44))):
        expected = []
        for image in images:
            pictures = cut_pictures(Image.fromarray(image[0].numpy()))
            stack = torch.stack([transforms.ToTensor()(picture).expand(3, -1, -1) for picture in pictures])
            expected.append(torch.cat([head.softmax(1).mean(0) for head in network(stack).split([7, 8], dim=1)]))
        assert torch.allclose(
            score_views(network, images, 44, [CROPS[crops]], 7)[0].exp(), torch.stack(expected), atol=1e-5
        )


@pytest.mark.parametrize(
    ("bfloat16", "capability", "expected"),
    [(True, (8, 0), "bfloat16"), (False, (7, 5), "float16"), (False, (6, 1), "float32")],
)
def test_precision_by_the_gpu(bfloat16, capability, expected, monkeypatch):
    """An A100, a T4 and a GTX 1080; what is asked for by name is not judged."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert [choose_precision(wanted, "cuda") for wanted in ("auto", "float32")] == [expected, "float32"]
    assert choose_precision("auto", "mps") == "float32"


@pytest.mark.parametrize(("difference", "device"), [(5e-4, "mps"), (5e-3, "cpu")])
def test_apples_gpu_computes_what_it_predicts_as_the_cpu_does(difference, device, monkeypatch, capsys):
    """On a network that gives other probabilities there, by so much."""

    class Network(torch.nn.Module):
        place = "cpu"

        def to(self, place):
            self.place = place
            return self

        def forward(self, crops):
            first = torch.full((len(crops), 1), 0.5 + (difference if self.place == "mps" else 0))
            return torch.cat([first, 1 - first], dim=1).log()

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, _: tensor)
    assert choose_device(Network(), 44)[0] == device
    assert ("Apple's GPU gives probabilities that differ by 0.005" in capsys.readouterr().err) == (device == "cpu")
