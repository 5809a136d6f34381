"""The architectures compared with torchvision's, the weights that training starts from, and the models' files."""

import hashlib
import itertools
import json
import math
import os
import re
import subprocess
import sys
import urllib.error
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torchvision
from conftest import ROOT, Table, refuse
from safetensors.torch import save_file
from trainings import FACTS

import fer_pipeline.networks as networks
from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.networks import compact, resnet18, vgg19
from fer_pipeline.networks.network import CENTRE, CROPS, TEN_CROP, Shape, View, find_network, find_networks, list_views
from fer_pipeline.networks.pytorch.crops import as_input, cut_view
from fer_pipeline.networks.pytorch.files import Normalise, load_network, pack, pack_network, prepend, read_tensors
from fer_pipeline.networks.pytorch.heads import add_votes_head
from fer_pipeline.networks.pytorch.model import TorchModel
from fer_pipeline.networks.resnet18 import resample
from fer_pipeline.params.schema import Views
from fer_pipeline.training.pytorch import weights
from fer_pipeline.training.pytorch.weights import load_start


def build(name, width=0.1):
    return find_network(name).build(Shape(width, 0.5, 7, 1))


def wrap(name, width=0.1):
    return TorchModel(build(name, width).eval(), find_network(name), 7, 44, "float32", "cpu", "")


