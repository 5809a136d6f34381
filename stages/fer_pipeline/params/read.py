"""Read params.yaml: the whole file is validated, and a stage uses the keys that dvc.yaml declares for it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT
from fer_pipeline.params.schema import Params, Section

PATH = ROOT / "params.yaml"
PROFILES = ROOT / "profiles"

SomeSection = TypeVar("SomeSection", bound=Section)


def read_params(*, path: Path = PATH) -> Params:
    """All of params.yaml; InputError if it is missing, is not YAML, or does not fit the schema."""
    params = validate(read_yaml(path), Params, lambda key: f"{path.name}: {'.'.join(key) or 'the file'}")
    profiles = sorted(file.stem for file in PROFILES.glob("*.yaml"))
    if params.profile not in profiles:
        raise InputError(f"{path.name}: profile: found {params.profile!r}; it should be one of {', '.join(profiles)}")
    return params


def read_yaml(path: Path) -> Any:
    """The content of a file of parameters; InputError if it is missing or is not YAML."""
    try:
        return YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise InputError(f"{path}: not found; restore it with `git checkout {path.name}`") from None
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"{path.name}: {where}not valid YAML ({getattr(error, 'problem', error)})") from None


def validate(content: Any, schema: type[SomeSection], locate: Callable[[list[str]], str]) -> SomeSection:
    """`content` as a section; InputError with a line per problem. `locate` names the place of a key, given in parts."""
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for problem in error.errors():
            key, found, allowed = describe(problem, schema)
            problems.setdefault(f"{locate(key)}: {found}", []).append(allowed)
        lines = [f"{problem}{', or '.join(allowed)}" for problem, allowed in problems.items()]
        raise InputError("\n  ".join(lines)) from None


def describe(problem: ErrorDetails, schema: type[Section]) -> tuple[list[str], str, str]:
    """One of pydantic's errors: the parts of the key, what was found, and what is allowed."""
    section: Any = schema
    key: list[str] = []
    for part in problem["loc"]:  # what pydantic adds below a key (the members of a union) is left out
        if not hasattr(section, "model_fields"):
            break
        key.append(str(part))
        field = section.model_fields.get(part)
        parent, section = section, field and field.annotation
    if problem["type"] == "extra_forbidden":
        return key, "unknown key; allowed here: ", ", ".join(parent.model_fields)
    if problem["type"] == "missing":
        return key, "missing; ", "`git diff` shows what it was"
    allowed = re.sub("^((Input|String|Keys|Dictionary|List) should|Value error,) ", "", problem["msg"])
    if problem["type"] == "value_error":
        return key, "it should ", allowed
    return key, f"found {problem['input']!r:.100}; it should ", allowed
