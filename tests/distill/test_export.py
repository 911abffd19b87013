"""Export: what comes out gives the scores of what went in, and a variant stays only past its gate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from distill.cli import main
from distill.errors import DistillError, GateError, RegistryError
from distill.export import ExportOptions, export_model
from distill.export import variants as gate
from distill.export.pools import Pool, grades_of, ranked_grades, read_pools
from distill.export.variants import GateBounds, measure_variants
from distill.model_folder import ModelManifest, write_model_folder
from indexing.errors import EncoderError, InputError
from indexing.settings import RerankSettings
from retrieval.rerank import load_folder
from retrieval.reranker import RerankScores
from tests.fakes.cross_encoder import build_cross_encoder
from tests.fakes.tiny_models import sentence_transformer_folder

FP32 = RerankSettings(precision="fp32", max_tokens=48)
QUERY = "search engine and vector index"
TEXTS = [
    "the engine of search",
    "quick brown fox",
    "a vector index in the search engine",
    "dog",
    "money flows",
]
INTERACTION = {
    "coefficients": {"cosine": 3.0, "maxsim": 5.0},
    "pooled": {"start": 0, "stop": 32},
    "tokens": {"start": 0, "stop": 32},
    "query_tokens": 16,
}


def pools(count: int = 3, *, judged: bool = True) -> list[Pool]:
    texts = {f"d{number}": text for number, text in enumerate(TEXTS)}
    grades = {doc_id: number % 3 for number, doc_id in enumerate(texts)} if judged else None
    return [Pool(f"q{number}", f"{QUERY} {number}", texts, grades) for number in range(count)]


@pytest.fixture(scope="module")
def cross(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_cross_encoder(tmp_path_factory.mktemp("cross") / "student")
    manifest = ModelManifest(
        kind="cross-encoder",
        name="tiny-cross",
        base="tiny",
        scripts=("Latin",),
        max_tokens=48,
        teachers=({"teacher": "gpt-x"},),
        metrics={"dev": 0.5},
        licence="apache-2.0",
    )
    write_model_folder(folder, manifest)
    return folder


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = sentence_transformer_folder(tmp_path_factory.mktemp("late") / "student")
    (folder / "interaction.json").write_text(json.dumps(INTERACTION))
    write_model_folder(
        folder, ModelManifest(kind="late-interaction", name="tiny-late", base="b", max_tokens=48)
    )
    return folder


def test_an_exported_cross_encoder_gives_its_source_s_logits_and_keeps_its_record(cross, tmp_path):
    manifest = export_model(cross, tmp_path / "out")
    loaded, source = load_folder(tmp_path / "out", FP32), load_folder(cross, FP32)
    want, got = source.score(QUERY, TEXTS), loaded.score(QUERY, TEXTS)
    np.testing.assert_allclose(got.logits, want.logits, atol=2e-2)
    assert got.truncated == want.truncated
    assert (
        (loaded.kind, loaded.scripts)
        == ("cross-encoder", frozenset({"Latin"}))
        == (source.kind, source.scripts)
    )
    assert (manifest.name, manifest.licence, manifest.source) == ("tiny-cross", "apache-2.0", "tiny")
    assert manifest.teachers == ({"teacher": "gpt-x"},)
    assert manifest.metrics["dev"] == 0.5
    assert manifest.metrics["export"]["stored"] == "fp16"
    assert [one.kept for one in manifest.variants] == [False]


def test_an_exported_late_interaction_model_scores_as_the_formula_says(late, tmp_path):
    export_model(late, tmp_path / "out")
    loaded = load_folder(tmp_path / "out", FP32)
    assert loaded.kind == "late-interaction"
    np.testing.assert_allclose(loaded.score(QUERY, TEXTS).logits, by_torch(late), atol=2e-2)


def test_an_exported_student_scores_as_the_student_does(late, tmp_path):
    from distill.students import StudentSettings, open_student

    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (base / name).write_bytes((late / name).read_bytes())
    student = open_student(StudentSettings(kind="late-interaction", base=str(base), max_tokens=48))
    student.save(tmp_path / "student")
    write_model_folder(
        tmp_path / "student",
        ModelManifest(kind="late-interaction", name="s", base="b", max_tokens=48, scripts=("Latin",)),
    )
    manifest = export_model(tmp_path / "student", tmp_path / "out")
    assert manifest.interaction is not None
    assert set(manifest.interaction.coefficients) == {"cosine", "maxsim", "weakest"}
    texts = [*TEXTS, "", "quick brown fox jumps over the lazy dog " * 9]
    want = student.score(QUERY, texts)
    assert np.ptp(want) > 0.1
    np.testing.assert_allclose(
        load_folder(tmp_path / "out", FP32).score(QUERY, texts).logits, want, atol=2e-2
    )


def by_torch(folder: Path) -> list[float]:
    """The score from the formula, text by text, with transformers."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    def encode(text: str) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        pooled = torch.nn.functional.normalize(hidden.mean(dim=0), dim=0)
        return pooled, torch.nn.functional.normalize(hidden[1:-1], dim=1)

    pooled_query, query = encode(QUERY)
    scores = []
    for text in TEXTS:
        pooled, tokens = encode(text)
        maxsim = (query @ tokens.T).max(dim=1).values.mean()
        scores.append(float(3.0 * (pooled_query @ pooled) + 5.0 * maxsim))
    return scores


