"""Time and memory of stages/prepare.py, compared with the plain way, and at the size of large data sets.

    python benchmarks/prepare.py fer2013.csv fer2013.zip
    python benchmarks/prepare.py fer2013.csv --votes fer2013new.csv      # also with FER+'s votes
    python benchmarks/prepare.py --rows 36000 100000 300000 --train compact
    python benchmarks/prepare.py --rows 36000 100000 300000 --train compact --size 112

Memory is the peak of what a process holds for itself (Linux: RssAnon, read 50 times a second), start-up included; pages
of files, which the system can take back, do not count.

Each source (the challenge's CSV, or a zip of the image folders) is prepared both ways in turn, three times each, in a
process of its own, and the fastest run of each way counts. The plain way is what most scripts do: the csv module and a
list of ints per row, or zipfile and Pillow, then h5py with gzip. It checks nothing.
Targets, on two cores with all 35,887 rows: CSV in at most 4 s, zip in at most 6 s, both within 1 GB; votes take at most
10 % more.

`--rows` prepares so many drawn faces: of 48 pixels in the challenge's CSV, of any other size as JPEGs that a table
names, in a zip. `--train` then trains a network on them for 200 steps under the profile `smoke`. Targets: beside the
faces themselves at most 1 GB at 300,000 rows of 48 and of 112 pixels; time and memory grow no faster than the rows.
"""

import argparse
import csv
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkout
from fer_pipeline.core.files import ROOT
from fer_pipeline.core.parallel import map_threads

ROUNDS = 3
STEPS = 200  # of a training
MB = 10**6


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


