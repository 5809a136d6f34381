"""Put the times that the pipeline took on this machine on a page beside the report, and into the terminal.

    make times              # plots/timing.html, from metrics/timing.json

Neither file is in git or DVC, because times differ from machine to machine. A stage that has not run here (its results
came from git, from the run cache or from another machine) shows dashes; `dvc repro -f -s <stage>` runs it again.
"""

from collections.abc import Iterator
from pathlib import Path

import checkout
from fer_pipeline.core.files import ROOT, write_files
from fer_pipeline.networks.network import find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.report.evidence import EMPTY, Cell, Files, Table, spread
from fer_pipeline.report.page import render
from fer_pipeline.running.stage import catch
from timing import Timing, read_timing

FILE = "metrics/timing.json"
TRAINING = [
    ("Seconds", f"{FILE}: train_{{}}.seconds", "count"),
    ("Images/s", f"{FILE}: train_{{}}.images_per_second", "count"),
    ("Hardware", f"{FILE}: train_{{}}.hardware", "{}"),
]
TRAINED = [
    ("Latency, ms", f"{FILE}: predict@{{}}.latency_ms_batch1", "{:.2f}"),
    ("Images/s", f"{FILE}: predict@{{}}.images_per_second", "count"),
    ("Hardware", f"{FILE}: predict@{{}}.hardware", "{}"),
]
EXPORTED = [
    ("1 thread, ms", f"{FILE}: score_exports.networks.{{}}.latency_ms.threads_1.median", "{:.2f}"),
    ("p95, ms", f"{FILE}: score_exports.networks.{{}}.latency_ms.threads_1.p95", "{:.2f}"),
    ("2 threads, ms", f"{FILE}: score_exports.networks.{{}}.latency_ms.threads_2.median", "{:.2f}"),
    ("p95, ms", f"{FILE}: score_exports.networks.{{}}.latency_ms.threads_2.p95", "{:.2f}"),
    ("Faces/s", f"{FILE}: score_exports.networks.{{}}.faces_per_second", "count"),
    ("Hardware", f"{FILE}: score_exports.hardware", "{}"),
]


def list_tables(timing: Timing, titles: dict[str, str]) -> dict[str, Table]:
    """{title: table} of trainings, trained networks and exported networks; `titles` is {network: its title}."""
    trained = {f"train_{name}": times for name, times in timing.training.items()}
    predicted = {f"predict@{name}": times for name, times in timing.prediction.items()}
    files = Files({FILE: trained | predicted | {"score_exports": timing.exports}})
    exported = spread(titles.items(), [("<key>.float32", "<name>, float32"), ("<key>.int8", "<name>, int8")])
    return {
        "Wall time of all epochs": set_apart(files.tabulate("Network", titles.items(), TRAINING)),
        "Speed in their framework": set_apart(files.tabulate("Network", titles.items(), TRAINED)),
        "Speed of the ONNX files": files.tabulate("Network", exported, EXPORTED),
    }


def set_apart(table: Table) -> Table:
    """A table whose last column is the hardware, with columns of their own for each: times of two never share one."""
    kinds = list(dict.fromkeys(row[-1].text for row in table[1:] if row[-1] != EMPTY))
    if len(kinds) < 2:
        return table
    head = [Cell(f"{cell.text}, {kind}") for kind in kinds for cell in table[0][1:-1]]
    cells = [[cell if row[-1].text == kind else EMPTY for kind in kinds for cell in row[1:-1]] for row in table[1:]]
    return [[row[0], *others] for row, others in zip(table, [head, *cells], strict=True)]


def make_page(timing: Timing, titles: dict[str, str]) -> str:
    """timing.html."""
    exports = timing.exports.networks if timing.exports else {}
    gains = {  # by what factor int8 is faster than float32 with one thread
        title: exports[name].float32.latency_ms.threads_1.median / exports[name].int8.latency_ms.threads_1.median
        for name, title in titles.items()
        if name in exports
    }
    return render("times.html.j2", Path(__file__).parent, tables=list_tables(timing, titles), gains=gains)


def print_tables(tables: dict[str, Table]) -> Iterator[str]:
    """The tables as plain lines."""
    for title, table in tables.items():
        rows = [[cell.text for cell in row] for row in table]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        yield title
        for first, *others in rows:
            numbers = (text.rjust(width) for text, width in zip(others, widths[1:], strict=True))
            yield "  ".join(["", first.ljust(widths[0]), *numbers])


def write_times() -> dict[str, Table]:
    """Write plots/timing.html; returns the tables on it."""
    models = read_params().networks
    titles = {name: network.TITLE for name, network in find_networks(models).items()}
    timing = read_timing(ROOT / FILE, titles, {name: f"{ROOT}/{model}" for name, model in models.items()})
    write_files({ROOT / "plots/timing.html": make_page(timing, titles).encode()})
    return list_tables(timing, titles)


def main() -> None:
    print("\n".join(print_tables(write_times())))
    print("-> plots/timing.html; a dash: not run here; `dvc repro -f -s score_exports` times the exported networks")


if __name__ == "__main__":
    catch(main)
