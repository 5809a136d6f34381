"""Checkpoints that a training goes on from, and weights that it starts from."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

from faults.damage.case import Case, Place, Wrong, damage_file, damage_json, load_files
from faults.damage.networks import damage_safetensors
from faults.damage.ways import BYTES, Generator


def damage_torch(rng: Generator, place: Place) -> Case:
    shutil.copytree(place.sound / "checkpoints/pytorch", place.inputs, dirs_exist_ok=True)
    path = place.inputs / str(rng.choice(["last.ckpt", "best.ckpt"]))
    path.unlink()
    how, path = damage_file(rng, place, f"checkpoints/pytorch/{path.name}", BYTES)[:2]
    return Case(f"{path.name}: {how}", path)


def read_torch(case: Case, place: Place) -> None:
    """As a training that goes on: what it finds has to be what was written."""
    import torch

    from fer_pipeline.training.pytorch.checkpoints import find_last

    if find_last(place.inputs) is None:
        return
    sound = place.sound / "checkpoints/pytorch"
    for name in ("last.ckpt", "best.ckpt"):
        found, written = (torch.load(folder / name, weights_only=True) for folder in (place.inputs, sound))
        if any(found[key] != written[key] for key in ("epoch", "history")):
            raise Wrong(f"goes on from {name} with another history")
        if any(not tensor.equal(found["state_dict"][key]) for key, tensor in written["state_dict"].items()):
            raise Wrong(f"goes on from {name} with other weights than were written")


def damage_keras(rng: Generator, place: Place) -> Case:
    shutil.copytree(place.sound / "checkpoints/keras", place.inputs, dirs_exist_ok=True)
    files = load_files(place.inputs)
    name = str(rng.choice([*files, *[name for name in files if name.endswith("state.json")] * 3]))
    path = place.inputs / name
    if name.endswith("state.json"):
        how = damage_json(rng, place, path)
    else:
        path.unlink()
        beside = place._replace(inputs=path.parent)
        how = "lost" if rng.random() < 0.1 else damage_file(rng, beside, f"checkpoints/keras/{name}", BYTES).how
    return Case(f"{Path(name).name}: {how}", path)


def read_keras(case: Case, place: Place) -> None:
    from fer_pipeline.training.keras.checkpoints import find_snapshots, restore

    written = place.sound / "checkpoints/keras"
    found = restore(place.inputs)
    if found == ([], 0.0):
        return
    if list(found) != json.loads(written.with_suffix(".json").read_bytes()):
        raise Wrong("goes on with another history than was written")
    (snapshot,) = find_snapshots(written)
    sound = {name: content for name, content in load_files(snapshot).items() if name != "state.json"}
    if load_files(place.inputs / "work") != sound:
        raise Wrong("goes on with other files than were written")


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def damage_weights(rng: Generator, place: Place) -> Case:
    what = rng.random()
    if what < 0.45:
        return damage_safetensors(rng, place, "weights/compact.safetensors")
    if what < 0.9:
        return damage_file(rng, place, "weights/compact.pth", BYTES)
    path = place.inputs / "compact.pth"
    path.write_bytes(pickle.dumps(Hostile(place.inputs / "unpickled")))
    return Case("hostile", path)


def read_weights(case: Case, place: Place) -> None:
    from fer_pipeline.networks.network import Shape, find_network
    from fer_pipeline.training.pytorch.weights import load_start

    try:
        load_start(find_network("compact").build(Shape(0.05)), "compact", str(case.path))
    finally:
        if (place.inputs / "unpickled").exists():
            raise Wrong("what the file says was done")
