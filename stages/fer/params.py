"""params.yaml, read in one place: validated as a whole, handed out by the keys that a stage declares."""

import re
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from fer.stage import InputError, run

PATH = Path(__file__).parents[2] / "params.yaml"
SAMPLE = "data/raw/sample.csv"
"""The embedded data set of drawn faces."""

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A block of params.yaml: no unknown keys, and no guessing ('5' is no 5, yes is no 1)."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Sample(Section):
    """What `stages/sample.py` draws."""

    train_rows: Annotated[int, Field(ge=70)]
    val_rows: Annotated[int, Field(ge=7)]
    test_rows: Annotated[int, Field(ge=7)]
    weak_share: Share


class Prepare(Section):
    """How `stages/prepare.py` divides and cleans the rows."""

    split: Literal["official", "paper"]
    drop_blank: bool
    drop_leaks: bool


class Compute(Section):
    """On what the networks are trained."""

    precision: Literal["auto", "float32", "bfloat16"]
    deterministic: bool
    compile: bool
    devices: Count | Literal["auto"]
    num_nodes: Count
    strategy: Annotated[str, Field(min_length=1)]


class Evaluate(Section):
    """How `stages/evaluate.py` judges a network."""

    threshold: Share
    confident: Share
    bins: Count
    bootstrap: Annotated[int, Field(ge=100)]


class Baseline(Section):
    """The Keras network of Table 2 and its training (Table 3)."""

    width: Annotated[float, Field(gt=0, le=1)]
    padding: Literal["same", "valid"]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    dropout_dense: Annotated[float, Field(ge=0, lt=1)]
    norm_momentum: Annotated[float, Field(ge=0, lt=1)]
    shift: Annotated[float, Field(ge=0, lt=1)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    schedule: Literal["constant", "one_cycle"]
    batch_size: Count
    epochs: Count


class Transfer(Section):
    """VGG19 or ResNet18 in PyTorch (sections 3.2 and 3.3) and the training of both (Table 3)."""

    width: Annotated[float, Field(gt=0, le=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    weights: Annotated[str, Field(min_length=1)]
    freeze_epochs: Annotated[int, Field(ge=0)]
    optimizer: Literal["sgd", "adamw"]
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    clip: Annotated[float, Field(gt=0)]
    schedule: Literal["step", "one_cycle"]
    decay_start: Annotated[int, Field(ge=0)]
    decay_every: Count
    decay_rate: Annotated[float, Field(gt=0, le=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    class_weights: Literal["none", "balanced"]
    batch_size: Count
    epochs: Count
    small_epochs: Annotated[int, Field(ge=0)]
    patience: Count
    min_delta: Share
    val_crops: Literal[1, 10]

    @model_validator(mode="after")
    def check_epochs(self):
        if max(self.freeze_epochs, self.small_epochs) >= self.epochs:
            raise ValueError(
                f"have freeze_epochs ({self.freeze_epochs}) and small_epochs ({self.small_epochs}) below epochs "
                f"({self.epochs})"
            )
        return self


class Profile(Section):
    """One level of effort: how each network is trained."""

    baseline: Baseline
    vgg19: Transfer
    resnet18: Transfer


class Profiles(Section):
    """The three levels of effort."""

    sample: Profile
    cpu: Profile
    paper: Profile


class Params(Section):
    """The whole of params.yaml; each key is explained there."""

    profile: Literal["sample", "cpu", "paper"]
    dataset: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    sample: Sample
    prepare: Prepare
    compute: Compute
    evaluate: Evaluate
    profiles: Profiles


def read_params(*keys, path=PATH):
    """The values of `keys`, in order; the whole file is validated first.

    A key is written as in dvc.yaml: 'seed', 'prepare', 'profiles.${profile}.vgg19'. A block comes as an object with
    one attribute per key. Only what is named here reaches a stage, and a stage names what dvc.yaml declares for it.

    Raises:
        InputError: the file is missing, is no YAML, or holds an unknown key, a wrong type or a value out of range.
    """
    try:
        content = YAML(typ="safe").load(Path(path))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; restore it with `git checkout params.yaml`") from None
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"params.yaml: {where}not valid YAML ({getattr(error, 'problem', error)})") from None
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        problems = {}
        for problem in error.errors():
            key, found, allowed = describe(problem)
            problems.setdefault(f"{key}: {found}", []).append(allowed)
        lines = [f"{problem}{', or '.join(allowed)}" for problem, allowed in problems.items()]
        raise InputError("\n  ".join(lines)) from None
    return [attrgetter(key.replace("${profile}", params.profile))(params) for key in keys]


def is_sample(dataset):
    """Whether `dataset` in params.yaml names the embedded sample."""
    return Path(dataset).resolve() == Path(SAMPLE).resolve()


def describe(problem):
    """One of pydantic's errors in three parts: the key, what was found, and what is allowed."""
    section, known = Params, []
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
    allowed = re.sub("^((Input|String|Keys) should|Value error,) ", "", problem["msg"])
    if problem["type"] == "value_error":
        return key, "it should ", allowed
    return key, f"found {problem['input']!r:.100}; it should ", allowed


if __name__ == "__main__":
    run(read_params)
