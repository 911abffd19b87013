#!/usr/bin/env bash
# Before and after in one command:
#   bash benchmarks/evaluate.sh                                   the bundled test set: bi-encoder against the reranker in service
#   bash benchmarks/evaluate.sh --data DIR --before identity --after FOLDER --output DIR
# Makes the environment and installs what is missing. Overrides: PYTHON=python3.12 VENV=.venv
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-python3}"
venv="${VENV:-$root/.venv}"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

if [ ! -x "$venv/bin/python" ]; then
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=...)" >&2; exit 1; }
  "$python" -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing: apt-get install python3-venv" >&2; exit 1; }
  "$python" -m venv "$venv"
fi
if ! "$venv/bin/python" -c 'import importlib.util as u, sys; sys.exit(any(u.find_spec(m) is None for m in ("typer", "openvino", "tokenizers", "Stemmer", "pydantic_settings", "ir_measures", "scipy", "matplotlib")))'; then
  echo "installing into $venv ..." >&2
  (cd "$root" && "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --prefer-binary --no-compile -c constraints.txt -e '.[bench]') >&2
fi
exec "$venv/bin/python" -m benchmarks.evaluate "$@"
