"""Put all evidence on one page, in the paper's order, and then what comes after it: use.

Reads   metrics/ (data, train/, one per network, compare, export, other/) and plots/ (pictures and risk_coverage.csv).
Writes  plots/report.html: one file with its pictures in it, without scripts; ours beside the paper's.
Alone   python stages/report.py --metrics metrics --plots plots --out plots/report.html

Every number and every sentence with a number follows from these files, and each number of a table names its own. The
same files give the same page, on every machine with the same libraries: it names their versions. Times are not on it;
`make times` writes them to plots/timing.html.
"""

import argparse

from fer_pipeline.core.files import write_files
from fer_pipeline.networks.network import find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.report.page import list_facts, make_page
from fer_pipeline.report.read import read_evidence
from fer_pipeline.running.stage import run
from fer_pipeline.training.common.profile import read_trainings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--metrics", required=True, help="folder of data.json, train/, a JSON per network, compare.json, export.json"
    )
    parser.add_argument("--plots", required=True, help="folder with data/, a folder per network, compare/")
    parser.add_argument("--out", required=True, help="HTML file to write")
    args = parser.parse_args()
    params = read_params()
    evidence = read_evidence(args.metrics, args.plots, find_networks(params.networks), params.other_sets)
    facts = list_facts(evidence, params.seed, params.profile, params.dataset)
    page = make_page(evidence, facts, params.profile, read_trainings(params), params.evaluate.confident).encode()
    write_files({args.out: page})
    print(f"{len(evidence.pictures)} pictures, {len(page) / 1e6:.1f} MB -> {args.out}")


if __name__ == "__main__":
    run(main)
