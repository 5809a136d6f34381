"""Write plots/dvc.yaml, which says what `dvc plots show` draws: DVC has no loop over the networks there.

make plots              # writes it, then shows the plots
"""

from collections.abc import Mapping
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

import checkout
from fer_pipeline.core.files import ROOT, write_files
from fer_pipeline.networks.network import Network, find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.report.evidence import list_pictures
from fer_pipeline.running.stage import catch

OUTPUT = ROOT / "plots" / "dvc.yaml"
HEAD = "# What `dvc plots show` draws, written by tools/list_plots.py from the networks in params.yaml.\n"
COVERAGE, CONFIDENCE = "share of the test images kept, the most confident first", "mean confidence of the bin"
LOSS = "loss (train: as minimised, val: cross-entropy)"
CURVES: dict[str, tuple[str, str, str, str | list[str], str]] = {
    "Accuracy while training": ("epoch", "epoch", "history", ["train_accuracy", "val_accuracy"], "accuracy"),
    "Loss while training": ("epoch", "epoch", "history", ["train_loss", "val_loss"], LOSS),
    "Accuracy by coverage on test": ("coverage", COVERAGE, "test/risk_coverage", "accuracy", "accuracy on these"),
    "Reliability diagram on test": ("confidence", CONFIDENCE, "test/calibration", "accuracy", "accuracy of the bin"),
}
"""Plots with a line per network: x, its label, the CSV in plots/<network>/, y and its label."""


def list_plots(networks: Mapping[str, Network]) -> list[Any]:
    """Confusion matrices, curves and then the PNGs, as DVC sorts its page; paths are relative to plots/."""
    plots: list[Any] = []
    for name, network in networks.items():
        matrix = {
            "template": "confusion_matrix",
            "title": f"{network.TITLE}: test images by actual and predicted class",
            "x": "predicted",
            "x_label": "predicted class",
            "y": {f"{name}/test/confusion.csv": "actual"},
            "y_label": "actual class",
        }
        plots.append({f"Confusion matrix of {network.TITLE}": matrix})
    for title, (x, x_label, file, y, y_label) in CURVES.items():
        template = "reliability" if "calibration" in file else "curves"
        files = {f"{name}/{file}.csv": y for name in networks}
        plots.append({title: {"template": template, "x": x, "x_label": x_label, "y": files, "y_label": y_label}})
    return [*plots, *(path.removeprefix("plots/") for path in list_pictures(networks))]


def main() -> None:
    yaml, text = YAML(), StringIO()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 120
    yaml.dump({"plots": list_plots(find_networks(read_params().networks))}, text)
    write_files({OUTPUT: (HEAD + text.getvalue()).encode()})


if __name__ == "__main__":
    catch(main)
