"""Train one network on train, and keep the epoch with the best val accuracy (Table 3).

Reads   data/prepared/faces.h5 (its train and val rows).
Writes  its model, metrics/train/<name>.json, plots/<name>/history.csv; how long it took, into metrics/timing.json.
Alone   python stages/train.py --name vgg19 --data data/prepared/faces.h5 --model models/vgg19.safetensors
            --report metrics/train/vgg19.json --history plots/vgg19/history.csv --timing metrics/timing.json

The network is in fer_pipeline/networks/<name>.py, its training in fer_pipeline/training/<framework>/train.py.
"""

import argparse
from importlib import import_module

from fer_pipeline.networks.network import find_network
from fer_pipeline.params.read import read_params
from fer_pipeline.running.hardware import limit_threads
from fer_pipeline.running.origin import describe_start
from fer_pipeline.running.paths import check_writable
from fer_pipeline.running.stage import run
from fer_pipeline.training.common.checkpoints import lock_training
from fer_pipeline.training.common.profile import read_training
from fer_pipeline.training.common.run import save_training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the network, a file of stages/fer_pipeline/networks/")
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--model", required=True, help="the trained network to write")
    parser.add_argument("--report", required=True, help="JSON to write: best epoch, accuracy, loss, why it stopped")
    parser.add_argument("--history", required=True, help="CSV to write: one row per epoch")
    parser.add_argument("--timing", required=True, help="JSON to add to: how long it took")
    args = parser.parse_args()
    for path in (args.model, args.report, args.history, args.timing):
        check_writable(path)  # now, not after hours of training
    params = read_params()
    limit_threads(params.compute.threads)
    framework = find_network(args.name).FRAMEWORK
    import_module(f"fer_pipeline.networks.{framework}.environment").enter()
    settings = read_training(params, args.name)
    with lock_training(args.name):
        start = describe_start()
        train = import_module(f"fer_pipeline.training.{framework}.train").train
        if trained := train(args.name, settings, params.compute, params.seed, args.data):
            save_training(args.name, trained, start, args.model, args.report, args.history, args.timing)


if __name__ == "__main__":
    run(main)
