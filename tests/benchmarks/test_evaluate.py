"""Before and after: what is compared, how it is scored, what the report holds."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.evaluate.__main__ import app
from benchmarks.evaluate.first_stage import MemoryIndex
from benchmarks.evaluate.labels import LABELS
from benchmarks.evaluate.measure import MEASURES, measure
from benchmarks.evaluate.result import compared
from benchmarks.evaluate.sets import PooledSet, beir_set
from benchmarks.evaluate.systems import Identity, Ranking, Reranked, open_system
from indexing.encoders.analysis import Analyzer
from indexing.errors import SettingsError
from indexing.settings import load_settings
from retrieval.reranker import RerankScores
from tests.fakes.exported_models import late_interaction_folder
from tests.fakes.judged_files import TEXTS, write_beir, write_candidates

ROOT = Path(__file__).resolve().parents[2]


class WordOverlap:
    """Counts the query's words in the text; a model that is simple and deterministic."""

    name = "overlap"
    kind = "cross-encoder"

    def __init__(self, scripts: frozenset[str] | None = None) -> None:
        self.scripts = scripts
        self.calls: list[str] = []

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        self.calls.append(query)
        logits = [float(sum(word in text.lower() for word in query.lower().split())) for text in texts]
        return RerankScores(np.asarray(logits, dtype=np.float32), (False,) * len(texts))


class Named:
    """A system that writes its turns into a shared list."""

    kind, revision = "fake", ""

    def __init__(self, model: str, turns: list[tuple[str, str]]) -> None:
        self.model = model
        self._turns = turns

    def rank(self, query_id: str, query: str, doc_ids: Sequence[str], texts: Sequence[str]) -> Ranking:
        self._turns.append((self.model, query_id))
        return Ranking(list(doc_ids), pairs=len(doc_ids))


def random_set(seed: int, queries: int = 12, pool: int = 15) -> PooledSet:
    """Random pools and grades; some relevant documents are in no pool, one query has no pool."""
    draw = random.Random(seed)
    pools, qrels = {}, {}
    for number in range(queries):
        found = [f"q{number}d{place:02d}" for place in range(pool)]
        draw.shuffle(found)
        grades = {doc_id: draw.choice((0, 0, 0, 1, 2, 3)) for doc_id in found}
        pools[f"q{number}"] = found
        qrels[f"q{number}"] = grades | {f"q{number}missed": draw.choice((0, 1, 3)), f"q{number}d00": 2}
    pools["q0"] = []
    texts = {doc_id: f"text of {doc_id}" for found in pools.values() for doc_id in found}
    return PooledSet("random", dict.fromkeys(pools, "a query"), pools, texts, qrels, "0", "random")


def by_hand(order: Sequence[str], grades: dict[str, int], relevant_from: int) -> dict[str, float]:
    """MAP, MRR@10 and NDCG@10 of one query, from their definitions."""
    relevant = sum(grade >= relevant_from for grade in grades.values())
    hits, precision, first = 0, 0.0, 0.0
    for rank, doc_id in enumerate(order, start=1):
        if grades.get(doc_id, 0) >= relevant_from:
            hits += 1
            precision += hits / rank
            first = first or (1 / rank if rank <= 10 else 0.0)
    gains = [grades.get(doc_id, 0) for doc_id in order[:10]]
    ideal = sorted(grades.values(), reverse=True)[:10]
    dcg, best = (
        sum(gain / math.log2(rank + 1) for rank, gain in enumerate(row, start=1)) for row in (gains, ideal)
    )
    return {"MAP": precision / relevant, "MRR@10": first, "NDCG@10": dcg / best}


def test_identity_against_identity_is_exactly_no_change():
    pooled = random_set(3)
    rows = measure(pooled, {"first-stage": Identity(), "before": Identity(), "after": Identity()})
    for change in compared(pooled, rows, seed=1).changes:
        assert change.difference == 0
        assert (change.low, change.high) == (0, 0)
        assert (change.wins, change.losses) == (0, 0)
        assert change.ties == len(pooled.queries)
        assert (change.p, change.p_holm) == (1, 1)
        assert set(change.differences.values()) == {0}


@pytest.mark.parametrize("relevant_from", [1, 2])
def test_values_match_the_definitions_and_ir_measures(relevant_from):
    import ir_measures

    pooled = random_set(7)
    pooled = PooledSet(
        pooled.name, pooled.queries, pooled.pools, pooled.texts, pooled.qrels, "0", "random", relevant_from
    )
    report = measure(pooled, {"first-stage": Identity()})[0].report
    run = {one: {doc: -float(place) for place, doc in enumerate(pool)} for one, pool in pooled.pools.items()}
    rel = relevant_from
    theirs = {
        "MAP": ir_measures.AP(rel=rel),
        "MRR@10": ir_measures.RR(rel=rel) @ 10,
        "NDCG@10": ir_measures.nDCG @ 10,
    }
    found = ir_measures.calc_aggregate(list(theirs.values()), pooled.qrels, run)
    for name in MEASURES:
        for query_id, pool in pooled.pools.items():
            expected = by_hand(pool, dict(pooled.qrels[query_id]), relevant_from)[name] if pool else 0
            assert report.per_query[name][query_id] == pytest.approx(expected, abs=1e-6)
        assert report.means[name] == pytest.approx(found[theirs[name]], abs=1e-6)