def draw(rows: int, size: int) -> Iterator[Any]:
    """Yield `rows` faces uint8 (size, size): blotches with soft edges, of which each tells its number in the corner."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (500, 12, 12), np.uint8)
    blotches = [np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC)) for one in small]
    for number in range(rows):
        face = blotches[number % len(blotches)].copy()
        face[:8, :32] = 255 * np.unpackbits(np.array([number], ">u4").view(np.uint8))  # black and white survive JPEG
        yield face


def write_source(path: Path, rows: int, size: int) -> None:
    """Write drawn faces: eight of ten rows are train, one val, one test; classes alternate."""
    import numpy as np
    from PIL import Image

    splits = ["Training"] * 8 + ["PublicTest", "PrivateTest"], ["train"] * 8 + ["val", "test"]
    said = [(number % 7, *(names[number // 7 % 10] for names in splits)) for number in range(rows)]
    faces = draw(rows, size)
    if path.suffix == ".csv":
        texts = np.array([[*f"{tone:03d} ".encode()] for tone in range(256)], np.uint8)
        with open(path, "wb") as file:
            file.write(b"emotion,pixels,Usage\n")
            for face, (label, usage, _) in zip(faces, said, strict=True):
                file.write(b"%d,%b,%b\n" % (label, texts[face].tobytes().rstrip(), usage.encode()))
        return

    def encode(face: Any) -> bytes:
        Image.fromarray(face).save(content := io.BytesIO(), "JPEG", quality=90)
        return content.getvalue()

    names = [f"{number // 1000:03d}/{number:06d}.jpg" for number in range(rows)]
    lines = [f"{name},class {label},{split}" for name, (label, _, split) in zip(names, said, strict=True)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("faces.csv", "\n".join(["path,label,split", *lines, ""]))
        for name, picture in zip(names, map_threads(encode, faces), strict=True):
            archive.writestr(name, picture)


def prepare_drawn(source: str, out: str, size: int) -> None:
    """Run the stage on drawn faces, with the params that their form needs."""
    import prepare

    params = prepare.read_params()
    if source.endswith(".zip"):
        section = params.prepare.model_copy(update={"classes": "auto", "size": size})
        params = params.model_copy(update={"prepare": section})
    sys.argv[1:] = ["--source", source, "--split", "official", "--out", out, "--report", f"{out}.json"]
    prepare.read_params = lambda: params
    prepare.main()


def train_drawn(name: str, data: str) -> None:
    """Train a PyTorch network for `STEPS` steps, and validate it."""
    from fer_pipeline.networks.network import find_network
    from fer_pipeline.params.read import read_params
    from fer_pipeline.training.common.profile import read_training
    from fer_pipeline.training.pytorch import data as batches
    from fer_pipeline.training.pytorch import train

    if find_network(name).FRAMEWORK != "pytorch":
        sys.exit(f"error: {name} is not a PyTorch network")
    params = read_params()
    settings = read_training(params, name, "smoke").model_copy(update={"epochs": 1})
    batches.TrainingBatches.__len__ = lambda self: STEPS  # type: ignore[method-assign]
    trained = train.train(name, settings, params.compute, params.seed, data)
    shutil.rmtree(trained.checkpoints)


def run_process(command: list[str]) -> tuple[float, float]:
    """Wall time in seconds and peak memory in MB of a command and the processes that it starts."""
    start, peak = time.perf_counter(), 0.0
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None:
            peak = max(peak, read_memory(process.pid))
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        if process.returncode:
            errors.seek(0)
            sys.exit(f"error: {' '.join(command)} failed: {errors.read().decode(errors='replace')[-2000:]}")
    return seconds, peak


def read_memory(process: int) -> float:
    """The MB that a process and those that it started hold for themselves; 0 if it has ended."""
    folder = Path(f"/proc/{process}")
    try:
        own = re.search(r"RssAnon:\s+(\d+) kB", (folder / "status").read_text())
        children = " ".join(file.read_text() for file in folder.glob("task/*/children")).split()
    except OSError:
        return 0.0
    return (int(own[1]) * 1024 / MB if own else 0.0) + sum(read_memory(int(child)) for child in children)


def measure_growth(counts: list[int], size: int, network: str | None) -> None:
    """Print time and memory for so many drawn faces, in lines of a Markdown table; in brackets, times the first."""
    parts = ["prepare", *([f"{STEPS} steps of {network}"] if network else [])]
    print(f"| rows of {size} pixels | " + " | ".join(f"{part}: s | MB | MB beside faces" for part in parts) + " |")
    print("|---|" + "---|---|---|" * len(parts), flush=True)
    first: list[float] = []
    for rows in counts:
        with tempfile.TemporaryDirectory() as folder:
            source, out = Path(folder) / ("x.csv" if size == 48 else "x.zip"), f"{folder}/faces.h5"
            write_source(source, rows, size)
            commands = [(1.0, ["--alone", out, str(source), "--size", str(size)])]
            commands += [(0.9, ["--alone", out, "--train", network])] if network else []  # of train and val
            numbers = [float(rows)]
            for share, options in commands:
                seconds, memory = run_process([sys.executable, __file__, *options])
                numbers += [seconds, memory, memory - share * rows * size**2 / MB]
        first = first or numbers
        print("| " + " | ".join(f"{one:,.0f} ({one / of:.1f})" for one, of in zip(numbers, first, strict=True)) + " |")
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*")
    parser.add_argument("--votes", help="FER+'s CSV of votes, for sources that are fer2013.csv")
    parser.add_argument("--rows", type=int, nargs="+", default=[], help="prepare so many drawn faces instead")
    parser.add_argument("--size", type=int, default=48, help="height and width of drawn faces (%(default)s)")
    parser.add_argument("--train", metavar="NETWORK", help="also train it on drawn faces")
    parser.add_argument("--plain", metavar="OUT", help="prepare the first source the plain way, untimed, to OUT")
    parser.add_argument("--alone", metavar="OUT", help="prepare or train once, untimed, with faces.h5 at OUT")
    args = parser.parse_args()
    if args.alone:
        train_drawn(args.train, args.alone) if args.train else prepare_drawn(args.sources[0], args.alone, args.size)
        return
    if args.plain:
        prepare_plainly(args.sources[0], args.plain)
        return
    if not args.sources and not args.rows:
        parser.error("name a source, or give --rows")
    if args.rows:
        measure_growth(args.rows, args.size, args.train)
        return
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}; seconds and peak MB, fastest of {ROUNDS}")
    for source in args.sources:
        with tempfile.TemporaryDirectory() as folder:
            ours = [sys.executable, f"{ROOT}/stages/prepare.py", "--source", source, "--split", "official",
                    "--out", f"{folder}/faces.h5", "--report", f"{folder}/data.json"]  # fmt: skip
            plain = [sys.executable, __file__, source, "--plain", f"{folder}/plain.h5"]
            commands = [ours, plain, *([[*ours, "--votes", args.votes]] if args.votes else [])]
            runs = [[run_process(command) for command in commands] for _ in range(ROUNDS)]
        (seconds, memory), (plain_seconds, plain_memory), *voted = (min(side) for side in zip(*runs, strict=True))
        print(
            f"{Path(source).name}: prepare.py {seconds:.2f} s, {memory:.0f} MB | "
            f"plain {plain_seconds:.2f} s, {plain_memory:.0f} MB | {plain_seconds / seconds:.1f} times as fast"
        )
        for with_votes, _ in voted:
            print(f"  with votes {with_votes:.2f} s, {with_votes / seconds - 1:+.0%}")


if __name__ == "__main__":
    main()
