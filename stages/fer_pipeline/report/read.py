"""Read all that the report shows from metrics/ and plots/."""

import base64
import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.record import Record
from fer_pipeline.exported.record import Exports
from fer_pipeline.faces.fer2013 import CLASSES, SPLITS
from fer_pipeline.metrics.comparison import Comparison
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.external import Other
from fer_pipeline.networks.network import Network
from fer_pipeline.raw.record import Data
from fer_pipeline.report.cells import Files, follow
from fer_pipeline.training.common.run import Training

OF_DATA = {"data/classes.png": "prepare", "data/faces.png": "prepare", "data/augmented.png": "draw_augmented"}
"""{picture below plots/: the stage that draws it} of the data."""
COMPARED = ("literature", "class_f1", "ensembles", "agreement", "all_wrong", "annotators", "levels", "contradicted")
"""The pictures in plots/compare/."""


def read_evidence(
    metrics: str | Path, plots: str | Path, networks: Mapping[str, Network], sets: Iterable[str] = ()
) -> Files:
    """Read the folders `metrics` and `plots`; `sets` are the names of other data sets.

    Paths of the result begin with metrics/ or plots/. JSON files are records; for others see `read_plot`.

    Raises:
        InputError: a file is missing or damaged, lacks a key, or was made for other networks.
    """
    names = tuple(networks)
    kinds: dict[str, tuple[type[Record], str]] = {
        "data": (Data, "prepare"),
        **{f"train/{name}": (Training, f"train_{name}") for name in names},
        **dict.fromkeys(names, (Scores, "evaluate")),
        "compare": (Comparison, "compare"),
        "export": (Exports, "score_exports"),
        **{f"other/{name}": (Other, f"score_external@{name}") for name in sets},
    }
    expected: list[tuple[str, str, tuple[str, ...]]] = [
        ("data", "rows", SPLITS),
        *(("data", f"rows.{split}", ("total", *CLASSES)) for split in SPLITS),
        *((name, "per_class", CLASSES) for name in names),
        ("compare", "table7", names),
        *((path, "networks", names) for path, (kind, _) in kinds.items() if kind in (Exports, Other)),
    ]
    stages = OF_DATA | {f"compare/{figure}.png": "compare" for figure in COMPARED}
    for name, network in networks.items():
        shown = [*(f"{figure}.png" for figure in list_figures(network)), "risk_coverage.csv"]
        stages |= {f"{name}/test/{file}": "evaluate" for file in shown}
    read = {path: kind.read(Path(metrics, f"{path}.json"), stage) for path, (kind, stage) in kinds.items()}
    for path, key, keys in expected:
        if (found := tuple(follow(read[path], key))) != keys:
            raise InputError(
                f"{Path(metrics, path)}.json: {key} is {', '.join(found) or 'empty'}, expected {', '.join(keys)}; "
                f"run `dvc repro {kinds[path][1]}`"
            )
    files = Files({f"metrics/{path}.json": record for path, record in read.items()})
    return Files(files | {f"plots/{path}": read_plot(Path(plots, path), stage) for path, stage in stages.items()})


def list_figures(network: Network) -> list[str]:
    """The pictures of a network in plots/<name>/test/."""
    figures = ["curves", "confusion", "classes", "confidence", "risk_coverage", "mistakes"]
    return [*figures, "gradcam"] if hasattr(network, "find_explained_layer") else figures


def read_plot(path: Path, stage: str) -> str | list[tuple[float, float]]:
    """A PNG as base64, or a risk-coverage curve as [(coverage, accuracy), ...] in [0, 1].

    Raises:
        InputError: the file is missing, is not a PNG, or its columns are not these numbers.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".csv":
            rows = csv.DictReader(content.decode(errors="replace").splitlines())
            return [(float(row["coverage"]), float(row["accuracy"])) for row in rows]
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run `dvc repro {stage}`") from None
    except (KeyError, ValueError, TypeError):
        problem = "expected the columns coverage and accuracy, with numbers"
        raise InputError(f"{path}: {problem}; run `dvc repro {stage}`") from None
    if not content.startswith(b"\x89PNG"):
        raise InputError(f"{path}: not a PNG; run `dvc repro {stage}`")
    return base64.b64encode(content).decode()
