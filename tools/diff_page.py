"""Write dvc_plots/diff.html and diff.md: how results and parameters differ between a commit and the working tree.

make diff BASE=main     # any branch, tag or commit

The page contains its pictures and Vega's scripts, so that it opens offline and can be sent as one file.
"""

import argparse
import base64
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from markdown_it import MarkdownIt

import checkout
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT, write_files
from fer_pipeline.running.stage import catch

OUTPUT = ROOT / "dvc_plots"
PICTURE = re.compile(r'<div\s+id="plots_.*?\n {8}</div>\n', re.DOTALL)
"""DVC's block of one picture, with an `img` per revision."""
BODY = "</head>\n<body>\n"
STYLE = "<style>img {max-width: 45vw} th, td {padding-right: 1rem; text-align: left}</style>\n"
LACKING = (
    "DVC's cache lacks plots of {} here, so the page shows only what the cache and git have; if the team has a remote, "
    "`dvc fetch --all-branches` gets the others."
)


def call_dvc(*command: str) -> tuple[str, str]:
    """What `dvc` printed on both channels; raises InputError with DVC's own words if it fails."""
    process = subprocess.run([sys.executable, "-m", "dvc", *command], cwd=ROOT, capture_output=True, text=True)
    if process.returncode:
        said = process.stderr.strip().removeprefix("ERROR: ")
        unknown = "unknown Git revision" in said
        raise InputError(said + "; name a branch, tag or commit, as in make diff BASE=main" * unknown)
    return process.stdout, process.stderr


def list_differences(kind: str, base: str) -> str:
    """DVC's Markdown table of the `metrics` or `params` that differ, or a sentence if none do."""
    table = call_dvc(kind, "diff", "--md", base)[0].strip()
    return table if len(table.splitlines()) > 2 else "None differ."


def draw_plots(base: str) -> tuple[str, str]:
    """DVC's page of plots, with its pictures inside; and Markdown about what it lacks."""
    with TemporaryDirectory() as folder:
        _, warning = call_dvc("plots", "diff", "--out", folder, base)
        page = (Path(folder) / "index.html").read_text(encoding="utf-8")
        blocks = {block: inline(block, Path(folder)) for block in PICTURE.findall(page)}
    for block, inlined in blocks.items():
        page = page.replace(block, inlined)
    lacking = re.search("failed to load some plots for following revisions: '(.*)'", warning)
    notes = [LACKING.format(lacking[1]), ""] if lacking else []
    equal = [*blocks.values()].count("")
    return page, "\n".join([*notes, f"Pictures that are the same in both and not shown: {equal}."])


def inline(block: str, folder: Path) -> str:
    """DVC's block of a picture with the files in it; nothing if both revisions have the same picture."""
    pictures = {name: (folder / name).read_bytes() for name in re.findall('src="([^"]+)"', block)}
    if len({*pictures.values()}) < len(pictures):
        return ""
    for name, picture in pictures.items():
        block = block.replace(name, f"data:image/png;base64,{base64.b64encode(picture).decode()}")
    return block


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("base", help="branch, tag or commit")
    base = parser.parse_args().base
    metrics, params = (list_differences(kind, base) for kind in ("metrics", "params"))
    page, notes = draw_plots(base)
    text = f"# From {base} to the working tree\n\n## Metrics\n\n{metrics}\n\n"
    text += f"## Parameters\n\n{params}\n\n## Plots\n\n{notes}\n"
    head = STYLE + BODY + MarkdownIt("js-default").render(text)
    write_files({OUTPUT / "diff.html": page.replace(BODY, head, 1).encode(), OUTPUT / "diff.md": text.encode()})
    print(f"file://{OUTPUT / 'diff.html'}")


if __name__ == "__main__":
    catch(main)