@pytest.fixture(scope="module", params=["vgg19", "resnet18"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def reference(name):
    """torchvision's own network of that name, with random weights and uneven BatchNorm statistics."""
    torch.manual_seed(0)
    network = {"vgg19": torchvision.models.vgg19_bn, "resnet18": torchvision.models.resnet18}[name](weights=None)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return network


def body(state):
    return {key: tensor for key, tensor in state.items() if not key.startswith(("head.", "classifier.", "fc."))}


def test_sizes_of_vgg19_by_hand():
    """Convolutions 3x3 with biases and BatchNorms, counted from the configuration."""
    channels = [3, 64, 64, 128, 128, *[256] * 4, *[512] * 8]
    pixels = [44, 44, 22, 22, *[11] * 4, *[5] * 4, *[2] * 4]
    parameters = sum(9 * i * o + o + 2 * o for i, o in itertools.pairwise(channels)) + 512 * 7 + 7
    macs = [9 * i * o * side**2 for (i, o), side in zip(itertools.pairwise(channels), pixels, strict=True)]
    model = wrap("vgg19", 1)
    assert (model.count_parameters(), model.count_macs()) == (parameters, sum(macs) + 512 * 7)


def test_pools_strides_and_dropout():
    vgg19, resnet18 = build("vgg19"), build("resnet18")
    kinds = [type(layer).__name__ for layer in vgg19.features]
    assert [kinds.count(kind) for kind in ("Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d")] == [16, 16, 16, 5]
    assert vgg19.dropout.p == resnet18.dropout.p == 0.5
    stages = [resnet18.layer1, resnet18.layer2, resnet18.layer3, resnet18.layer4]
    assert [[block.stride for block in stage] for stage in stages] == [[1, 1], [2, 1], [2, 1], [2, 1]]
    assert resnet18.conv1.stride == (1, 1)


def test_compact_is_as_small_as_it_says():
    """Two million weights with the second head, counted by hand, and 165 million multiply-adds per crop."""
    network = add_votes_head(build("compact", 1), 8).eval()
    convolutions = [(1, 32), (32, 64), (64, 64), (64, 128), (128, 256)] + 2 * [(64, 64), (128, 128), (256, 256)]
    counted = sum(9 * i * o + 2 * o for i, o in convolutions) + 256 * 15 + 15
    model = wrap("compact")._replace(network=network)
    assert model.count_parameters() == counted <= 2_000_000 and model.count_macs() <= 165e6


GRADIENTS = """
import torch
from fer_pipeline.networks import resnet18
from fer_pipeline.networks.network import Shape

torch.manual_seed(0)
network = resnet18.build(Shape(0.01, 0.0, 7, 1)).to(memory_format=torch.channels_last)
faces = torch.rand(16, 3, 44, 44).to(memory_format=torch.channels_last)
found = []
for fast in (True, False):
    network.zero_grad()
    with torch.backends.mkldnn.flags(enabled=fast):
        network(faces).square().sum().backward()
    found.append(network.layer2[0].downsample[0].weight.grad.clone())
torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3 * found[1].abs().max().item())
"""


def test_the_narrowest_network_has_the_right_gradients_with_avx2():
    """oneDNN's fast convolutions take too few channels for eight."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "stages"), "ONEDNN_MAX_CPU_ISA": "AVX2"}
    subprocess.run([sys.executable, "-c", GRADIENTS], env=environment, check=True, timeout=120)


def test_compact_sees_grey_alone_and_its_pairs_start_as_the_identity():
    network = compact.build(Shape(0.5, 0.3, 7, 1)).eval()
    images = torch.rand(3, 3, 44, 44)
    assert torch.equal(network(images), network(images[:, :1].expand(-1, 3, -1, -1)))
    maps = torch.rand(2, 32, 22, 22)
    assert torch.equal(network.pair1(maps), maps)
    torch.nn.init.ones_(network.pair1.norm.weight)
    assert not torch.equal(network.pair1(maps), maps)


@pytest.mark.parametrize(("save", "ending"), [(torch.save, "pth"), (save_file, "safetensors")])
def test_every_tensor_of_the_body_is_taken_over(save, ending, name, reference, tmp_path):
    save(reference.state_dict(), tmp_path / f"start.{ending}")
    network = build(name, 1)
    head = network.head.weight.clone()
    load_start(network, name, str(tmp_path / f"start.{ending}"), 1, FACTS)
    state, theirs = body(network.state_dict()), body(reference.state_dict())
    assert state.keys() == theirs.keys()
    other = [key for key in state if not torch.equal(state[key], theirs[key])]
    assert other == (["conv1.weight"] if name == "resnet18" else [])
    assert torch.equal(network.head.weight, head)


def test_the_stem_keeps_its_response():
    """A resampled kernel has the same response to an even patch, and keeps its direction of change."""
    assert torch.allclose(resample(torch.full((5, 3, 7, 7), 2.0), (3, 3)).sum((2, 3)), torch.full((5, 3), 98.0))
    ramp = resample(torch.linspace(1, 3, 7).expand(1, 1, 7, 7), (3, 3))[0, 0]
    assert ramp.sum() == pytest.approx(98, rel=0.05)
    assert (ramp[:, 0] < ramp[:, 1]).all() and (ramp[:, 1] < ramp[:, 2]).all()


@pytest.fixture
def imagenet(monkeypatch, tmp_path):
    """A small stand-in for torchvision's file, named by its hash like theirs; returns (path in the cache, bytes)."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.save(build("resnet18").state_dict(), tmp_path / "x.pth")
    content = (tmp_path / "x.pth").read_bytes()
    file = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    monkeypatch.setattr(weights, "get_weight", lambda name: SimpleNamespace(url=f"https://example.org/models/{file}"))
    return tmp_path / "torch" / "hub" / "checkpoints" / file, content


def test_imagenet_weights_are_downloaded_once(imagenet, monkeypatch):
    """The second training takes them from the cache."""
    cached, content = imagenet
    download = Mock(side_effect=lambda *_, **__: cached.write_bytes(content))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    networks = [build("resnet18"), build("resnet18")]
    for network in networks:
        load_start(network, "resnet18", "imagenet", 1, FACTS)
    url = f"https://example.org/models/{cached.name}"
    download.assert_called_once_with(url, str(cached), hash_prefix=cached.name[9:17])
    expected = torch.load(cached, weights_only=True)["layer4.1.conv2.weight"]
    assert all(torch.equal(network.layer4[1].conv2.weight, expected) for network in networks)


def test_without_a_network_the_file_to_fetch_is_named(imagenet, monkeypatch):
    cached, _ = imagenet
    monkeypatch.setattr(torch.hub, "download_url_to_file", Mock(side_effect=urllib.error.URLError("no route to host")))
    advice = f"fetch https://example.org/models/{cached.name} and put it at {cached}"
    assert refuse(load_start, build("resnet18"), "resnet18", "imagenet", 1, FACTS).endswith(advice)


def test_a_damaged_cache_is_refused(imagenet):
    cached, content = imagenet
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content[:-1])
    said = refuse(load_start, build("resnet18"), "resnet18", "imagenet", 1, FACTS)
    assert "damaged" in said and "; delete it and run again" in said


@pytest.mark.parametrize("architecture", [vgg19, resnet18])
def test_the_real_address_carries_a_hash(architecture):
    assert re.search(r"-[0-9a-f]{8}\.pth$", torchvision.models.get_weight(architecture.PRETRAINED).url)


class Trap:
    """A program in a pickle."""

    def __reduce__(self):
        return (open, ("sprung", "w"))


STATE = build("resnet18").state_dict()
NAN = {"layer4.1.bn2.running_var": STATE["layer4.1.bn2.running_var"] * math.nan}
PLAIN = "no state dict of plain tensors"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "not found; set `weights`"),
        (b"garbage", PLAIN),
        ([1, 2], PLAIN),
        ({"conv1.weight": Trap()}, PLAIN),
        ({"model": STATE}, PLAIN),
        (STATE | NAN, "start.pth: layer4.1.bn2.running_var holds values that are not"),
        (STATE | {"bn1.weight": STATE["bn1.weight"].int()}, "bn1.weight holds torch.int32, expected torch.float32"),
        (build("vgg19").state_dict(), "has no conv1.weight"),
        (build("resnet18", 0.2).state_dict(), "conv1.weight has shape .*set `width` to 1"),
    ],
)
def test_weights_that_do_not_fit(content, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if isinstance(content, bytes):
        (tmp_path / "start.pth").write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / "start.pth")
    assert re.search(expected, refuse(load_start, build("resnet18"), "resnet18", str(tmp_path / "start.pth"), 1, FACTS))
    assert not (tmp_path / "sprung").exists()


