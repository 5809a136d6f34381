"""Write into dvc.yaml what follows from the code and from the list of networks in params.yaml.

    make deps               # rewrites dvc.yaml; with --check only says whether it would change

It lists for each stage the files of stages/fer that its script imports, directly, through each other or by the name of
a network; for the stages that read all networks, the files of each; and the sections `metrics`, `plots` and
`artifacts`, where DVC has no loop. All else in dvc.yaml is written by hand, and stays as it is.
"""

import argparse
import ast
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

import checkout  # noqa: F401
from fer_pipeline.core.errors import InputError
from fer_pipeline.networks.network import Network, find_networks
from fer_pipeline.report.read import COMPARED, OF_DATA, list_figures
from fer_pipeline.running.stage import catch

ROOT = Path(__file__).parents[1]

NOT_DEPS = {
    "stages/fer_pipeline/params/schema.py",  # refuses values of params.yaml and changes none
}
NOT_FOR_STAGES = {
    (
        "stages/fer_pipeline/training/pytorch/data.py",
        "stages/fer_pipeline/raw/source.py",
    ),  # FER2013 of raw data: stages read faces.h5
}
"""An importer and a file that it imports, but not in a stage."""
TEMPLATES = {"stages/report.py": "stages/fer_pipeline/report/page.html.j2"}
"""Files that a script reads beside data and code."""
WRITTEN = ("metrics", "plots", "artifacts")
"""The sections written here."""
DATA_PICTURES = [f"plots/{path}" for path in OF_DATA]
READ_OF_EACH = {
    "compare": ("data/predictions/{name}.csv", "metrics/{name}.json"),
    "measure": ("models/export/{name}.onnx", "models/export/{name}.int8.onnx"),
    "other": ("${{networks.{name}}}",),
    "report": ("metrics/train/{name}.json", "metrics/{name}.json", "plots/{name}/test"),
}
"""Files that a stage reads of each network."""
READ_BESIDE = {
    "compare": ["data/prepared/faces.h5"],
    "measure": ["data/prepared/faces.h5"],
    "other": ["${item}", "data/prepared/faces.h5"],
    "report": [
        *("metrics/data.json", "metrics/compare.json", "metrics/export.json", "metrics/other"),
        *DATA_PICTURES,
        "plots/compare",
    ],
}
"""Other data that these stages read."""
CURVES = {
    "Accuracy while training": ("epoch", "epoch", "{name}/history.csv", ["train_accuracy", "val_accuracy"], "accuracy"),
    "Loss while training": ("epoch", "epoch", "{name}/history.csv", ["train_loss", "val_loss"], "loss"),
    "Accuracy by coverage on test": (
        "coverage",
        "share of the test images kept, the most confident first",
        "{name}/test/risk_coverage.csv",
        "accuracy",
        "accuracy on these",
    ),
}
"""Plots with a line per network: title, then x, its label, the file in plots/, y and its label."""


def list_imports(path: str, names: Iterable[str], frameworks: Iterable[str]) -> Iterator[str]:
    """The files of stages/fer that the file `path` imports, at any depth of its code.

    `import_module(f"fer_pipeline.networks.{...}")` imports the files of the networks `names`; where the braces hold a word with
    `framework`, as in `import_module(f"fer_pipeline.training.{framework}.train")`, the files of their `frameworks`.
    """
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        modules: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.JoinedStr):
            pattern = ast.unparse(node)[2:-1]
            choices = frameworks if "framework" in pattern.lower() else names
            modules = [re.sub(r"\{[^}]*\}", choice, pattern) for choice in choices]
        for module in modules:
            file = f"stages/{module.replace('.', '/')}.py"
            if module.startswith("fer.") and (ROOT / file).is_file():
                yield file


def list_code(script: str, names: Iterable[str], networks: dict[str, Network]) -> list[str]:
    """The files of stages/fer that a run of `script` for the networks `names` depends on, sorted."""
    names = list(names)
    frameworks = {networks[name].FRAMEWORK for name in names}
    found: set[str] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        for file in list_imports(path, names, frameworks):
            if file not in found | NOT_DEPS and (path, file) not in NOT_FOR_STAGES:
                found.add(file)
                waiting.append(file)
    return sorted(found)


def list_deps(stage: str, body: dict[str, Any], networks: dict[str, Network], looped: bool) -> list[str]:
    """All deps of a stage: data, then its script, the code that it imports, and templates."""
    found = re.search(r"python (stages/\w+\.py)(?: --name (\S+))?", body["cmd"])
    if not found:
        raise InputError(f"dvc.yaml: {stage}: cmd names no script of stages/; begin it with `python stages/...`")
    script, name = found.groups()
    data = READ_BESIDE.get(stage) or [dep for dep in body.get("deps", []) if not dep.startswith("stages/")]
    data = data + [pattern.format(name=name) for pattern in READ_OF_EACH.get(stage, ()) for name in networks]
    code = list_code(script, [name] if name and not looped else networks, networks)
    if looped:  # one list serves all networks: the file of one alone, but what any of them imports
        own = {f"stages/fer_pipeline/networks/{name}.py" for name in networks}
        code = ["stages/fer_pipeline/networks/${key}.py", *(file for file in code if file not in own)]
    return [*data, script, *sorted(code), *([TEMPLATES[script]] if script in TEMPLATES else [])]


