"""Read all that the report shows from metrics/ and plots/."""

import base64
import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fer_pipeline.core.errors import InputError
from fer_pipeline.exported.record import Exports
from fer_pipeline.faces.fer2013 import CLASSES, SPLITS
from fer_pipeline.metrics.comparison import Comparison
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.external import Other
from fer_pipeline.networks.network import Network
from fer_pipeline.raw.record import Data
from fer_pipeline.training.common.run import Training

OF_DATA = {"data/classes.png": "prepare", "data/faces.png": "prepare", "data/augmented.png": "draw_augmented"}
"""{picture below plots/: the stage that draws it} of the data."""
COMPARED = ("literature", "class_f1", "ensembles", "agreement", "all_wrong", "annotators", "levels", "contradicted")
"""The pictures in plots/compare/."""


class Evidence(NamedTuple):
    """What the files of metrics/ and plots/ hold."""

    networks: dict[str, Network]
    """In the order of params.yaml; every field that is a dict by network has these keys."""
    data: Data
    train: dict[str, Training]
    scores: dict[str, Scores]
    compare: Comparison
    export: Exports
    other: dict[str, Other]
    """{name of another data set: scores on it}, in the order of `other_sets` in params.yaml."""
    risk: dict[str, list[tuple[float, float]]]
    """{network: [(coverage, accuracy), ...]}"""
    pictures: dict[str, str]
    """{path below plots/: base64}"""

    @property
    def titles(self) -> dict[str, str]:
        """{network: as the page names it}."""
        return {name: network.TITLE for name, network in self.networks.items()}


def read_evidence(
    metrics: str | Path, plots: str | Path, networks: dict[str, Network], sets: Iterable[str] = ()
) -> Evidence:
    """Read the folders `metrics` and `plots`; `sets` are the names of other data sets.

    Raises:
        InputError: a file is missing or damaged, lacks a key, or was made for other networks.
    """
    metrics, plots = Path(metrics), Path(plots)
    pictures = dict(OF_DATA)
    for name, network in networks.items():
        pictures |= {f"{name}/test/{figure}.png": "evaluate" for figure in list_figures(network)}
    pictures |= {f"compare/{figure}.png": "compare" for figure in COMPARED}
    evidence = Evidence(
        networks,
        data=Data.read(metrics / "data.json", "prepare"),
        train={name: Training.read(metrics / "train" / f"{name}.json", f"train_{name}") for name in networks},
        scores={name: Scores.read(metrics / f"{name}.json", "evaluate") for name in networks},
        compare=Comparison.read(metrics / "compare.json", "compare"),
        export=Exports.read(metrics / "export.json", "score_exports"),
        other={name: Other.read(metrics / "other" / f"{name}.json", f"score_external@{name}") for name in sets},
        risk={name: read_risk(plots / name / "test" / "risk_coverage.csv") for name in networks},
        pictures={path: read_picture(plots / path, stage) for path, stage in pictures.items()},
    )
    expect(metrics / "data.json", "rows", evidence.data.rows, SPLITS, "prepare")
    for split, counts in evidence.data.rows.items():
        expect(metrics / "data.json", f"rows.{split}", counts, ("total", *CLASSES), "prepare")
    for name, scores in evidence.scores.items():
        expect(metrics / f"{name}.json", "per_class", scores.per_class, CLASSES, "evaluate")
    expect(metrics / "compare.json", "table7", evidence.compare.table7, networks, "compare")
    expect(metrics / "export.json", "networks", evidence.export.networks, networks, "score_exports")
    for name, other in evidence.other.items():
        expect(metrics / "other" / f"{name}.json", "networks", other.networks, networks, f"score_external@{name}")
    return evidence


def list_figures(network: Network) -> list[str]:
    """The pictures of a network in plots/<name>/test/."""
    figures = ["curves", "confusion", "classes", "confidence", "risk_coverage", "mistakes"]
    return [*figures, "gradcam"] if hasattr(network, "find_explained_layer") else figures


def expect(path: Path, key: str, found: Iterable[str], expected: Iterable[str], stage: str) -> None:
    """Check the keys of a part of a JSON file, and their order.

    Raises:
        InputError: they are not the expected ones.
    """
    found, expected = list(found), list(expected)
    if found != expected:
        listed = ", ".join(found) or "empty"
        raise InputError(f"{path}: {key} is {listed}, expected {', '.join(expected)}; run `dvc repro {stage}`")


def read_bytes(path: Path, stage: str) -> bytes:
    """The content of a file that the DVC stage `stage` writes.

    Raises:
        InputError: there is no such file.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run `dvc repro {stage}`") from None


def read_risk(path: Path) -> list[tuple[float, float]]:
    """[(coverage, accuracy), ...] of risk_coverage.csv, shares in [0, 1].

    Raises:
        InputError: the file is missing, or its columns are not these numbers.
    """
    lines = read_bytes(path, "evaluate").decode(errors="replace").splitlines()
    try:
        return [(float(row["coverage"]), float(row["accuracy"])) for row in csv.DictReader(lines)]
    except (KeyError, ValueError, TypeError):
        raise InputError(
            f"{path}: expected the columns coverage and accuracy, with numbers; run `dvc repro evaluate`"
        ) from None


def read_picture(path: Path, stage: str) -> str:
    """A PNG as base64.

    Raises:
        InputError: the file is missing or is not a PNG.
    """
    content = read_bytes(path, stage)
    if not content.startswith(b"\x89PNG"):
        raise InputError(f"{path}: not a PNG; run `dvc repro {stage}`")
    return base64.b64encode(content).decode()