def make_whole(name, facts):
    """A narrow network as a training for `facts` has it, with a normalisation and uneven BatchNorm statistics."""
    network = find_network(name).build(Shape(0.1, 0.5, len(facts.classes), facts.channels))
    if facts.voted:
        network = add_votes_head(network, len(facts.voted))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return prepend(Normalise((0.4,) * 3, (0.3,) * 3), network).eval()


def save_start(path, name, facts):
    network = make_whole(name, facts)
    path.write_bytes(pack_network(name, 0.1, network.state_dict(), facts))
    return network


@pytest.mark.parametrize("colours", [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("kind", ["compact", "resnet18"])
def test_a_training_starts_from_another_ones_network(kind, colours, tmp_path, capsys):
    """Both heads answer as before for grey faces: with classes in another order, another size, grey or colour."""
    old, new = (FACTS._replace(colour=colour) for colour in colours)
    new = new._replace(classes=CLASSES[::-1], voted=(*CLASSES[::-1], "contempt"), size=64)
    start, network = save_start(tmp_path / "x.safetensors", kind, old), make_whole(kind, new)
    load_start(network, kind, str(tmp_path / "x.safetensors"), 0.1, new)
    parts = "body, normalisation, head, second head"
    assert capsys.readouterr().out == f"{kind} starts from {tmp_path}/x.safetensors: {parts}\n"
    images = torch.rand(2, 1, 60, 60).expand(-1, 3, -1, -1)
    expected = start(images)[:, [*range(6, -1, -1), *range(13, 6, -1), 14]]
    assert torch.allclose(network(images), expected, atol=1e-4)


FIVE = {"classes": ("happy", "sad", "surprise", "angry", "neutral"), "voted": ()}
BORED = {"classes": ("bored", *CLASSES[1:])}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (FIVE, "body, normalisation; head drawn anew (5 classes instead of 7); second head left out"),
        (BORED, "body, normalisation, second head; head drawn anew (other classes)"),
    ],
)
def test_what_a_training_does_not_take_is_said(change, said, tmp_path, capsys):
    """Also of a file in float16, half as large; its rounded numbers are taken. What is drawn anew stays as it was."""
    start = save_start(tmp_path / "x.safetensors", "compact", FACTS)
    state, metadata = read_tensors(tmp_path / "x.safetensors")
    half = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    (tmp_path / "half.safetensors").write_bytes(pack(half, metadata))
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "x")]
    facts = FACTS._replace(**change)
    network = make_whole("compact", facts)
    head = network.head.weight.clone()
    load_start(network, "compact", str(tmp_path / "half.safetensors"), 0.1, facts)
    assert f"half.safetensors: {said}\n" in capsys.readouterr().out
    assert torch.equal(network.head.weight, head) and sizes[0] < 0.6 * sizes[1]
    assert torch.equal(network.conv3[0].weight, start.conv3[0].weight.half().float())
    rounded = load_network(tmp_path / "half.safetensors").network
    images = torch.rand(2, 3, 44, 44)
    assert torch.allclose(rounded(images), start(images), atol=0.05)
    with pytest.raises(InputError, match="its network normalises pixels itself; set `normalisation` to train"):
        load_start(build("compact"), "compact", str(tmp_path / "half.safetensors"), 0.1, facts)