def test_a_missed_positive_is_charged_to_every_row(tmp_path):
    pooled = PooledSet(
        "one", {"q": "swallows"}, {"q": ["d1", "d2"]}, TEXTS, {"q": {"d1": 1, "d4": 1}}, "0", "given"
    )
    rows = measure(pooled, {"before": Identity(), "after": Reranked("m", WordOverlap(), "", 0.5)})
    assert [row.report.means["MAP"] for row in rows] == [0.5, 0.5]
    assert pooled.pool_recall == 0.5


def test_a_query_without_candidates_counts_zero_and_is_named():
    pooled = random_set(1)
    row = measure(pooled, {"first-stage": Identity()})[0]
    assert row.report.unanswered == ("q0",)
    assert row.report.per_query["MAP"]["q0"] == 0
    assert len(row.report.per_query["MAP"]) == len(pooled.queries)


def test_systems_take_turns_and_are_warmed_up():
    turns: list[tuple[str, str]] = []
    pooled = random_set(2, queries=4)
    rows = measure(pooled, {"a": Named("a", turns), "b": Named("b", turns)})
    warm, timed = turns[:2], turns[2:]
    assert warm == [("a", "q1"), ("b", "q1")]
    assert timed == [("b", "q1"), ("a", "q1"), ("a", "q2"), ("b", "q2"), ("b", "q3"), ("a", "q3")]
    assert [row.pairs for row in rows] == [45, 45]
    assert all(row.pairs_per_second and row.pairs_per_second > 0 for row in rows)
    assert measure(pooled, {"i": Identity()})[0].pairs_per_second is None


def test_equal_scores_are_ordered_by_id_and_not_by_the_pool():
    same = Reranked("m", WordOverlap(), "", 0.5)
    assert same.rank("q", "zebra", ["d3", "d1", "d2"], ["x", "x", "x"]).doc_ids == ["d1", "d2", "d3"]


def test_a_model_leaves_text_alone_that_it_cannot_read():
    reader = WordOverlap(frozenset({"Latin"}))
    system = Reranked("m", reader, "", 0.5)
    pool = ["d3", "d5", "d1"]
    ranked = system.rank("q", "swallows", pool, [TEXTS[one] for one in pool])
    assert ranked.doc_ids == ["d1", "d5", "d3"]
    assert (ranked.pairs, ranked.stepped_aside) == (2, False)
    untouched = system.rank("q", "燕子什么时候回来", pool, [TEXTS[one] for one in pool])
    assert untouched.doc_ids == pool
    assert (untouched.pairs, untouched.stepped_aside) == (0, True)
    assert len(reader.calls) == 1


def test_the_memory_index_ranks_as_bm25s_does():
    import bm25s

    settings = load_settings(home=Path("unused"))
    analyzer = Analyzer(stem=True)
    ids = sorted(TEXTS)
    peer = bm25s.BM25(method="lucene", k1=settings.encoders.bm25_k1, b=settings.encoders.bm25_b)
    peer.index([analyzer.terms(TEXTS[one]) for one in ids], show_progress=False)
    index = MemoryIndex(TEXTS, settings, "bm25")
    for query in ("swallows on roofs", "river levee", "燕子春天", "roofs roofs swallow"):
        terms = [term for term in analyzer.terms(query) if term in peer.vocab_dict]
        scores = dict(zip(ids, peer.get_scores(terms).tolist(), strict=True))
        expected = sorted((one for one in ids if scores[one] > 0), key=lambda one: (-scores[one], one))
        assert index.search(query, 10) == expected
    assert index.search("zeppelin", 10) == []


def test_a_folder_gets_its_pools_and_groups(tmp_path):
    folder = write_beir(tmp_path)
    pooled = beir_set(folder, load_settings(home=tmp_path), "bm25", 2)
    assert pooled.pools["q1"] == ["d1", "d2"]
    assert pooled.groups["q1"] == {"lang": "en"}
    assert pooled.texts["d1"] == "Birds. " + TEXTS["d1"]


def test_a_model_that_is_none_is_refused_by_name(tmp_path):
    with pytest.raises(SettingsError, match="nowhere"):
        open_system(str(tmp_path / "nowhere"), load_settings(home=tmp_path))
    with pytest.raises(SettingsError, match="accepted: identity"):
        open_system("none", load_settings(home=tmp_path))


