"""How each network is built and trained: profiles/paper.yaml, and what the active profile changes of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer_pipeline.core.errors import InputError
from fer_pipeline.params.read import PROFILES, read_params, read_yaml, validate
from fer_pipeline.params.schema import TRAININGS, KerasTraining, Params, PyTorchTraining
from fer_pipeline.running.stage import run

BASE = "paper"
"""The profile that is whole."""


def lay_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `changes`, key by key, in nested blocks too."""
    return {**base, **{key: lay_over(base[key], value) if is_block(base.get(key), value) else value
                       for key, value in changes.items()}}  # fmt: skip


def is_block(*values: Any) -> bool:
    """Whether all values are mappings."""
    return all(isinstance(value, Mapping) for value in values)


def read_training(
    params: Params, name: str, profile: str | None = None, folder: Path = PROFILES
) -> KerasTraining | PyTorchTraining:
    """The settings of the network `name` under a profile, by default the active one.

    They are its block in paper.yaml with what its block in `<profile>.yaml` changes. A network without a block in
    paper.yaml has a whole one in the profile.

    Raises:
        InputError: the profile has no block for this network, or holds an unknown key, a wrong type or a value out of
            range.
    """
    profile = profile or params.profile
    base, changes = (read_yaml(folder / f"{one}.yaml") for one in (BASE, profile))
    if not is_block(base, changes) or not is_block(base.get(name, {}), changes.get(name)):
        raise InputError(
            f"profiles/{profile}.yaml: {name}: no block of settings; give it one, {{}} where nothing differs "
            f"from {BASE}.yaml"
        )

    def locate(key: list[str]) -> str:
        file = profile if states(changes[name], key) or name not in base else BASE
        return f"profiles/{file}.yaml: {'.'.join([name, *key])}"

    schema = next(section for ending, section in TRAININGS.items() if params.networks[name].endswith(ending))
    return validate(lay_over(base.get(name, {}), changes[name]), schema, locate)


def states(block: Any, key: list[str]) -> bool:
    """Whether a block of a profile states the dotted `key` itself."""
    for part in key:
        if not isinstance(block, Mapping) or part not in block:
            return False
        block = block[part]
    return True


def read_trainings(params: Params) -> dict[str, KerasTraining | PyTorchTraining]:
    """{network: its settings under the active profile}, in the order of params.yaml.

    Raises:
        InputError: as `read_training`.
    """
    return {name: read_training(params, name) for name in params.networks}


if __name__ == "__main__":  # `make repro` has all parameters validated before any stage runs
    run(lambda: read_trainings(read_params()))