@pytest.mark.parametrize(
    ("name", "width", "metadata", "tensors", "expected"),
    [
        ("resnet18", 0.1, {}, {}, "architecture is compact, expected resnet18"),
        ("compact", 1, {}, {}, "width is 0.1, expected 1.0; set `width` to its own"),
        ("compact", 0.1, {"width": None}, {}, "width is missing, expected 0.1"),
        ("compact", 0.1, {"classes": "yes"}, {}, "classes is yes, expected a list of names; give another file"),
        ("compact", 0.1, {}, {"head.bias": torch.zeros(3)}, r"head.bias has shape \[3\], expected \[7\]; give another"),
        ("compact", 0.1, {}, {"head.bias": None}, "has no head.bias"),
        ("compact", 0.1, {}, {"normalise.mean": torch.full((3, 1, 1), math.nan)}, "normalise.mean holds values that"),
    ],
)
def test_networks_that_do_not_fit(name, width, metadata, tensors, expected, tmp_path):
    save_start(tmp_path / "x.safetensors", "compact", FACTS)
    state, said = read_tensors(tmp_path / "x.safetensors")
    left = [{key: one for key, one in part.items() if one is not None} for part in (state | tensors, said | metadata)]
    save_file(left[0], tmp_path / "x.safetensors", left[1])
    with pytest.raises(InputError, match=rf"x\.safetensors: .*{expected}"):
        load_start(make_whole(name, FACTS), name, str(tmp_path / "x.safetensors"), width, FACTS)


def test_a_saved_network_scores_the_same(name, tmp_path):
    network = build(name, 0.25).eval().to(memory_format=torch.channels_last)
    (tmp_path / "x.safetensors").write_bytes(pack_network(name, 0.25, network.state_dict(), FACTS))
    images = torch.rand(2, 3, 44, 44)
    loaded, found, classes, voted, crop, colour = load_network(tmp_path / "x.safetensors")
    assert (found, classes, voted, crop, colour) == (name, CLASSES, (), 44, False) and not loaded.training
    assert torch.allclose(loaded(images), network(images), atol=1e-5)
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in network.state_dict().items())


