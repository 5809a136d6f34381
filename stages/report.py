"""Put all evidence on one page: first in the paper's order, then what the paper does not have.

Reads   metrics/ (data, train/, one per network, stress/, compare, export, other/) and plots/ (pictures and
        risk_coverage.csv).
Writes  plots/report.html: one file that holds its pictures and no scripts; ours beside the paper's.
Alone   python stages/report.py --metrics metrics --plots plots --out plots/report.html

Every number comes from these files, and each number in a table names its file and key. The same files give the same
page on every machine with the same libraries, whose versions the page names. Times are not on it: `make times` writes
them to plots/timing.html.
"""

import argparse

from fer_pipeline.core.files import write_files
from fer_pipeline.networks.network import find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.report.evidence import read_evidence
from fer_pipeline.report.page import make_page
from fer_pipeline.running.stage import run
from fer_pipeline.training.common.profile import read_trainings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", required=True, help="folder of the JSON files")
    parser.add_argument("--plots", required=True, help="folder with data/, a folder per network, compare/")
    parser.add_argument("--out", required=True, help="HTML file to write")
    parser.add_argument("--caption", nargs="*", default=[], help="'<file>.png: Title. Caption.' of other pictures")
    args = parser.parse_args()
    params = read_params()
    networks = find_networks(params.networks)
    files = read_evidence(args.metrics, args.plots, networks, params.other_sets)
    page = make_page(files, networks, params, read_trainings(params), args.caption).encode()
    write_files({args.out: page})
    print(f"{sum(path.endswith('.png') for path in files)} pictures, {len(page) / 1e6:.1f} MB -> {args.out}")


if __name__ == "__main__":
    run(main)
