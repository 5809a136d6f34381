"""What the PyTorch networks see: rows from every form of the data, crops, flips, averaged scores."""

import numpy as np
import pytest
import torch
from conftest import Table, write_folder
from PIL import Image
from torchvision import transforms

from fer.data.faces import Split, pack_faces
from fer.data.fer2013 import SPLITS
from fer.training.pytorch.data import FER2013, as_input, crop_for_evaluation, crop_for_training, score


@pytest.fixture(scope="module")
def numbered():
    """100 images in which every pixel's value tells its place: uint8 (100, 1, 48, 48)."""
    grid = torch.arange(48)[:, None] * 5 + torch.arange(48)
    return (grid % 256).to(torch.uint8).expand(100, 1, 48, 48).contiguous()


def test_hdf5_and_folders_give_the_same_rows(tmp_path):
    table = Table(per_class=(3, 2, 2))
    folder = write_folder(tmp_path / "images", table.files())
    splits = {}
    for usage, name in enumerate(SPLITS):
        order = np.lexsort((np.arange(len(table)), table.labels))
        rows = [i for i in order if table.usages[i] == usage]
        splits[name] = Split(table.images[rows], table.labels[rows].astype(np.uint8), np.zeros(len(rows), bool))
    (tmp_path / "faces.h5").write_bytes(pack_faces(splits, "official", "0" * 32))
    for name in SPLITS:
        prepared, unpacked = FER2013(tmp_path / "faces.h5", name), FER2013(folder, name)
        assert torch.equal(prepared.images, unpacked.images)
        assert torch.equal(prepared.labels, unpacked.labels)
        assert (prepared.images.dtype, prepared.labels.dtype) == (torch.uint8, torch.int64)
        image, label = prepared[3]
        assert len(prepared) == len(splits[name].labels) and image.shape == (1, 48, 48) and label == 1


def test_training_crops_are_windows_and_mirrored_windows(numbered):
    """Each of 100 crops is one of the 25 windows, as it stands or mirrored, and all kinds come up."""
    windows = {}
    for top in range(5):
        for left in range(5):
            window = numbered[0, 0, top : top + 44, left : left + 44]
            windows[window.numpy().tobytes()] = (top, left, False)
            windows[window.flip(1).contiguous().numpy().tobytes()] = (top, left, True)
    assert len(windows) == 50
    generator = torch.Generator().manual_seed(1)
    crops = torch.cat([crop_for_training(numbered, 44, generator) for _ in range(10)])
    assert crops.shape == (1000, 1, 44, 44) and crops.dtype == torch.uint8
    kinds = [windows[crop.numpy().tobytes()] for crop in crops]
    assert set(kinds) == set(windows.values())
    assert 400 < sum(flipped for *_, flipped in kinds) < 600


def test_training_crops_follow_from_the_generator(numbered):
    first, again, other = (crop_for_training(numbered, 44, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_ten_crops_are_torchvisions_on_pillow_images():
    images = torch.randint(0, 256, (3, 1, 48, 48), dtype=torch.uint8)
    crops = crop_for_evaluation(images, 44, 10)
    for i, image in enumerate(images):
        expected = transforms.TenCrop(44)(Image.fromarray(image[0].numpy()))
        for crop, picture in zip(crops[10 * i : 10 * i + 10], expected, strict=True):
            assert (crop[0].numpy() == np.asarray(picture)).all()
    centre = crop_for_evaluation(images, 44, 1)
    assert torch.equal(centre, crops[4::10])  # the fifth of ten is the centre


def test_input_is_grey_in_three_channels_from_0_to_1():
    crops = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 44, 44)
    images = as_input(crops)
    assert images.shape == (3, 3, 44, 44) and images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images.amax((1, 2, 3)), torch.tensor([0, 0.2, 1]))
    assert torch.equal(images[:, 0], images[:, 2])


def test_scores_are_averaged_over_the_crops():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 44 * 44, 7))
    images = torch.randint(0, 256, (4, 1, 48, 48), dtype=torch.uint8)
    expected = []
    for image in images:
        crops = transforms.TenCrop(44)(Image.fromarray(image[0].numpy()))
        stack = torch.stack([transforms.ToTensor()(crop).expand(3, -1, -1) for crop in crops])
        expected.append(network(stack).softmax(1).mean(0))
    assert torch.allclose(score(network, images, 44, 10).exp(), torch.stack(expected), atol=1e-5)
    assert torch.allclose(score(network, images, 44, 10).exp().sum(1), torch.ones(4), atol=1e-5)
    assert not torch.allclose(score(network, images, 44, 1), score(network, images, 44, 10), atol=1e-3)