METADATA = {"architecture": "resnet18", "width": "0.25", "classes": json.dumps(CLASSES), "crop": "44"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"architecture": "alexnet"}, "no network named .alexnet."),
        ({"architecture": "vgg19"}, "Error.s. in loading state_dict"),
        ({"width": "0.5"}, "Error.s. in loading state_dict"),
        ({"width": "wide"}, "width is wide, expected"),
        ({"width": "20"}, "width is 20, expected"),
        ({"crop": "-3"}, "crop is -3, expected a number of pixels"),
        ({"classes": "yes"}, "classes is yes, expected a list of names"),
        ({"classes": '["yes", "no"]'}, "Error.s. in loading state_dict"),
        ({"tail.bias": torch.zeros(7)}, "Error.s. in loading state_dict"),
        ({"head.bias": torch.full((7,), math.nan)}, "holds values that are not finite"),
        # PyTorch would convert these, or knows no isfinite of them
        *(
            ({"head.bias": torch.zeros(7).to(kind)}, rf"head\.bias holds {kind}, expected torch\.float32")
            for kind in (torch.int32, torch.uint32, torch.float8_e4m3fn)
        ),
    ],
)
def test_a_foreign_model_file_is_refused(change, expected, tmp_path):
    tensors = {key: value for key, value in change.items() if not isinstance(value, str)}
    texts = {key: value for key, value in change.items() if isinstance(value, str)}
    save_file(build("resnet18", 0.25).state_dict() | tensors, tmp_path / "x.safetensors", METADATA | texts)
    assert re.search(rf"x\.safetensors: .*{expected}", refuse(load_network, tmp_path / "x.safetensors"))


def test_a_damaged_model_file_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    assert "not found" in refuse(load_network, path)
    for content in (b"", pack_network("resnet18", 0.25, build("resnet18", 0.25).state_dict(), FACTS)[:-10]):
        path.write_bytes(content)
        assert "damaged" in refuse(load_network, path)


@pytest.mark.parametrize("crops", [1, 10])
def test_batches_in_threads_give_what_each_image_gives(crops):
    """By all crops, and by the centre crop, computed once if TenCrop has it; afterwards PyTorch has its threads again."""
    model, threads, images = wrap("resnet18"), torch.get_num_threads(), np.tile(Table().images, (10, 1, 1))[:70]
    both = model.predict(images, CROPS[crops], CENTRE)
    for row in (0, 5, 6, 69):
        one = images[[row]]
        expected = [model.predict(one, way)[0, 0] for way in (CROPS[crops], CENTRE)]
        np.testing.assert_allclose(both[:, row], expected, atol=1e-6)
    assert both.shape == (2, 70, 7) and torch.get_num_threads() == threads


def test_views_of_a_face():
    """TenCrop is torchvision's; turned, scaled and mirrored views are as by hand, and Keras sees the same."""
    images = torch.from_numpy(Table().images[:3]).unsqueeze(1)
    crops = torch.stack([cut_view(images, 44, view) for view in TEN_CROP])
    torch.testing.assert_close(crops, torch.stack(torchvision.transforms.functional.ten_crop(images, 44)))
    right = cut_view(images, 48, View(turn=90))
    torch.testing.assert_close(right, images.rot90(1, (2, 3)) / 255, atol=1e-5, rtol=0)
    turned = View(turn=6, scale=1.1)
    mirrored = cut_view(images, 44, turned._replace(mirrored=True))
    torch.testing.assert_close(mirrored, cut_view(images, 44, turned).flip(3), atol=1e-5, rtol=0)
    larger = torch.nn.functional.interpolate(images / 255, scale_factor=2, mode="bilinear")[:, :, 24:72, 24:72]
    torch.testing.assert_close(cut_view(images, 48, View(scale=2)), larger, atol=1e-5, rtol=0)
    from fer_pipeline.networks.keras.model import see

    for view in (View(mirrored=True), View(turn=90), turned, turned._replace(mirrored=True)):
        theirs = torch.from_numpy(see(images.permute(0, 2, 3, 1).numpy(), view).copy()).permute(0, 3, 1, 2) / 255
        ours = cut_view(images, 48, view)
        torch.testing.assert_close(theirs, ours if ours.is_floating_point() else ours / 255, atol=0.51 / 255, rtol=0)


