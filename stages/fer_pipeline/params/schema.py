"""What params.yaml and the files of profiles/ may hold: each section with its keys, types and ranges."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(ge=0, lt=1)]  # a share below 1
Text = Annotated[str, Field(min_length=1)]
SetName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]*$")]
MOST_VIEWS = 10
Width = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A block of params.yaml: no unknown keys, and no conversion ('5' is not taken for 5, nor yes for 1)."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Sample(Section):
    """What `stages/sample.py` draws."""

    train_rows: Annotated[int, Field(ge=70)]
    val_rows: Annotated[int, Field(ge=7)]
    test_rows: Annotated[int, Field(ge=7)]
    weak_share: Share


def refuse_null(votes: Any) -> Any:
    if votes is None:
        raise ValueError("name a file, not null: data/no_votes.csv for data without votes")
    return votes


ClassName = Annotated[Text, BeforeValidator(lambda name: str(name) if type(name) is int else name)]  # 3 is '3'


class Prepare(Section):
    """How `stages/prepare.py` divides and cleans the rows."""

    split: Literal["official", "paper"]
    votes: Annotated[Text, BeforeValidator(refuse_null)]
    drop_blank: bool
    drop_leaks: bool
    labels: Literal["emotion", "votes"]
    classes: Literal["auto"] | list[ClassName] | dict[ClassName, list[ClassName]] | None
    size: Annotated[int, Field(ge=36, le=224)] | None
    colour: bool
    crop: bool


class Compute(Section):
    """The hardware that trains the networks, and how it computes."""

    precision: Literal["auto", "float32", "bfloat16", "float16"]
    threads: Count | Literal["auto"]
    deterministic: bool
    compile: bool
    devices: Count | Literal["auto"]


class Views(Section):
    """Views of a test face whose answers are averaged: each turn at each scale, and mirrored as well."""

    turns: Annotated[list[Annotated[float, Field(ge=-45, le=45)]], Field(min_length=1)]  # degrees
    scales: Annotated[list[Annotated[float, Field(ge=0.5, le=2)]], Field(min_length=1)]
    mirrored: bool

    @model_validator(mode="after")
    def check(self) -> Self:
        if (count := len(self.turns) * len(self.scales) * (1 + self.mirrored)) > MOST_VIEWS:
            raise ValueError(f"have at most {MOST_VIEWS} views, not {count}")
        return self


TestViews = Annotated[
    Annotated[Literal["centre", "ten_crop"], Tag("name")] | Annotated[Views, Tag("list")],
    Discriminator(lambda setting: "list" if isinstance(setting, Views | dict) else "name"),
]


class Evaluate(Section):
    """How `stages/evaluate.py` judges a network."""

    threshold: Share
    confident: Share
    bins: Count
    bootstrap: Annotated[int, Field(ge=100)]


class Stress(Section):
    """How `stages/stress.py` judges a network."""

    rows: Count | None


class KerasAugment(Section):
    """How Keras' training faces are varied, each drawn anew in each epoch; 0 is off."""

    flip: bool
    shift: Part
    rotation: Annotated[float, Field(ge=0, le=180)]
    scale: Part


class Training(Section):
    """What a network's training (Table 3) has in both frameworks."""

    width: Width
    dropout: Part
    labels: Literal["emotion", "emotion+votes"]
    votes_weight: Annotated[float, Field(ge=0)]
    weight_decay: Share
    warm_up: Part
    label_smoothing: Part
    ema: Part
    batch_size: Count
    epochs: Count


class KerasTraining(Training):
    """A network in Keras (Table 2) and its training (Table 3)."""

    padding: Literal["same", "valid"]
    dropout_dense: Part
    norm_momentum: Part
    augment: KerasAugment
    optimizer: Literal["adam"] = "adam"  # fixed: no profile need name it
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    schedule: Literal["constant", "one_cycle"]


class Photo(Section):
    """What photos go through, done to training faces; each kind to a share of them."""

    light: Share
    detail: Share
    gamma: Annotated[float, Field(ge=0, le=4)]
    gradient: Share
    blur: Annotated[float, Field(ge=0, le=8)]
    pixels: Annotated[int, Field(ge=8, le=48)]
    noise: Part


class Augment(Section):
    """How PyTorch's training faces are varied, each drawn anew in each epoch; 0 is off."""

    crop: Literal["random", "centre"]
    flip: Share
    rotation: Annotated[float, Field(ge=0, le=180)]
    scale: Part
    shift: Part
    contrast: Share
    brightness: Share
    erase: Share
    erase_size: Annotated[int, Field(ge=1, le=48)]
    mixup: Annotated[float, Field(ge=0, le=10)]
    photo: Photo


class PyTorchTraining(Training):
    """A network in PyTorch (sections 3.2 and 3.3) and its training (Table 3)."""

    weights: Text
    normalisation: Literal["none", "train", "imagenet"]
    augment: Augment
    freeze_epochs: Index
    optimizer: Literal["sgd", "adamw"]
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    momentum: Part
    nesterov: bool
    beta2: Part
    clip: Annotated[float, Field(ge=0)]
    clip_by: Literal["value", "norm"]
    schedule: Literal["step", "one_cycle", "cosine", "plateau"]
    decay_start: Index
    decay_every: Count
    decay_rate: Annotated[float, Field(gt=0, le=1)]
    class_weights: Literal["none", "balanced"]
    small_epochs: Index
    patience: Count
    min_delta: Share
    val_crops: Literal[1, 10]

    @model_validator(mode="after")
    def check(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("have a momentum above 0 where nesterov is true")
        if max(self.freeze_epochs, self.small_epochs) >= self.epochs:
            few = f"freeze_epochs ({self.freeze_epochs}) and small_epochs ({self.small_epochs})"
            raise ValueError(f"have {few} below epochs ({self.epochs})")
        return self


TRAININGS: dict[str, type[KerasTraining | PyTorchTraining]] = {".keras": KerasTraining, ".safetensors": PyTorchTraining}
"""The section of a network, by the ending of its model's file."""

RESERVED = {
    *("actual", "confidence", "emotion", "index", "label", "same"),  # columns of plots/compare/*.csv
    *("compare", "data", "ensemble", "export", "other"),  # files of metrics/ and plots/, and these:
    *("sample", "stress", "summary", "timing", "train"),
    *("keras", "load", "network", "precision", "pytorch"),  # of stages/fer_pipeline/networks/
}
"""Names that a network cannot have, as they name something beside it."""


def refuse_reserved(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"not be {name!r}, which names something else")
    return name


NetworkName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$"), AfterValidator(refuse_reserved)]
ModelFile = Annotated[str, Field(pattern=r"^models/[^/]+\.(keras|safetensors)$")]


class Params(Section):
    """The whole of params.yaml; each key is explained there."""

    profile: Text
    dataset: Text
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    networks: Annotated[dict[NetworkName, ModelFile], Field(min_length=1)]
    sample: Sample
    prepare: Prepare
    other_sets: dict[SetName, Text]
    test_views: dict[NetworkName, TestViews]
    compute: Compute
    evaluate: Evaluate
    stress: Stress

    @model_validator(mode="after")
    def check(self) -> Self:
        for name, file in self.networks.items():
            if name not in self.test_views:
                raise ValueError(f"have test_views.{name}, as networks lists {name}")
            if file.endswith(".keras") and self.test_views[name] == "ten_crop":
                raise ValueError(f"have `centre` or a list in test_views.{name}: a Keras network sees the whole face")
        return self