def list_plots(networks: dict[str, Network]) -> list[Any]:
    """The section `plots`: confusion matrices, curves, and then the PNGs, as DVC sorts its page."""
    plots: list[Any] = []
    for name, network in networks.items():
        plots.append(
            {
                f"Confusion matrix of {network.TITLE}": {
                    "template": "confusion_matrix",
                    "title": quote(f"{network.TITLE}: test images by actual and predicted class"),
                    "x": "predicted",
                    "x_label": "predicted class",
                    "y": {f"plots/{name}/test/confusion.csv": "actual"},
                    "y_label": "actual class",
                }
            }
        )
    for title, (x, x_label, file, y, y_label) in CURVES.items():
        files = {f"plots/{file.format(name=name)}": flow(y) if isinstance(y, list) else y for name in networks}
        plots.append(
            {
                title: {
                    "template": "curves",
                    "x": x,
                    "x_label": x_label,
                    "y": files,
                    "y_label": y_label,
                }
            }
        )
    plots.append(
        {
            "Reliability diagram on test": {
                "template": "reliability",
                "x": "confidence",
                "x_label": "mean confidence of the bin",
                "y": {f"plots/{name}/test/calibration.csv": "accuracy" for name in networks},
                "y_label": "accuracy of the bin",
            }
        }
    )
    plots += ["plots/sample.png", *DATA_PICTURES]
    for name, network in networks.items():
        plots += [f"plots/{name}/test/{file}.png" for file in list_figures(network)]
    return plots + [f"plots/compare/{file}.png" for file in COMPARED]


def list_artifacts(networks: dict[str, Network], models: dict[str, str]) -> dict[str, Any]:
    """The section `artifacts`: each model and its exports, by names that `dvc artifacts get` takes."""
    artifacts = {}
    for name, network in networks.items():
        framework = {"keras": "Keras", "pytorch": "PyTorch"}[network.FRAMEWORK]
        for key, path, desc, label in (
            (name, models[name], f"{network.TITLE}, trained ({framework})", network.FRAMEWORK),
            (f"{name}-onnx", f"models/export/{name}.onnx", f"{network.TITLE} as ONNX, float32", "onnx"),
            (f"{name}-onnx-int8", f"models/export/{name}.int8.onnx", f"{network.TITLE} as ONNX, int8", "onnx"),
        ):
            artifacts[key.replace("_", "-")] = {
                "path": path,
                "type": "model",
                "desc": desc,
                "labels": flow(["facial-expression-recognition", label]),
            }
    return artifacts


def quote(text: str) -> str:
    """`text` in double quotes, which YAML requires where it holds a colon."""
    return DoubleQuotedScalarString(text)


def flow(values: list[str]) -> CommentedSeq:
    """A list on one line."""
    sequence = CommentedSeq(values)
    sequence.fa.set_flow_style()
    return sequence


def check_sections(text: str, networks: Iterable[str]) -> None:
    """Refuse a dvc.yaml that `write_pipeline` would lose something of, or in which a network is not trained."""
    try:
        pipeline = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise InputError(f"dvc.yaml: no YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(pipeline, dict) or not isinstance(pipeline.get("stages"), dict):
        raise InputError("dvc.yaml: has no stages; get it back with `git checkout dvc.yaml`")
    sections = list(pipeline)
    behind = [name for name in sections[sections.index("stages") + 1 :] if name not in WRITTEN]
    if behind:
        raise InputError(f"dvc.yaml: {', '.join(behind)} would be lost behind `stages`; put it before")
    for name in networks:
        if f"train_{name}" not in pipeline["stages"]:
            raise InputError(f"dvc.yaml: no stage train_{name}, a network of params.yaml; copy that of another network")


def write_pipeline(text: str, params: dict[str, Any]) -> str:
    """The text of dvc.yaml with all that follows from the code and from `params` (params.yaml) brought up to date.

    Raises:
        InputError: a network has no stage that trains it, or dvc.yaml is not as described above.
    """
    models = dict(params["networks"])
    networks = find_networks(models)
    check_sections(text, networks)
    text, _, _ = text.partition("\n# From here on")
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 120
    pipeline = yaml.load(text)
    for stage, entry in pipeline["stages"].items():
        body = entry.get("do", entry)
        body["deps"] = list_deps(stage, body, networks, entry.get("foreach") == "${networks}")
    written = StringIO()
    yaml.dump(CommentedMap({"stages": pipeline["stages"]}), written)
    head = text[: text.index("stages:\n")]
    rest = {
        "metrics": [f"metrics/summary/{name}.json" for name in chain(networks, ["ensemble"])],
        "plots": list_plots(networks),
        "artifacts": list_artifacts(networks, models),
    }
    tail = StringIO()
    yaml.dump(rest, tail)
    body = re.sub(r"\n\n+(?=\S)", "\n\n", written.getvalue().rstrip())
    listed = re.sub(r"\n(?=(plots|artifacts):)", "\n\n", tail.getvalue())
    return f"{head}{body}\n\n# From here on, and all deps above: written by `make deps`.\n{listed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if dvc.yaml would change")
    args = parser.parse_args()
    path = ROOT / "dvc.yaml"
    text = path.read_text(encoding="utf-8")
    written = write_pipeline(text, YAML(typ="safe").load(ROOT / "params.yaml"))
    if args.check and written != text:
        raise InputError("dvc.yaml: out of date with the code or params.yaml; run `make deps`")
    if not args.check:
        path.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    catch(main)
