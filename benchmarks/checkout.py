"""Import this first: it puts this checkout's package, apps and tools on Python's path, before any installed ones."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("stages", "apps", "tools")]
