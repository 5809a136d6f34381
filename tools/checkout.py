"""Import this first: it puts the package of this checkout on Python's path, before any that is installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))