def test_the_gate_keeps_what_is_measured_and_the_loader_obeys(late, tmp_path):
    manifest = export_model(late, tmp_path / "out", ExportOptions(pools=pools(), bounds=GateBounds(rounds=1)))
    assert [(one.runtime, one.precision) for one in manifest.variants if one.pairs_per_second is not None]
    kept = [one for one in manifest.variants if one.kept]
    assert kept, "the reference is always kept"
    assert [one.pairs_per_second for one in kept] == sorted(
        (one.pairs_per_second for one in kept), reverse=True
    )
    assert ("model.int8.onnx" in manifest.files) == any(
        (one.runtime, one.precision) == ("onnxruntime", "int8") for one in kept
    )
    assert load_folder(tmp_path / "out", RerankSettings()).engine == f"{kept[0].runtime} {kept[0].precision}"
    assert all(one.why for one in manifest.variants)


class Ranker:
    """Ranks the pool right or upside down, in a set time."""

    def __init__(self, right: bool, clock: list[float], cost_s: float) -> None:
        self._sign = 1.0 if right else -1.0
        self._clock = clock
        self._cost_s = cost_s

    def score(self, query: str, texts: list[str]) -> RerankScores:
        self._clock[0] += self._cost_s
        order = [TEXTS.index(text) % 3 for text in texts]
        return RerankScores(self._sign * np.array(order, np.float32), (False,) * len(texts))