def test_lists_of_views_are_averaged():
    views = list_views(Views(turns=[0, 6], scales=[1.0, 0.9], mirrored=True))
    assert (
        len({*views}) == 8
        and views[0] == CENTRE[0]
        and (list_views("centre"), list_views("ten_crop")) == (CENTRE, TEN_CROP)
    )
    model, images = wrap("resnet18"), Table().images[:3]
    each = [model.predict(images, [view])[0] for view in views]
    assert model.predict(images, TEN_CROP, views)[1] == pytest.approx(np.mean(each, axis=0), abs=1e-6)
    assert abs(each[0] - each[1]).max() > 1e-4


def test_grad_cam_by_hand():
    """ResNet18 ends in an average and a linear layer: the gradient is the head's weight over the number of pixels."""
    model, maps = wrap("resnet18"), []
    images = Table().images[:3]
    crops, heat = model.explain(images, [0, 3, 6])
    np.testing.assert_array_equal(crops, images[:, 2:46, 2:46])
    model.network.layer4.register_forward_hook(lambda _, __, output: maps.append(output.detach()))
    model.network(as_input(cut_view(torch.from_numpy(images).unsqueeze(1), 44, *CENTRE)))
    weights = model.network.head.weight[[0, 3, 6], :, None, None].detach() / 36
    expected = (weights * maps[0]).sum(1, keepdim=True).relu()
    expected = torch.nn.functional.interpolate(expected, size=(44, 44), mode="bilinear")[:, 0]
    expected = expected / expected.amax((1, 2), keepdim=True).clamp_min(1e-30)
    np.testing.assert_allclose(heat, expected, atol=1e-4)
    assert heat.shape == (3, 44, 44) and heat.min() >= 0 and heat.max() == 1


@pytest.mark.parametrize(("name", "size"), [("vgg19", 5), ("resnet18", 6)])
def test_grad_cam_reads_maps_of_some_size(name, size):
    network, shapes = build(name).eval(), []
    layer = find_network(name).find_explained_layer(network, 44)
    layer.register_forward_hook(lambda _, __, output: shapes.append(output.shape[2:]))
    network(torch.zeros(1, 3, 44, 44))
    assert shapes == [(size, size)]


FILE = """
TITLE, FRAMEWORK, CROP, TEST_CROPS = "Tried", "pytorch", 11 / 12, 10

def build(shape):
    return shape
"""


@pytest.fixture
def write_file(tmp_path, monkeypatch):
    """Write a network's file beside the others; each under a name of its own, as modules are loaded once."""
    monkeypatch.setattr(networks, "__path__", [*networks.__path__, str(tmp_path)])

    def write(name, content):
        (tmp_path / f"{name}.py").write_text(content)
        return name

    return write


WRONG_FILES = {
    "no_title": ("TITLE,", "OTHER,", "TITLE is 'nothing', expected its name in tables"),
    "bad_framework": ('"pytorch"', '"jax"', "FRAMEWORK is 'jax', expected 'keras' or 'pytorch'"),
    "too_large": ("11 / 12", "44", "CROP is 44, expected a share from 0.5 to 1"),
    "five_crops": ("12, 10", "12, 5", "TEST_CROPS is 5, expected 1 or 10"),
    "no_build": ("def build", "def construct", "build is 'nothing', expected a function"),
    "no_python": ("def build", "def def build", r"cannot be loaded \(SyntaxError: "),
    "no_module": ("def build", "import nothing_of_that_name\n\ndef build", r"cannot be loaded \(ModuleNotFoundError"),
    "keras_crops": ('"pytorch"', '"keras"', "a Keras network sees the whole face: CROP 1, TEST_CROPS 1"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_what_is_wrong_with_a_networks_file_is_said(name, write_file):
    old, new, message = WRONG_FILES[name]
    assert old in FILE
    with pytest.raises(InputError, match=rf"stages/fer_pipeline/networks/{name}\.py: {message}"):
        find_network(write_file(name, FILE.replace(old, new)))


def test_two_networks_of_one_title(write_file):
    names = [write_file(name, FILE) for name in ("tried_once", "tried_twice")]
    assert find_network(names[0]).TITLE == "Tried"
    assert "the networks tried_once and tried_twice have the same TITLE, 'Tried'" in refuse(find_networks, names)
