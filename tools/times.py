"""Put the times that the pipeline took on this machine on a page beside the report, and into the terminal.

    make times              # plots/timing.html, from metrics/timing.json

Neither file is in git or DVC, for times differ from machine to machine. A stage that has not run here (its results came
from git, from the run cache or from another machine) shows dashes; `dvc repro -f -s score_exports` runs one anew.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

import checkout  # noqa: F401
from fer_pipeline.core.files import write_files
from fer_pipeline.networks.network import find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.report.captions import caption_speed, decimal, thousands
from fer_pipeline.report.cells import Cell, File, Table
from fer_pipeline.report.page import Section, render
from fer_pipeline.running.stage import catch
from timing import Timing, read_timing

ROOT = Path(__file__).parents[1]

Columns = dict[str, Callable[[Any], str]]
"""{key: how it is shown}."""
FILE = "metrics/timing.json"
SECTIONS = ("Training", "The trained networks", "The exported networks")
FOOTER = (
    "A dash (–) stands where a stage has not run on this machine. Point at a number to see its key in "
    f"{FILE}; make times makes this page."
)


def milliseconds(number: float) -> str:
    """3.2104 as '3.21'."""
    return decimal(number, 2)


def list_tables(timing: Timing, titles: dict[str, str]) -> list[Table]:
    """Trainings, trained networks and exported ones; `titles` is {network: its title}."""
    exports = timing.exports
    times = File(
        FILE,
        {
            **{f"train_{name}": timing.training[name] for name in titles},
            **{f"predict@{name}": timing.prediction[name] for name in titles},
            "score_exports": {
                "networks": {name: exports.networks.get(name) if exports else None for name in titles},
                "hardware": exports and exports.hardware,
            },
        },
    )

    def row(title: str, stage: str, columns: Columns) -> list[Cell]:
        return [Cell(title), *(times.cell(f"{stage}.{key}", show) for key, show in columns.items())]

    training: Columns = {"seconds": thousands, "images_per_second": thousands, "hardware": str}
    evaluation: Columns = {"latency_ms_batch1": milliseconds, "images_per_second": thousands, "hardware": str}
    exported: Columns = {f"latency_ms.threads_{n}.{key}": milliseconds for n in (1, 2) for key in ("median", "p95")}
    exported |= {"faces_per_second": thousands}
    speed = caption_speed(exports, titles) if exports else ""
    return [
        Table(
            "training",
            "Wall time of all epochs",
            "Validation included; images per second are training images in that time.",
            ["Network", "Seconds", "Images/s", "Hardware"],
            [row(title, f"train_{name}", training) for name, title in titles.items()],
        ),
        Table(
            "trained",
            "Speed in their framework",
            "From faces in memory to probabilities in memory, one crop each: the median call with one image, and the "
            "fastest of three batches of 256.",
            ["Network", "Latency, ms", "Images/s", "Hardware"],
            [row(title, f"predict@{name}", evaluation) for name, title in titles.items()],
        ),
        Table(
            "exported",
            "Speed of the ONNX files",
            "Run by onnxruntime on the CPU. With 1 and 2 threads: the median latency of one face, and the 95th "
            f"percentile (p95). Faces per second are those of batches of 64 on all cores. {speed}",
            ["Network", "1 thread, ms", "p95, ms", "2 threads, ms", "p95, ms", "Faces/s", "Hardware"],
            [
                [
                    *row(f"{title}, {precision}", f"score_exports.networks.{name}.{precision}", exported),
                    times.cell("score_exports.hardware", str),
                ]
                for name, title in titles.items()
                for precision in ("float32", "int8")
            ],
        ),
    ]


def make_page(tables: list[Table]) -> str:
    """timing.html."""
    return render(
        title="Facial expression recognition: the times",
        lead=Markup(
            'How long things took on this machine. All other evidence is in <a href="report.html">report.html</a>.'
        ),
        facts=[],
        sections=[
            Section(f"{table.id}-section", title, [], [table]) for title, table in zip(SECTIONS, tables, strict=True)
        ],
        footer=FOOTER,
    )


def print_tables(tables: list[Table]) -> Iterator[str]:
    """The tables as plain lines."""
    for table in tables:
        rows = [table.head, *([cell.text for cell in row] for row in table.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        yield table.title
        for first, *others in rows:
            numbers = (text.rjust(width) for text, width in zip(others, widths[1:], strict=True))
            yield "  ".join(["", first.ljust(widths[0]), *numbers])


def write_times() -> list[Table]:
    """Write plots/timing.html; the tables on it."""
    titles = {name: network.TITLE for name, network in find_networks(read_params().networks).items()}
    tables = list_tables(read_timing(ROOT / FILE, titles), titles)
    write_files({ROOT / "plots/timing.html": make_page(tables).encode()})
    return tables


def main() -> None:
    print("\n".join(print_tables(write_times())))
    print(
        "-> plots/timing.html; a dash: the stage has not run on this machine, which `dvc repro -f -s STAGE` makes it do"
    )


if __name__ == "__main__":
    catch(main)
