"""Train ResNet18: residual blocks, 11 million parameters (section 3.3), by transfer learning (Table 3).

Reads   data/prepared/faces.h5
Writes  models/resnet18.safetensors (the epoch with the best val accuracy), metrics/train/resnet18.json,
        plots/resnet18/history.csv
Alone   python stages/train_resnet18.py --data data/prepared/faces.h5 --model models/resnet18.safetensors
            --report metrics/train/resnet18.json --history plots/resnet18/history.csv

The network is in fer/networks.py, its training in fer/transfer.py. Several machines: see README.md.
"""

from fer.params import read_params
from fer.stage import run
from fer.training import alone, parse_arguments
from fer.transfer import train


def main():
    args = parse_arguments(__doc__)
    seed, compute, settings = read_params("seed", "compute", "profiles.${profile}.resnet18")
    with alone("resnet18"):
        train("resnet18", settings, compute, seed, args)


if __name__ == "__main__":
    run(main)
