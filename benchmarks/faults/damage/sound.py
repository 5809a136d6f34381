"""The sound files, which are then damaged: those of a finished run, and what a run does not have."""

import os

import numpy as np
from matplotlib.cbook import get_sample_data

from clones import AFTER_FILE, KILL_DVC, KILL_STAGE, Project
from damage import read_table
from faults.common import ONE_THREAD
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.raw.rows import USAGES
from small_network import write_network


def make_sound(run: Project) -> None:
    """Write into a finished run of the pipeline what it does not have: checkpoints, archives, photos, videos."""
    for stage, count in (("train_baseline", 1), ("train_compact", 3)):  # killed after their first epoch
        strike = AFTER_FILE.format(count=count, strike=f"{KILL_DVC}; {KILL_STAGE}")
        run.start("dvc", "repro", "-f", "-s", stage, stage=stage, strike=strike, **ONE_THREAD).communicate(timeout=600)
    run.call("dvc", "checkout")
    for folder in (run.path / ".checkpoints").glob("*-*"):
        folder.rename(folder.with_name(folder.name.partition("-")[0]))
    for name in ("sample.csv", "sample_votes.csv"):  # every fifth row of the sample
        header, *lines = (run.path / "data/raw" / name).read_bytes().splitlines(keepends=True)
        (run.path / "data/raw" / name).write_bytes(header + b"".join(lines[::5]))
    for number, (label, usage, pixels) in enumerate(read_table((run.path / "data/raw/sample.csv").read_bytes()) or []):
        name = f"{'test' if usage else 'train'}/{CLASSES[label]}/{USAGES[usage]}_{number:05d}"
        for ending in ("png", "jpg") if number % 4 == 0 else ("png",):
            path = run.path / "pictures" / f"{name}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.frombuffer(pixels, np.uint8).reshape(48, 48))
    write_network(run.path / "models/small.onnx", 0, largest_difference="0.001", kept_in_float32="[]")
    picture = cv2.resize(cv2.imread(os.fspath(get_sample_data("grace_hopper.jpg", asfileobj=False))), (128, 150))
    for folder in ("photos", "videos", "inputs"):
        (run.path / folder).mkdir()
    for ending in ("jpg", "png", "webp", "gif", "tiff", "bmp", "avif"):
        cv2.imwrite(str(run.path / f"photos/photo.{ending}"), picture)
    cv2.imwrite(str(run.path / "photos/face.png"), picture[20:80, 40:100])
    for ending in ("mp4", "avi", "mkv", "mov"):
        path = run.path / f"videos/video.{ending}"
        video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (128, 150))
        for frame in range(4):
            video.write(np.roll(picture, 2 * frame, axis=1))
        video.release()
