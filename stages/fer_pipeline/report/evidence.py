"""What the report shows: the records in metrics/, the pictures in plots/, and tables of values that name their sources.

A source reads as in the cell's title: `metrics/data.json: rows.val.fear`, `metrics/compare.json: mcnemar[3].p_value`.
"""

import base64
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT
from fer_pipeline.core.record import Record
from fer_pipeline.exported.record import Exports
from fer_pipeline.faces.faces import SPLITS
from fer_pipeline.metrics.annotators import FAVOURITES
from fer_pipeline.metrics.comparison import Comparison
from fer_pipeline.metrics.evaluation import Other, Scores
from fer_pipeline.networks.network import Network
from fer_pipeline.raw.record import Data
from fer_pipeline.report.show import NONE, show
from fer_pipeline.stress.damages import DAMAGES
from fer_pipeline.stress.record import Stress
from fer_pipeline.training.common.run import Training

PRINTED = ("paper", "literature")  # sources whose cells are titled by the place that prints their value


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    source: str = ""  # `metrics/resnet18.json: macro_f1` or `paper: Table 5`; empty if it is not a number


EMPTY = Cell(NONE)
Table = list[list[Cell]]  # rows, the head first; the first cell of each row is its name


class Files(dict[str, Any]):
    """{path, as cells name it: content} of the files that cells are from: records, dicts and lists in each other."""

    def cell(self, source: str, form: str, place: str = "") -> Cell:
        """The value of a source in a form; a dash for None, and for the paper's without a `place`. ' / ' divides."""
        path, key = source.split(": ")
        known = place or path not in PRINTED
        value, *divisor = (follow(self[path], part) for part in key.split(" / ")) if known else (None,)
        if value is None:
            return EMPTY
        text = show(value / divisor[0] if divisor else value, form)
        return Cell(text, f"{path}: {place}" if path in PRINTED else source)

    def tabulate(self, first: str, rows: Iterable[Any], columns: Iterable[Any]) -> Table:
        """A table whose names stand under the head `first`.

        Args:
            rows: (key, name), or (key, name, form, place) for columns that have none; a name may be a cell.
            columns: (head, source, form, place). `{}` stands for a row's key, in a source `{1}` for its name.
        """
        columns = list(columns)
        table = [[Cell(first), *(Cell(head) for head, *_ in columns)]]
        for key, name, *own in rows:
            table.append([name if isinstance(name, Cell) else Cell(name)])
            for _, source, *form in columns:
                how, place = [*(form or own), ""][:2]
                table[-1].append(self.cell(source.format(key, name), how, place.format(key)))
        return table


def follow(content: Any, key: str) -> Any:
    """The value in `content` under a dotted key; None below None, and for a key that a dict lacks."""
    for part in re.findall(r"[^.\[\]]+", key):
        if isinstance(content, list):
            content = content[int(part)]
        elif content is not None:
            content = content.get(part) if isinstance(content, dict) else getattr(content, part)
    return content


