"""What made the networks of a run: by their own files, and by metrics/timing.json where that is about these files."""

from collections.abc import Mapping
from pathlib import Path

import checkout
from fer_pipeline.core.record import Record
from fer_pipeline.networks.network import read_origin
from fer_pipeline.report.show import listing
from fer_pipeline.training.common.run import TrainingTimes


class Origin(Record):
    """run.json: networks.<name>. The first four are in the file of every network that is not older than they are."""

    hardware: str | None = None  # name of the processor or of the GPU
    device: str | None = None
    seed: int | None = None
    versions: dict[str, str] | None = None  # of Python and of what trained it
    start: str | None = None  # as this and the next two in `TrainingTimes`
    commit: str | None = None
    clean: bool | None = None
    minutes: float | None = None  # of all epochs
    predictions: str | None = None  # of val and test, in the run's folder; None if not kept: nobody can score it again

    @property
    def code(self) -> str:
        """The commit, in words."""
        commit = f"commit {self.commit[:10]}" if self.commit else "an unknown commit"
        return commit + " and changes that were not committed" * (self.clean is False)

    def describe(self) -> str:
        """Hardware, minutes, versions and commit, in words."""
        versions = [" ".join(pair) for pair in (self.versions or {"versions": "unknown"}).items()]
        took = "" if self.minutes is None else f" in {self.minutes:.0f} minutes"
        return ", ".join([f"{self.hardware or 'hardware unknown'}{took}", *versions, self.code])


def find_origin(model: str | Path, times: TrainingTimes | None) -> Origin:
    """What made the network in the file `model`; `times` are those of its training, None where unknown."""
    told = times.model_dump(include={"start", "commit", "clean"}) if times else {}
    return Origin(**read_origin(model), **told, minutes=round(times.seconds / 60, 1) if times else None)


def find_differences(origins: Mapping[str, Origin]) -> list[str]:
    """What differs between the trainings of a run, in words: hardware, versions, commits, some in a changed tree.

    A network from a cache or a remote has no known commit, which is no difference.
    """
    values: dict[str, dict[str, list[str]]] = {}
    for name, one in origins.items():
        facts = {"hardware": one.hardware or "unknown", **(one.versions or {"python": "unknown"})}
        code = {"commit": one.commit, "tree": {True: "clean", False: "changed", None: None}[one.clean]}
        for key, value in (facts | {key: value for key, value in code.items() if value}).items():
            values.setdefault(key, {}).setdefault(value, []).append(name)
    return [
        f"{key} {', '.join(f'{value} ({listing(names)})' for value, names in found.items())}"
        for key, found in values.items()
        if len(found) > 1
    ]
