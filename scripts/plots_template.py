"""Writes the page of `dvc plots` with Vega inside, so that plots show without the internet: make plots."""

import sys
from pathlib import Path

import vl_convert

PAGE = """<!DOCTYPE html>
<html><head>{refresh_tag}<meta charset="utf-8"><title>Plots</title><script>%s</script></head>
<body>{plot_divs}</body></html>
"""

# 5.20 is a Vega-Lite of the generation that DVC's templates are written for.
Path(sys.argv[1]).write_text(PAGE % vl_convert.javascript_bundle(vl_version="5.20"), encoding="utf-8")