def test_both_languages_have_the_same_words():
    assert set(LABELS["en"]) == set(LABELS["zh"])
    for key, text in LABELS["en"].items():
        fields = {part.split("}")[0].split(":")[0] for part in text.split("{")[1:]}
        other = {part.split("}")[0].split(":")[0] for part in LABELS["zh"][key].split("{")[1:]}
        assert fields == other, key


def test_the_command_writes_a_report_with_a_known_shape(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    candidates, qrels = write_candidates(tmp_path)
    (tmp_path / "t.run").write_text("q1 Q0 d3 1 2 t\nq2 Q0 d4 1 2 t\n")
    options = ["--candidates", str(candidates), "--qrels", str(qrels), "--relevant", "2"]
    models = ["--before", "identity", "--after", "identity", "--teacher", "judge=t.run", "--output", "out"]
    done = CliRunner().invoke(app, [*options, *models])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out/report.json").read_text())
    assert [row["name"] for row in result["rows"]] == ["first-stage", "before", "after", "judge"]
    assert set(result["rows"][0]) >= {"name", "map", "mrr@10", "ndcg@10", "model", "pairs_per_second"}
    assert set(result) == {"format", "rows", "sets", "provenance"}
    assert set(result["provenance"]) >= {
        *("commit", "command", "processor", "cores", "threads", "seed", "time", "tie_rule", "warm_up"),
    }
    (one,) = result["sets"]
    assert one["checksum"]
    assert set(one["changes"]) == {"map", "mrr@10", "ndcg@10"}
    assert one["changes"]["ndcg@10"]["absolute"] == 0
    assert set(one["per_query"]["judge"]["map"]) == {"q1", "q2", "q9"}
    assert result["rows"][3]["unanswered"] == ["q9"]
    assert one["after_against"]["judge"]["wins"] + one["after_against"]["judge"]["losses"] > 0
    written = (tmp_path / "out/report.md").read_text()
    assert "| NDCG@10 | " in written
    assert written.strip() in done.stdout
    assert (tmp_path / "out/report.svg").read_text().startswith("<?xml")


def test_a_chinese_report_speaks_chinese(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    candidates, qrels = write_candidates(tmp_path)
    models = ["--before", "identity", "--after", "identity", "--output", "out", "--lang", "zh"]
    done = CliRunner().invoke(app, ["--candidates", str(candidates), "--qrels", str(qrels), *models])
    assert done.exit_code == 0, done.output
    assert "没有任何变化" in (tmp_path / "out/report.md").read_text()
    assert "每个查询" in (tmp_path / "out/report.svg").read_text()  # text, not outlines


def test_model_folders_are_compared_with_their_hashes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pool = ["how do i open a file", "the weather was sunny all week", "cash flow of the bank"]
    rows = [{"query": "open file", "positive": pool[:1], "negative": pool[1:]}]
    rows.append({"query": "怎么打开文件", "positive": pool[:1], "negative": pool[1:]})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    late_interaction_folder(tmp_path / "worst", sign=-1.0)
    late_interaction_folder(tmp_path / "best")
    options = ["--mteb", "rows.jsonl", "--before", "worst", "--after", "best", "--output", "out"]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out/report.json").read_text())
    _, before, after = result["rows"]
    assert (before["model"], after["model"]) == ("worst", "best")
    assert before["revision"] != after["revision"]
    assert (after["pairs"], after["stepped_aside"]) == (3, 1)  # the Chinese question was not sent
    scores = {name: one["mrr@10"] for name, one in result["sets"][0]["per_query"].items()}
    assert (scores["before"]["row-1"], scores["after"]["row-1"]) == (pytest.approx(1 / 3), 1)
    assert scores["before"]["row-2"] == scores["after"]["row-2"] == scores["first-stage"]["row-2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--candidates", "x.jsonl"], "go together"),
        (["--data", "nowhere", "--after", "identity"], "nowhere"),
        (["--teacher", "gone.run"], "gone.run"),
        (["--also", "identity"], "NAME=VALUE"),
        (["--also", "before=identity"], "given twice: before"),
        (["--after", "nowhere"], "not a model folder"),
    ],
)
def test_a_bad_command_is_refused_in_one_line(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["--before", "identity", *options])
    assert done.exit_code == 2
    assert done.stderr.startswith("winnow: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_script_runs_from_anywhere(tmp_path):
    candidates, qrels = write_candidates(tmp_path)
    models = ["--before", "identity", "--after", "identity", "--output", "out"]
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks/evaluate.sh"), "--candidates", candidates, "--qrels", qrels, *models],
        cwd=tmp_path,
        env={**os.environ, "VENV": sys.prefix},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out/report.json").read_text())["rows"][0]["name"] == "first-stage"
