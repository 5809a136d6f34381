"""The page as HTML: which sections it has, and what its templates are filled with."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from fer_pipeline.metrics import paper
from fer_pipeline.metrics.labels import LEAST, SURE
from fer_pipeline.report.findings import FINDINGS
from fer_pipeline.report.read import Evidence
from fer_pipeline.report.show import FILTERS
from fer_pipeline.report.tables import Tables

LIBRARIES = ("tensorflow", "torch", "torchvision", "lightning", "scikit-learn", "numpy", "dvc")
HERE = Path(__file__).parent


class Chapter(NamedTuple):
    """A part of a page."""

    id: str
    title: str
    template: str
    """The file that holds its text, figures and tables."""


class RunFacts(NamedTuple):
    """What params.yaml says of the run."""

    seed: int
    profile: str
    dataset: str
    settings: Mapping[str, Any]
    """{network: its section of the profile}."""
    confident: float
    """The confidence from which a wrong prediction counts as a confident one."""


@cache
def load_template(name: str, *folders: Path) -> jinja2.Template:
    """A template of this room or of `folders`, with the filters and functions of the report."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([HERE, *folders]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    environment.globals |= {function.__name__: function for function in FINDINGS}
    return environment.get_template(name)


def render(template: str, *folders: Path, **context: Any) -> str:
    """A page as HTML without scripts: `load_template`, filled with `context`, whose text is escaped."""
    return load_template(template, *folders).render(context).lstrip()


def make_page(evidence: Evidence, run: RunFacts) -> str:
    """The report."""
    sections = [
        Chapter("data", "Data", "data.html.j2"),
        *([Chapter("labels", "What the labels are worth", "labels.html.j2")] if evidence.compare.labels else []),
        Chapter("training", "Training", "training.html.j2"),
        *(Chapter(name, title, "network.html.j2") for name, title in evidence.titles.items()),
        Chapter("comparison", "Comparison", "comparison.html.j2"),
        *([Chapter("others", "Other data sets", "others.html.j2")] if evidence.other else []),
        Chapter("use", "Use", "use.html.j2"),
    ]
    return render(
        "page.html.j2",
        **evidence._asdict(),
        titles=evidence.titles,
        run=run,
        sections=sections,
        tables=Tables(evidence, run.profile, run.settings),
        paper=paper,
        printed=paper.PRINTED,
        devices=dict.fromkeys(f"{train.device}, {train.precision}" for train in evidence.train.values()),
        libraries=[f"{library} {version(library)}" for library in LIBRARIES],
        least=LEAST,
        sure=SURE,
    )
