"""The sound files, of which damaged ones are made."""

import io
import json
import shutil
from pathlib import Path

import numpy as np

from faults.damage.case import ROOT


def make_sound(folder: str) -> None:
    """Write sound files of all kinds but Keras' below `folder`."""
    import torch
    from conftest import Table, write_network
    from ruamel.yaml import YAML
    from test_predict import write_video
    from test_votes import draw_votes, write

    from fer_pipeline.faces.faces import Split, pack_faces
    from fer_pipeline.inference.opencv import cv2
    from fer_pipeline.networks.network import Shape, find_network
    from fer_pipeline.networks.pytorch.files import pack_network
    from fer_pipeline.predictions.predictions import to_csv

    def put(name: str, content: bytes) -> None:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    rng, table, voted = np.random.default_rng(0), Table((2, 1, 1)), Table((8, 2, 2))
    put("tables/fer2013.csv", table.csv())
    for name, content in {**table.files(), **dict([*table.files(format="jpg").items()][::4])}.items():
        put(f"pictures/{name}", content)
    put("votes/fer2013.csv", voted.csv())
    put("votes/fer2013new.csv", write(draw_votes(voted.labels), voted.usages))
    shutil.copytree(
        ROOT / "metrics", Path(folder, "metrics"), ignore=shutil.ignore_patterns("timing.json", ".gitignore")
    )
    put("params/params.yaml", (ROOT / "params.yaml").read_bytes())
    rows = {name: table.usages == usage for usage, name in enumerate(("train", "val", "test"))}
    splits = {
        name: Split(
            table.images[at],
            table.labels[at].astype(np.uint8),
            None if name == "train" else np.zeros(at.sum(), bool),
        )
        for name, at in rows.items()
    }
    put("faces/faces.h5", bytes(pack_faces(splits, "official", "0" * 32)))
    for name in YAML(typ="safe").load(ROOT / "params.yaml")["networks"]:
        shares = {split: rng.dirichlet(np.ones(7), len(splits[split].labels)) for split in ("val", "test")}
        put(f"predictions/{name}.csv", to_csv({split: (splits[split].labels, of) for split, of in shares.items()}))
        scores = json.loads((ROOT / "metrics" / f"{name}.json").read_text())
        scores["accuracy"] = round(float((shares["test"].argmax(axis=1) == splits["test"].labels).mean()), 6)
        put(f"compared/{name}.json", json.dumps(scores).encode())
    put("history/history.csv", (ROOT / "plots/compact/history.csv").read_bytes())
    latency = {f"threads_{count}": {"median": 1.5, "p95": 2.0} for count in (1, 2)}
    exported = {precision: {"latency_ms": latency, "faces_per_second": 99.5} for precision in ("float32", "int8")}
    timing = {
        "evaluate@compact": {"latency_ms_batch1": 1.5, "images_per_second": 9.0, "hardware": "x"},
        "measure": {"networks": {"compact": exported}, "hardware": "x"},
        "train_compact": {"seconds": 9.0, "images_per_second": 99.0, "hardware": "x"},
    }
    put("timing/timing.json", json.dumps(timing, indent=2).encode())
    write_network(Path(folder, "models/small.onnx"), largest_difference="0.001", kept_in_float32="[]")
    torch.manual_seed(0)
    state = find_network("compact").build(Shape(0.05)).state_dict()
    for name in ("models/compact.safetensors", "weights/compact.safetensors"):
        put(name, pack_network("compact", 0.05, state))
    checkpoint = {
        "epoch": 1,
        "state_dict": {f"network.{key}": tensor for key, tensor in state.items()},
        "callbacks": {"ModelCheckpoint": {"dirpath": "/elsewhere", "best_model_path": "/elsewhere/best.ckpt"}},
        "history": [{"epoch": epoch, "val_accuracy": 0.5 / epoch} for epoch in (1, 2)],
        "seconds": 9.5,
    }
    for name, content in {
        "weights/compact.pth": state,
        "checkpoints/pytorch/last.ckpt": checkpoint,
        "checkpoints/pytorch/best.ckpt": checkpoint,
    }.items():
        buffer = io.BytesIO()
        torch.save(content, buffer)
        put(name, buffer.getvalue())
    from matplotlib.cbook import get_sample_data

    photo = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))
    picture = cv2.resize(cv2.imread(str(photo)), (128, 150))
    for ending in ("jpg", "png", "webp", "gif", "tiff", "bmp", "avif"):
        put(f"photos/photo.{ending}", cv2.imencode(f".{ending}", picture)[1].tobytes())
    put("photos/face.png", cv2.imencode(".png", table.images[0])[1].tobytes())
    Path(folder, "videos").mkdir()
    for ending in ("mp4", "avi", "mkv", "mov"):
        write_video(Path(folder, f"videos/video.{ending}"), photo, frames=4, size=(128, 150))


def make_sound_keras(folder: str) -> None:
    """Write a network in Keras, and a snapshot of its training."""
    from fer_pipeline.networks.keras.files import pack_network
    from fer_pipeline.networks.keras.framework import keras
    from fer_pipeline.networks.network import find_network
    from fer_pipeline.params.read import read_params
    from fer_pipeline.training.keras.checkpoints import Snapshots

    (settings,) = read_params("profiles.${profile}.baseline")
    keras.utils.set_random_seed(0)
    network = find_network("baseline").build(settings.model_copy(update={"width": 0.05}))
    Path(folder, "models/baseline.keras").write_bytes(pack_network(network))
    checkpoints = Path(folder, "checkpoints/keras")
    checkpoints.mkdir(parents=True)
    snapshots = Snapshots(checkpoints)
    work = checkpoints / "work"
    (work / "backup").mkdir()
    network.save_weights(work / "best.weights.h5")
    shutil.copyfile(work / "best.weights.h5", work / "backup/latest.weights.h5")
    (work / "backup/training_metadata.json").write_text('{"epoch": 2, "batch": 0}')
    for epoch in range(2):
        snapshots.on_epoch_begin(epoch)
        snapshots.learning_rate = 0.001
        losses = dict.fromkeys(("loss", "accuracy", "val_cross_entropy", "val_accuracy"), 0.5)
        snapshots.on_epoch_end(epoch, losses)
    shutil.rmtree(work)
    (checkpoints.parent / "keras.json").write_text(json.dumps([snapshots.epochs, snapshots.seconds]))