def spread(items: Iterable[tuple[Any, str]], columns: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """`columns` for each (key, name) of `items`, which replace <key> and <name>."""
    return [
        tuple(part.replace("<key>", str(key)).replace("<name>", name) for part in column)
        for key, name in items
        for column in columns
    ]


def list_pictures(networks: Mapping[str, Network]) -> list[str]:
    """The PNGs that dvc.yaml names as outputs, in its order, without the Grad-CAM of networks that have none."""
    pictures = []
    for stage in YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values():
        body = stage.get("do", stage)
        for name in networks if "do" in stage else [""]:
            for out in [*body.get("outs", []), *body.get("plots", [])]:
                path = out if isinstance(out, str) else next(iter(out))
                missing = path.endswith("gradcam.png") and not hasattr(networks[name], "find_explained_layer")
                if path.endswith(".png") and not missing:
                    pictures.append(path.replace("${key}", name))
    return pictures


def read_evidence(
    metrics: str | Path, plots: str | Path, networks: Mapping[str, Network], sets: Collection[str]
) -> Files:
    """Read the folders `metrics` and `plots`; `sets` are the names of other data sets.

    Paths of the result begin with metrics/ or plots/. JSON files are records; for others see `read_plot`. Raises
    `InputError` if a file is missing or damaged, lacks a key, or was made for other networks.
    """
    names = tuple(networks)
    pairs = tuple(map(" + ".join, combinations(names, 2)))
    kinds: dict[str, type[Record]] = {
        "data": Data,
        **{f"train/{name}": Training for name in names},
        **dict.fromkeys(names, Scores),
        **{f"stress/{name}": Stress for name in names},
        "compare": Comparison,
        "export": Exports,
        **{f"other/{name}": Other for name in sets},
    }
    read = {path: kind.read(Path(metrics, f"{path}.json"), "report") for path, kind in kinds.items()}
    classes = list_classes(cast(Data, read["data"]))
    square = f"{len(classes)} numbers"
    crowd = [("mcnemar", tuple(f"{FAVOURITES} + {name}" for name in names)), ("recall", classes)]
    judged = crowd if cast(Comparison, read["compare"]).labels else []
    for path, key, keys in [
        ("data", "rows", SPLITS),
        *(("data", f"rows.{split}", ("total", *classes)) for split in SPLITS),
        *((name, "per_class", classes) for name in names),
        *((f"stress/{name}", "test.kinds", tuple(DAMAGES)) for name in names),
        ("compare", "table7", names),
        ("compare", "mcnemar", pairs),
        ("compare", "agreement.pairs", pairs),
        ("compare", "ensembles", tuple(dict.fromkeys((*pairs, " + ".join(names))))),
        ("compare", "weighted_ensemble.members", names),
        *(("compare", f"labels.{key}", keys) for key, keys in judged),
        *((path, "networks", names) for path, kind in kinds.items() if kind in (Exports, Other)),
        *((f"other/{one}", f"networks.{name}.per_class", classes) for one in sets for name in names),
        *((f"other/{one}", f"networks.{name}.confusion", (square,) * len(classes)) for one in sets for name in names),
    ]:
        if (found := tuple(map(name_part, follow(read[path], key)))) != keys:
            problem = f"{key} is {', '.join(found) or 'empty'}, expected {', '.join(keys)}"
            raise InputError(f"{Path(metrics, path)}.json: {problem}; run `dvc repro report`")
    files = Files({f"metrics/{path}.json": record for path, record in read.items()})
    shown = [path for path in list_pictures(networks) if path != "plots/sample.png"]
    for path in [*shown, *(f"plots/{name}/test/risk_coverage.csv" for name in names)]:
        files[path] = read_plot(Path(plots, path.removeprefix("plots/")))
    return files


def name_part(part: Any) -> str:
    """A key as it is; of a pair or a vote of networks, their names; of a row of numbers, how many there are."""
    if isinstance(part, list):
        return f"{len(part)} numbers"
    return part if isinstance(part, str) else " + ".join(getattr(part, "members", None) or (part.first, part.second))


def list_classes(data: Data) -> tuple[str, ...]:
    """The classes, in the order of the labels."""
    return tuple(name for name in data.rows.get("train", {}) if name != "total")


def read_plot(path: Path) -> Any:
    """A PNG as base64, or a curve as [[coverage, accuracy], ...] in [0, 1]; InputError if the file is neither."""
    problem = "not a PNG" if path.suffix == ".png" else "expected the columns coverage and accuracy, with numbers"
    try:
        if path.suffix == ".png":
            content = path.read_bytes()
            if content.startswith(b"\x89PNG"):
                return base64.b64encode(content).decode()
        else:
            points = pd.read_csv(path)[["coverage", "accuracy"]].to_numpy(float)
            if len(points) and np.isfinite(points).all():
                return points.tolist()
    except FileNotFoundError:
        problem = "not found"
    except (KeyError, ValueError):
        pass
    raise InputError(f"{path}: {problem}; run `dvc repro report`")
