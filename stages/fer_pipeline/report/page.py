"""The page as HTML: its sections, and what their templates, which hold all tables and sentences, are filled with."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import SPLITS
from fer_pipeline.faces.fer2013 import NAME, VOTES_NAME
from fer_pipeline.metrics import annotators, paper
from fer_pipeline.metrics.comparison import has_papers_counts
from fer_pipeline.networks.network import Network
from fer_pipeline.params.schema import Params
from fer_pipeline.report.evidence import EMPTY, Cell, Files, list_classes, spread
from fer_pipeline.report.show import FILTERS, series
from fer_pipeline.sample.paths import is_sample
from fer_pipeline.stress.damages import DAMAGES, HELD_OUT


@cache
def load_template(name: str, *folders: Path) -> jinja2.Template:
    """A template of this room or of `folders`, with the filters and functions of the report."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent, *folders]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.do"],
    )
    environment.filters |= FILTERS
    environment.globals |= {"zip": zip, "enumerate": enumerate, "spread": spread, "Cell": Cell, "EMPTY": EMPTY}
    return environment.get_template(name)


def render(template: str, *folders: Path, **context: Any) -> str:
    """A page as HTML without scripts: `load_template`, filled with `context`, whose text is escaped."""
    return load_template(template, *folders).render(context).lstrip()


def make_page(
    files: Files, networks: Mapping[str, Network], params: Params, trainings: Mapping[str, Any], captions: Sequence[str]
) -> str:
    """The report; `files` are from `read_evidence`, `trainings` is {network: its settings}.

    `captions`: '<file>.png: Title. Caption.' of pictures that no template shows.
    """
    settings = f"profiles/paper.yaml, {params.profile}.yaml"
    files = Files(files)
    files[settings] = {name: one.model_dump() for name, one in trainings.items()}
    data = files["metrics/data.json"]
    study, drawn = data.name == NAME, is_sample(params.dataset)
    printed = paper.PRINTED if study else {}  # the paper's settings, and the numbers of its tables and figures
    same_rows = study and not drawn and has_papers_counts([data.rows[split]["total"] for split in SPLITS])
    files["paper"] = {**printed, "Table 1": list(paper.LITERATURE)}
    files["literature"] = paper.VOTES_LITERATURE
    compare, titles = files["metrics/compare.json"], {name: network.TITLE for name, network in networks.items()}
    train, scores = ({name: files[f"metrics/{folder}{name}.json"] for name in titles} for folder in ("train/", ""))
    classes = list_classes(data)
    f1 = pd.DataFrame({name: series(one.per_class, "f1") for name, one in scores.items()}).reindex(classes).dropna()
    texts = {name: text for name, _, text in (caption.partition(": ") for caption in captions)}
    pictures = {path: Path(path).name for path in files if path.endswith(".png")}
    for name in texts.keys() - pictures.values():
        raise InputError(f"caption of {name!r}: no such picture in dvc.yaml; write '<file>.png: Title. Caption.' there")
    circular = compare.labels and compare.labels.accuracy == 1  # the labels come from the votes
    worth = "The annotators' votes" if circular else "What the labels are worth"
    sections = [
        ("data", "Data", "data.html.j2"),
        *([("labels", worth, "labels.html.j2")] if compare.labels else []),
        ("training", "Training", "training.html.j2"),
        *((name, title, "network.html.j2") for name, title in titles.items()),
        ("comparison", "Comparison", "comparison.html.j2"),
        *([("others", "Other data sets", "others.html.j2")] if params.other_sets else []),
        ("stress", "How far the answers hold", "stress.html.j2"),
        ("use", "Use", "use.html.j2"),
    ]
    return render(
        "page.html.j2",
        files=files,
        data=data,
        study=study,
        ferplus=data.name in (NAME, VOTES_NAME),
        majority=data.name == VOTES_NAME,
        drawn=drawn,
        beside=printed if same_rows else {},  # the paper's results, which have a place beside those on as many images
        trained=files[settings],
        compare=compare,
        export=files["metrics/export.json"],
        train=train,
        scores=scores,
        stress={name: files[f"metrics/stress/{name}.json"].test for name in titles},
        damages={kind: one.title for kind, one in DAMAGES.items()},
        held_out=HELD_OUT,
        f1=f1,
        paper=paper,
        printed=printed,
        apart=not circular,
        worth=annotators,
        titles=titles,
        params=params,
        settings=settings,
        sections=sections,
        captions={path: texts[name] for path, name in pictures.items() if name in texts},
        classes=dict(zip(classes, classes, strict=True)),
        splits=dict(zip(SPLITS, SPLITS, strict=True)),
    )
