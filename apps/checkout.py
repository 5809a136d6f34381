"""Import this first: it puts the package of this checkout on Python's path, before any that is installed.

Where a library is missing, the app then ends with one sentence.
"""

import sys
from pathlib import Path
from types import TracebackType


def explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that nobody has caught."""
    if isinstance(error, ModuleNotFoundError):
        needed = Path(__file__).parents[1] / "requirements-use.txt"
        what = f"--requirement {needed}" if needed.exists() else "'fer-pipeline[serve]'"
        install = f"python -m pip install {what}"
        print(f"error: {error.name} is not installed; run `{install}` in a virtual environment", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = explain

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))
