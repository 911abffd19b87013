"""An import only points down the ladder, and the service starts without model frameworks."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "indexing": {"indexing"},
    "retrieval": {"retrieval", "indexing"},
    "distill": {"distill", "retrieval", "indexing"},
    "serving": {"serving", "retrieval", "indexing"},
    "benchmarks": {"benchmarks", "serving", "distill", "retrieval", "indexing"},
}
HEAVY = ("torch", "transformers", "sentence_transformers", "llama_index", "qdrant_client", "FlagEmbedding")


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_point_down(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        climbs = imports(path) & (set(ALLOWED) | {"tests"}) - ALLOWED[room]
        assert not climbs, f"{path.relative_to(ROOT)} imports {climbs}"


@pytest.mark.parametrize(
    "module",
    [
        "indexing.cli",
        "retrieval.cli",
        "serving.cli",
        "serving.app",
        "serving.access.cli",
        "serving.vllm.cli",
        "distill.cli",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == ""
