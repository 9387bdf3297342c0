#!/bin/sh
# Resolves dependencies with hashes, keeping the versions that still fit; delete a lock to resolve it anew. torch alone goes without: its CPU build comes from more than one place.
set -eu
# Resolved anew each time: pinned without its local version it would turn into the build with CUDA.
sed -i '/^torch==/d' requirements.lock
uv pip compile --quiet --no-header --extra dev --generate-hashes --python-version 3.11 pyproject.toml -o requirements.lock
python - <<'PYTHON'
import re
from pathlib import Path

lock = Path("requirements.lock")
text = re.sub(r"^torch==([0-9.]+)\S* \\\n(?: +--hash=\S+(?: \\)?\n)+", r"torch==\1\n", lock.read_text(), flags=re.M)
note = "# Made by `make lock`. torch has no hashes, since its CPU build comes from more than one place.\n"
lock.write_text(note + text)
PYTHON
uv pip compile --quiet --no-header --generate-hashes --python-version 3.11 -c requirements.lock serving.in -o serving.lock
