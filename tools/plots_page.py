"""Write .dvc/plots/page.html, the page around `dvc plots`: it holds Vega's scripts, so that it opens offline.

DVC's own page loads them from a CDN. The file is in git, so that plain `dvc plots show` works in any clone; a test
compares it with the output of this script. After an upgrade of vl-convert: python tools/plots_page.py
"""

from pathlib import Path

import vl_convert

OUTPUT = Path(__file__).parents[1] / ".dvc" / "plots" / "page.html"
VEGA_LITE = "5.21"  # the major version that DVC's templates are written for
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh_tag}
<title>Facial expression recognition: dvc plots</title>
<style>
body {font: 15px/1.4 system-ui, sans-serif; margin: 1rem}
body > div {margin-bottom: 2rem; overflow-x: auto}
img {max-width: min(94vw, 1100px)}
</style>
<script>
<vega>
</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def make_page() -> str:
    """The page, with `{plot_divs}` and `{refresh_tag}` left for DVC; without `{scripts}` DVC adds no CDN."""
    bundle = vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]  # the stub omits a default
    return PAGE.replace("<vega>", bundle.strip())


if __name__ == "__main__":
    OUTPUT.write_text(make_page(), encoding="utf-8", newline="\n")
