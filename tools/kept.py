"""What a kept run says without its networks and its faces: its parameters, rows, predictions and further seeds."""

import gzip
import json
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError
from ruamel.yaml import YAML

import checkout
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.record import Count, Record, Share
from fer_pipeline.faces.faces import Split
from fer_pipeline.faces.votes import NO_CLASS
from fer_pipeline.metrics.comparison import Comparison, vote
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.groups import Names
from fer_pipeline.metrics.scores import Measured, average, measure
from fer_pipeline.params.schema import Evaluate
from fer_pipeline.predictions.predictions import SCORED, WAYS, Floats, Predictions, read_predictions, read_votes
from fer_pipeline.training.common.profile import BASE, lay_over

DATA = Path("data/prepared/faces.h5")
ROWS_FILE = "predictions/rows.csv.gz"  # of a kept run: `collect.tabulate_rows`
ENDINGS = (*(f"{way}.csv" for way in WAYS), "_votes.csv")
"""How the names of a network's predictions of val and test go on, after its own."""
Said = Mapping[str, Mapping[str, Predictions]]
"""{way: {split: predictions of the first head}} of one network."""


class Run(NamedTuple):
    """A run in results/, its faces left out."""

    folder: Path
    facts: dict[str, Any]  # its run.json
    stages: dict[str, Any]  # of its dvc.lock
    compare: Comparison
    splits: dict[str, Split]  # val and test
    voted: tuple[str, ...]  # the names of the columns of votes
    groups: Names  # of the test rows

    @property
    def params(self) -> dict[str, Any]:
        """Those of params.yaml that `compare` had."""
        return dict(self.stages["compare"]["params"]["params.yaml"])

    @property
    def settings(self) -> Evaluate:
        return Evaluate.model_validate(self.params["evaluate"])

    @property
    def in_train(self) -> NDArray[np.bool_] | None:
        """Whether train has the image of a test row."""
        return self.splits["test"].duplicate_of_train

    def read(self, names: Iterable[str]) -> Mapping[str, Said]:
        """{name: its predictions}, of networks and of further seeds, see `name_seed`."""
        classes = list_classes(self.compare)

        def read(path: Path) -> dict[str, Predictions]:
            return read_predictions(path, self.splits, classes)

        return {name: {way: self.unpack(name, f"{way}.csv", read) for way in WAYS} for name in names}

    def read_votes(self, names: Iterable[str]) -> dict[str, dict[str, Floats]]:
        """{name: {split: probabilities of the second head, float64 (N, V)}} of networks."""
        voted = self.voted[: -len(NO_CLASS)]
        return {
            name: self.unpack(name, "_votes.csv", lambda path: read_votes(path, self.splits, voted)) for name in names
        }

    def unpack(self, name: str, ending: str, read: Callable[[Path], Any]) -> Any:
        """What `read` makes of a CSV of predictions."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}{ending}"
            path.write_bytes(read_packed(place_predictions(self.folder, name, ending)))
            return read(path)


def list_classes(compare: Comparison) -> tuple[str, ...]:
    """The names of the classes, in order."""
    return (*compare.ensemble.per_class,)


def read_facts(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the kept run in `folder` the content of run.json, and the stages of dvc.lock. InputError if there is none."""
    if not (folder / "run.json").is_file():
        raise InputError(f"{folder}: no kept run; keep one with `make results NAME={folder.name}`")
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{folder}/run.json: damaged; `git checkout` it") from None
    return facts, YAML(typ="safe").load(folder / "dvc.lock")["stages"]


def read_run(folder: Path) -> Run:
    """The kept run in `folder`. Raises `InputError` if there is none, or if it keeps no predictions."""
    facts, stages = read_facts(folder)
    if not (folder / ROWS_FILE).is_file():
        raise InputError(f"{folder}: its predictions were not kept, so nobody can score it; take a later run")
    compare = Comparison.read(folder / "metrics" / "compare.json", "compare")
    return Run(folder, facts, stages, compare, *read_rows(read_packed(folder / ROWS_FILE), list_classes(compare)))


def find_settings(stages: Mapping[str, Any], profile: str, name: str) -> dict[str, Any]:
    """The settings with which a network was trained, from the stages of dvc.lock."""
    params = stages[f"train_{name}"]["params"]
    if earlier := params["params.yaml"].get(f"profiles.{profile}.{name}"):  # runs older than profiles/
        return dict(earlier)
    base, changes = (params.get(f"profiles/{one}.yaml", {}).get(name, {}) for one in (BASE, profile))
    return lay_over(base, changes)