@pytest.mark.parametrize("judged", [True, False])
def test_a_variant_that_loses_or_is_slower_is_dropped_with_the_reason(monkeypatch, tmp_path, judged):
    clock = [0.0]
    models = {
        ("openvino", "fp32"): Ranker(True, clock, 2.0),
        ("openvino", "bf16"): Ranker(True, clock, 1.0),
        ("openvino", "int8"): Ranker(True, clock, 2.5),
        ("onnxruntime", "fp32"): Ranker(True, clock, 3.0),
        ("onnxruntime", "int8"): Ranker(False, clock, 0.5),
    }
    monkeypatch.setattr(gate, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(gate, "_open", lambda folder, runtime, precision: models[runtime, precision])
    found = measure_variants(tmp_path, pools(judged=judged), GateBounds())
    verdicts = {(one.runtime, one.precision): (one.kept, one.why) for one in found}
    assert verdicts["openvino", "fp32"][0]
    assert verdicts["openvino", "bf16"][0]
    assert (found[0].precision, found[1].precision) == ("bf16", "fp32"), "fastest first"
    assert "2.00 x fp32" in verdicts["openvino", "bf16"][1]
    assert not verdicts["onnxruntime", "fp32"][0]
    assert verdicts["onnxruntime", "fp32"][1].endswith("not faster")
    assert not verdicts["onnxruntime", "int8"][0]
    assert verdicts["onnxruntime", "int8"][1].endswith("loses more than 0.005")


def test_a_variant_that_cannot_run_here_is_dropped_and_no_data_is_an_error(monkeypatch, tmp_path):
    def refuse(folder: Path, runtime: str, precision: str) -> Ranker:
        if precision == "bf16":
            raise EncoderError("this CPU has no bf16 arithmetic")
        return Ranker(True, [0.0], 1.0)

    monkeypatch.setattr(gate, "_open", refuse)
    clock = iter(range(1000))
    monkeypatch.setattr(gate, "perf_counter", lambda: float(next(clock)))
    dropped = [one for one in measure_variants(tmp_path, pools(), GateBounds()) if one.precision == "bf16"]
    assert [(one.kept, one.why) for one in dropped] == [(False, "this CPU has no bf16 arithmetic")]
    with pytest.raises(GateError, match="two candidates"):
        measure_variants(tmp_path, [Pool("q", "q", {"d": "only"}, None)], GateBounds())


def test_grades_of_every_scale():
    assert grades_of([2.6, -1.0, 0.2], "grade") == [3, 0, 0]
    assert grades_of([0.9, 0.4, 0.1], "probability") == [3, 1, 0]
    assert ranked_grades([0.0, 5.0, -3.0, 4.0, 1.0]) == [0, 3, 0, 2, 1]
    assert grades_of([-1.0, -2.0], "rank") == [3, 1]


def test_pools_of_labelled_and_of_candidate_files(tmp_path):
    labels = tmp_path / "labels.jsonl"
    row = {"query_id": "q1", "query": "a b", "teacher": "t", "scale": "grade"}
    passages = [{"doc_id": "x", "text": "X", "score": 2.0}, {"doc_id": "y", "text": "Y", "score": 0.0}]
    lines = [row | {"passages": passages}, row | {"query_id": "q2", "passages": passages}]
    labels.write_text("\n".join(map(json.dumps, lines)))
    assert [(one.query_id, one.grades) for one in read_pools(labels, "labels", limit=1)] == [
        ("q1", {"x": 2, "y": 0})
    ]
    candidates = tmp_path / "candidates.jsonl"
    candidates.write_text(
        json.dumps({"query_id": "q", "query": "a", "candidates": [{"doc_id": "x", "text": "X"}]})
    )
    assert read_pools(candidates, "candidates", limit=9) == [Pool("q", "a", {"x": "X"}, None)]
    with pytest.raises(InputError, match="candidates, graded"):
        read_pools(labels, "tsv", limit=1)


def test_what_cannot_be_exported_is_refused(cross, late, tmp_path):
    with pytest.raises(DistillError, match="not empty"):
        export_model(cross, cross)
    (tmp_path / "none").mkdir()
    with pytest.raises(Exception, match="not a model folder"):
        export_model(tmp_path / "none", tmp_path / "out")
    import shutil

    damaged = shutil.copytree(late, tmp_path / "damaged")
    (damaged / "interaction.json").write_text("{}")
    with pytest.raises(RegistryError, match="hash"):
        export_model(damaged, tmp_path / "out")
    (damaged / "model.json").unlink()
    with pytest.raises(EncoderError, match="late-interaction score"):
        export_model(damaged, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_line(cross, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(cross), str(out), "--name", "renamed", "--scripts", "Latin,Greek"]) == 0
    assert "renamed, cross-encoder" in capsys.readouterr().out
    manifest = json.loads((out / "reranker.json").read_text())
    assert manifest["scripts"] == ["Latin", "Greek"]
    assert main(["export", str(cross), str(out)]) == 1
    assert "not empty" in capsys.readouterr().err
