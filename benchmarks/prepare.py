"""Time and peak memory of stages/prepare.py, compared with the plain way.

    python benchmarks/prepare.py fer2013.csv fer2013.zip
    python benchmarks/prepare.py fer2013.csv --votes fer2013new.csv      # also with FER+'s votes

Each source (the challenge's CSV, or a zip of the image folders) is prepared both ways in turn, three times each, in a
process of its own. Start-up is included, and the fastest run of each way counts. The plain way is what most scripts do:
the csv module and a list of ints per row, or zipfile and Pillow, then h5py with gzip. It checks nothing.
Targets, on two cores with all 35,887 rows: CSV in at most 4 s, zip in at most 6 s, both within 1 GB; votes take at most
10 % more.
"""

import argparse
import csv
import os
import platform
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROUNDS = 3


def read_plain_table(source: str) -> tuple[list[Any], list[str]]:
    """Lists of images (lists of int) and Usages, by the csv module."""
    images: list[Any] = []
    usages: list[str] = []
    with open(source, newline="") as file:
        for row in csv.DictReader(file):
            images.append([int(pixel) for pixel in row["pixels"].split()])
            usages.append(row["Usage"])
    return images, usages


def read_plain_zip(source: str) -> tuple[list[Any], list[str]]:
    """Lists of images (uint8 arrays) and Usages, by Pillow, one picture at a time."""
    import numpy as np
    from PIL import Image

    images: list[Any] = []
    usages: list[str] = []
    with zipfile.ZipFile(source) as archive:
        for name in sorted(archive.namelist()):
            with archive.open(name) as file:
                images.append(np.array(Image.open(file)).ravel())
            usages.append(Path(name).name.split("_")[0])
    return images, usages


def prepare_plainly(source: str, out: str) -> None:
    """Prepare a source the plain way: write its images to HDF5."""
    import h5py
    import numpy as np

    images, usages = read_plain_zip(source) if zipfile.is_zipfile(source) else read_plain_table(source)
    with h5py.File(out, "w") as file:
        for name, usage in (("train", "Training"), ("val", "PublicTest"), ("test", "PrivateTest")):
            rows = [image for image, found in zip(images, usages, strict=True) if found == usage]
            file.create_dataset(f"{name}/images", data=np.array(rows, np.uint8).reshape(-1, 48, 48), compression="gzip")


def time_process(command: list[str]) -> tuple[float, float]:
    """Wall time in seconds and peak memory in MB of one process."""
    start = time.perf_counter()
    process = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"error: {' '.join(command)} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--votes", help="FER+'s CSV of votes, for sources that are fer2013.csv")
    parser.add_argument("--plain", metavar="OUT", help="prepare the first source the plain way, untimed, to OUT")
    args = parser.parse_args()
    if args.plain:
        prepare_plainly(args.sources[0], args.plain)
        return
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}; seconds and peak MB, fastest of {ROUNDS}")
    for source in args.sources:
        with tempfile.TemporaryDirectory() as folder:
            ours = [sys.executable, f"{ROOT}/stages/prepare.py", "--source", source, "--split", "official",
                    "--out", f"{folder}/faces.h5", "--report", f"{folder}/data.json"]  # fmt: skip
            plain = [sys.executable, __file__, source, "--plain", f"{folder}/plain.h5"]
            commands = [ours, plain, *([[*ours, "--votes", args.votes]] if args.votes else [])]
            runs = [[time_process(command) for command in commands] for _ in range(ROUNDS)]
        (seconds, memory), (plain_seconds, plain_memory), *voted = (min(side) for side in zip(*runs, strict=True))
        print(
            f"{Path(source).name}: prepare.py {seconds:.2f} s, {memory:.0f} MB | "
            f"plain {plain_seconds:.2f} s, {plain_memory:.0f} MB | {plain_seconds / seconds:.1f} times as fast"
        )
        for with_votes, _ in voted:
            print(f"  with votes {with_votes:.2f} s, {with_votes / seconds - 1:+.0%}")


if __name__ == "__main__":
    main()