def read_rows(content: bytes, classes: tuple[str, ...]) -> tuple[dict[str, Split], tuple[str, ...], Names]:
    """The val and test rows of a run without faces, the names of the columns of votes, and the groups of test rows."""
    table = pd.read_csv(BytesIO(content), dtype=str, keep_default_na=False)
    voted, kinds = ([name for name in table if name.startswith(prefix)] for prefix in ("votes: ", "group: "))
    splits = {}
    for split in SCORED:
        rows = table[table["split"] == split]
        labels = np.array([classes.index(name) for name in rows["actual"]], np.uint8)
        votes = rows[voted].to_numpy(np.uint8) if voted else None
        in_train = (rows["in_train"] == "True").to_numpy()
        splits[split] = Split(np.empty((len(rows), 0, 0), np.uint8), labels, in_train, votes)
    groups = {kind.removeprefix("group: "): rows[kind].to_numpy(str) for kind in kinds}  # of the last split, test
    return splits, tuple(name.removeprefix("votes: ") for name in voted), groups


class OneSeed(Record):
    seed: Count
    val_accuracy: Share
    accuracy: Share  # on test
    accuracy_unseen: Share | None  # on the test images that are not in train
    hardware: str | None = None  # that trained it; as what follows, None where unknown
    versions: dict[str, str] | None = None
    commit: str | None = None  # of the code that trained it
    clean: bool | None = None  # whether the code was that of the commit
    val_accuracy_views: Share | None = None  # by the network's `test_views`
    accuracy_views: Share | None = None  # likewise, on test
    best_epoch: Count | None = None  # from 1
    epochs: Count | None = None  # how many ran


class Seeds(Record):
    """seeds.json."""

    network: str
    profile: str
    split: str
    seeds: list[OneSeed]
    mean: Share  # mean of the networks' accuracies on test
    lowest: Share
    highest: Share
    mean_views: Share | None = None  # of `accuracy_views`
    vote: Measured  # the soft vote of the networks, with equal weights


def pack(content: bytes) -> bytes:
    """`content` compressed, without the time: the same bytes each time."""
    return gzip.compress(content, mtime=0)


def read_packed(path: Path) -> bytes:
    """What `pack` has compressed; InputError if the file is damaged."""
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InputError(f"{path}: damaged; `git checkout` it") from None


def name_seed(network: str, seed: int) -> str:
    """How the predictions of a further seed are named."""
    return f"{network}-{seed}"


def place_predictions(folder: Path, name: str, ending: str) -> Path:
    """Where a kept run in `folder` has predictions of a network or of a further seed; one of `ENDINGS`."""
    return folder / "predictions" / f"{name}{ending}.gz"


def read_seeds(folder: Path, run: Path) -> Seeds | None:
    """seeds.json in `folder`; None if there is none or if it does not belong to the `run`, a folder with metrics/."""
    path = folder / "seeds.json"
    if not path.exists():
        return None
    try:
        seeds = Seeds.model_validate_json(path.read_bytes())
    except ValidationError:
        raise InputError(f"{path}: not as tools/seeds.py writes it; `git checkout` it, or remove it") from None
    scores = run / "metrics" / f"{seeds.network}.json"
    own = Scores.read(scores, "evaluate").accuracy if scores.exists() else None
    return seeds if seeds.seeds[0].accuracy == own else None


def score_seeds(found: Mapping[int, Said], in_train: NDArray[np.bool_] | None, settings: Evaluate) -> dict[str, Any]:
    """What seeds.json says of accuracies, from {seed: predictions}, the run's own seed first."""
    own, *_ = found

    def judge(rows: Mapping[str, Predictions]) -> Measured:
        return measure(rows["val"], rows["test"], in_train, settings, own)

    listed = []
    for seed, ways in found.items():
        measured, by_views = judge(ways[""]), [average(ways["_views"][split].correct) for split in SCORED]
        one = {"seed": seed, "val_accuracy_views": by_views[0], "accuracy_views": by_views[1]}
        listed.append(one | {key: getattr(measured, key) for key in ("val_accuracy", "accuracy", "accuracy_unseen")})
    accuracies = [one["accuracy"] for one in listed]
    return {
        "seeds": listed,
        "mean": round(float(np.mean(accuracies)), 6),
        "lowest": min(accuracies),
        "highest": max(accuracies),
        "mean_views": round(float(np.mean([one["accuracy_views"] for one in listed])), 6),
        "vote": judge({split: vote([ways[""][split] for ways in found.values()]) for split in SCORED}),
    }
