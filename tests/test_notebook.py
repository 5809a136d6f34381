"""notebooks/tour.ipynb: its cells, one after the other, in an empty folder, on a small sample."""

import json
import subprocess
import sys

import pytest

from clones import ENVIRONMENT, ROOT, SMALL

CELLS = json.loads((ROOT / "notebooks" / "tour.ipynb").read_text())["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
PROLOGUE = "display = lambda picture: print('shown', picture.filename, picture.size)"
"""What Jupyter offers to each cell."""


def test_the_notebook_is_short_and_stores_no_outputs():
    assert 5 <= len(CODE) < len(CELLS) <= 12
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)


@pytest.mark.release
def test_the_notebook_trains_and_answers(clone, tmp_path):
    cells = ["".join(cell["source"]) for cell in CODE]
    settings = [f"sample.{change.replace(': ', '=')}" for change in SMALL.values()]
    settings += [f"profiles/smoke.yaml:compact.{change}" for change in ("epochs=1", "width=0.05")]
    variables = f"URL, FER2013, SETTINGS = {str(clone.path)!r}, '/nowhere', {settings}"
    steps = [PROLOGUE, cells[0], variables, *(cell for cell in cells[1:] if '"pip"' not in cell)]
    assert len(steps) == len(cells) + 1
    folder = tmp_path / "content"
    folder.mkdir()
    options = {"cwd": folder, "env": ENVIRONMENT | {"HOME": str(folder)}, "capture_output": True, "text": True}
    process = subprocess.run([sys.executable, "-c", "\n".join(steps)], timeout=900, **options)
    assert process.returncode == 0, process.stdout + process.stderr
    accuracy = json.loads((folder / "fer" / "metrics" / "summary" / "compact.json").read_text())["accuracy"]
    assert accuracy in [round(right / 35, 6) for right in range(36)]
    shown = [line.split()[1] for line in process.stdout.splitlines() if line.startswith("shown ")]
    figures = [f"plots/compact/test/{name}.png" for name in ("curves", "confusion", "mistakes")]
    assert shown == [*figures, "build/answers/eileen-collins.jpg"]
    assert "docs/photos/eileen-collins.jpg  89x112 at 180,63  happy" in process.stdout
    assert "profile smoke on data/raw/sample.csv" in process.stdout
