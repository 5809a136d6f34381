"""Train VGG19: 16 convolutions, 20 million parameters (section 3.2), by transfer learning (Table 3).

Reads   data/prepared/faces.h5
Writes  models/vgg19.safetensors (the epoch with the best val accuracy), metrics/train/vgg19.json,
        plots/vgg19/history.csv
Alone   python stages/train_vgg19.py --data data/prepared/faces.h5 --model models/vgg19.safetensors
            --report metrics/train/vgg19.json --history plots/vgg19/history.csv

The network is in fer/networks.py, its training in fer/transfer.py. Several machines: see README.md.
"""

from fer.params import read_params
from fer.stage import run
from fer.training import alone, parse_arguments
from fer.transfer import train


def main():
    args = parse_arguments(__doc__)
    seed, compute, settings = read_params("seed", "compute", "profiles.${profile}.vgg19")
    with alone("vgg19"):
        train("vgg19", settings, compute, seed, args)


if __name__ == "__main__":
    run(main)
