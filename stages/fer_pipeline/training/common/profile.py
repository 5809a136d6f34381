"""How each network is built and trained: profiles/paper.yaml, and what the active profile changes of it."""

import contextlib
import functools
import operator
from pathlib import Path
from typing import Any

from fer_pipeline.core.errors import InputError
from fer_pipeline.params.read import PROFILES, read_params, read_yaml, validate
from fer_pipeline.params.schema import TRAININGS, KerasTraining, Params, PyTorchTraining
from fer_pipeline.running.stage import run

BASE = "paper"  # the profile that is whole


def lay_over(base: Any, changes: Any) -> Any:
    """`changes`; where both are blocks, `base` with the values of `changes`, key by key."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    return base | {key: lay_over(base.get(key), value) for key, value in changes.items()}


def read_training(
    params: Params, name: str, profile: str | None = None, folder: Path = PROFILES
) -> KerasTraining | PyTorchTraining:
    """The settings of the network `name` under a profile, by default the active one.

    They are its block in paper.yaml with what its block in `<profile>.yaml` changes. A network without a block in
    paper.yaml has a whole one in the profile. InputError if there is no block, or it does not fit the schema.
    """
    profile = profile or params.profile
    files = [read_yaml(folder / f"{one}.yaml") for one in (BASE, profile)]
    base, changes = (file.get(name) if isinstance(file, dict) else None for file in files)
    if not isinstance(changes, dict):
        what = "a whole one, like those in" if base is None else "one, {} where nothing differs from"
        raise InputError(f"profiles/{profile}.yaml: {name}: no block of settings; give it {what} {BASE}.yaml")

    def locate(key: list[str]) -> str:
        file = profile if base is None else BASE
        with contextlib.suppress(KeyError, TypeError):  # of a key that the profile does not state
            functools.reduce(operator.getitem, key, changes)
            file = profile
        return f"profiles/{file}.yaml: {'.'.join([name, *key])}"

    schema = next(section for ending, section in TRAININGS.items() if params.networks[name].endswith(ending))
    settings = validate(lay_over(base, changes), schema, locate)
    weights = getattr(settings, "weights", "none")
    if Path(weights).resolve() == Path(params.networks[name]).resolve():
        where = f"{locate(['weights'])}: DVC removes {weights} before train_{name} writes it"
        raise InputError(f"{where}; name a copy of it (`dvc checkout {weights}` brings it back)")
    return settings


def read_trainings(params: Params) -> dict[str, KerasTraining | PyTorchTraining]:
    """{network: its settings under the active profile}, in the order of params.yaml; errors as in `read_training`."""
    return {name: read_training(params, name) for name in params.networks}


if __name__ == "__main__":  # `make repro` has all parameters validated before any stage runs
    run(lambda: read_trainings(read_params()))
