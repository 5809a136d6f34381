"""Train one network on train, and keep the epoch with the best val accuracy (Table 3).

Reads   data/prepared/faces.h5 (its train and val rows).
Writes  models/<name>.keras or .safetensors, metrics/train/<name>.json, plots/<name>/history.csv (a row per epoch), and
        how long it took, into metrics/timing.json.
Alone   python stages/train.py --name vgg19 --data data/prepared/faces.h5 --model models/vgg19.safetensors
            --report metrics/train/vgg19.json --history plots/vgg19/history.csv --timing metrics/timing.json

The network is in fer/networks/<name>.py, its training in fer/training/<framework>/train.py. Several machines: see
docs/training.md.
"""

from importlib import import_module

from fer_pipeline.networks.network import find_network
from fer_pipeline.params.read import read_params
from fer_pipeline.running.stage import run
from fer_pipeline.training.common.checkpoints import lock_training
from fer_pipeline.training.common.profile import read_training
from fer_pipeline.training.common.run import parse_arguments


def main() -> None:
    args = parse_arguments(__doc__)
    framework = find_network(args.name).FRAMEWORK
    import_module(f"fer_pipeline.networks.{framework}.environment").enter()
    params = read_params()
    settings = read_training(params, args.name)
    with lock_training(args.name):
        import_module(f"fer_pipeline.training.{framework}.train").train(
            args.name, settings, params.compute, params.seed, args
        )


if __name__ == "__main__":
    run(main)
