"""Read params.yaml: the whole file is validated, and a stage gets the keys that it declares."""

import re
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT
from fer_pipeline.params.schema import Params, make_schema
from fer_pipeline.running.stage import run

PATH = ROOT / "params.yaml"


def read_params(*keys: str, path: str | Path = PATH) -> list[Any]:
    """The values of `keys`, in order; the whole file is validated first.

    A key is written as in dvc.yaml: 'seed', 'prepare', 'profiles.${profile}.<network>'. A block is returned as an
    object with one attribute per key. A stage reads exactly the keys that dvc.yaml declares for it.

    Raises:
        InputError: the file is missing, is not YAML, or holds an unknown key, a wrong type or a value out of range.
    """
    try:
        content = YAML(typ="safe").load(Path(path))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; restore it with `git checkout params.yaml`") from None
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"params.yaml: {where}not valid YAML ({getattr(error, 'problem', error)})") from None
    schema = make_schema(content)
    try:
        params = schema.model_validate(content)
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for problem in error.errors():
            key, found, allowed = describe(problem, schema)
            problems.setdefault(f"{key}: {found}", []).append(allowed)
        lines = [f"{problem}{', or '.join(allowed)}" for problem, allowed in problems.items()]
        raise InputError("\n  ".join(lines)) from None
    return [attrgetter(key.replace("${profile}", params.profile))(params) for key in keys]


def describe(problem: ErrorDetails, schema: type[Params]) -> tuple[str, str, str]:
    """One of pydantic's errors in three parts: the key, what was found, and what is allowed."""
    section: Any = schema
    known: list[str] = []
    for part in problem["loc"]:  # what pydantic adds below a key (the members of a union) is left out
        if not hasattr(section, "model_fields"):
            break
        known.append(str(part))
        field = section.model_fields.get(part)
        parent, section = section, field and field.annotation
    key = "params.yaml: " + (".".join(known) or "the file")
    if problem["type"] == "extra_forbidden":
        return key, "unknown key; allowed here: ", ", ".join(parent.model_fields)
    if problem["type"] == "missing":
        return key, "missing; ", "`git diff params.yaml` shows what it was"
    allowed = re.sub("^((Input|String|Keys|Dictionary) should|Value error,) ", "", problem["msg"])
    if problem["type"] == "value_error":
        return key, "it should ", allowed
    return key, f"found {problem['input']!r:.100}; it should ", allowed


if __name__ == "__main__":
    run(read_params)
