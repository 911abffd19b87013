"""Promotion past the gate: a worse model is refused by name of its queries, or forced and recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.cli import main
from distill.errors import GateError
from distill.gate import GateSettings
from distill.promotion import GateData, promote
from distill.registry import ModelRegistry
from indexing.errors import InputError
from indexing.settings import RerankSettings
from retrieval import registry as reading
from tests.fakes.exported_models import late_interaction_folder

SETTINGS = RerankSettings(precision="fp32", max_tokens=32)
BOUNDS = GateSettings(min_queries=1)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    monkeypatch.setattr(reading, "SHIPPED", tmp_path / "absent")
    return ModelRegistry(tmp_path / "home")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Twelve queries whose first passage says the same words."""
    words = [
        "open",
        "file",
        "weather",
        "week",
        "cash",
        "river",
        "bank",
        "function",
        "sunny",
        "close",
        "flow",
        "all",
    ]
    rows = []
    for number, word in enumerate(words):
        texts = [f"the {word} of the {word}", "you do", f"{word} how you", "i with a"]
        passages = [
            {"doc_id": f"d{place}", "text": text, "score": score}
            for place, (text, score) in enumerate(zip(texts, [3.0, 0.0, 1.0, 0.0], strict=True))
        ]
        row = {"query_id": f"q{number}", "query": f"the {word}", "teacher": "t", "scale": "grade"}
        rows.append(row | {"passages": passages})
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def made(registry: ModelRegistry, tmp_path: Path, name: str, sign: float) -> str:
    return registry.add(late_interaction_folder(tmp_path / "made" / name, name=name, sign=sign))


def test_a_better_model_passes_and_a_worse_one_is_refused_with_its_queries(registry, labels, tmp_path):
    bad, good = made(registry, tmp_path, "bad", -1.0), made(registry, tmp_path, "good", 1.0)
    data = GateData([labels])
    first = promote(registry, SETTINGS, bad, data=data, bounds=BOUNDS)
    assert first.gate == {"skipped": "no model was in service"}
    second = promote(registry, SETTINGS, good, data=data, bounds=BOUNDS)
    assert second.gate is not None
    assert second.gate["passed"] is True
    assert second.gate["against"] == bad
    with pytest.raises(GateError, match=r"q\d.*--force"):
        promote(registry, SETTINGS, bad, data=data, bounds=BOUNDS)
    assert registry.pointer().model == good
    forced = promote(registry, SETTINGS, bad, data=data, bounds=BOUNDS, force=True)
    assert forced.forced
    assert forced.gate is not None
    assert forced.gate["passed"] is False
    assert registry.pointer().history[-1] == forced
    assert "falls" in str(forced.gate["sets"])


def test_force_is_recorded_only_where_it_was_needed(registry, labels, tmp_path):
    bad, good = made(registry, tmp_path, "bad", -1.0), made(registry, tmp_path, "good", 1.0)
    registry.promote(bad)
    change = promote(registry, SETTINGS, good, data=GateData((), [labels]), bounds=BOUNDS, force=True)
    assert not change.forced


def test_an_unknown_layout_is_refused_before_anything_changes(registry, labels, tmp_path):
    good = made(registry, tmp_path, "good", 1.0)
    with pytest.raises(InputError, match="accepted: graded"):
        promote(registry, SETTINGS, good, data=GateData([labels], layout="tsv"))
    assert registry.pointer().model is None


def test_the_command_line_refuses_and_forces(registry, labels, tmp_path, capsys):
    bad, good = made(registry, tmp_path, "bad", -1.0), made(registry, tmp_path, "good", 1.0)
    at = ["--home", str(registry.home)]
    assert main(["models", "promote", good, *at]) == 0
    assert main(["models", "promote", bad, "--gate", str(labels), *at]) == 1
    assert "q1 'the file' 1.000 -> 0.494" in capsys.readouterr().err
    assert main(["models", "promote", bad, "--gate", str(labels), "--force", *at]) == 0
    assert "(forced)" in capsys.readouterr().out
