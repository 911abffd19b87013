"""The quality benchmark on a judged set small enough to work out by hand."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.beir import load_beir, load_pairs, together
from benchmarks.quality import app, best_sentence, sample
from indexing.errors import InputError
from retrieval.significance import bootstrap_interval, randomisation_test

CORPUS = {
    "d1": "Swallows nest under roofs. They return from Africa in spring.",
    "d2": "Cash flow from operations was strong. The board met often.",
    "d3": "The river bank was flooded. A levee broke near the mill.",
    "d4": "Deferred tax is recognised when profit is probable.",
    "d5": "燕子在屋檐下筑巢。它们春天回来。",
}
QUERIES = {
    "q1": "swallows in spring",
    "q2": "operating cash flow",
    "q3": "燕子什么时候回来",
    "q4": "not judged",
}
QRELS = {"q1": {"d1": 2, "d5": 1}, "q2": {"d2": 1}, "q3": {"d5": 1}}


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    corpus = [{"_id": key, "title": "", "text": text} for key, text in CORPUS.items()]
    write_lines(folder / "corpus.jsonl.gz", corpus)
    write_lines(folder / "queries.jsonl", [{"_id": key, "text": QUERIES[key]} for key in QUERIES])
    rows = [f"{query}\t{doc}\t{grade}" for query, grades in QRELS.items() for doc, grade in grades.items()]
    extra = ["q2\td9\t1", "q9\td1\t1", "q2\td1\t0"]  # unknown document, unknown query, not relevant
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows, *extra]) + "\n")
    return folder


def write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def test_a_beir_folder_is_read_with_what_can_be_judged(beir):
    judged = load_beir(beir)
    assert judged.qrels == QRELS
    assert set(judged.queries) == {"q1", "q2", "q3"}
    assert judged.documents == 5


def test_the_checksum_ignores_compression_and_sees_content(beir):
    before = load_beir(beir).checksum
    plain = gzip.decompress((beir / "corpus.jsonl.gz").read_bytes())
    (beir / "corpus.jsonl.gz").unlink()
    (beir / "corpus.jsonl").write_bytes(plain)
    assert load_beir(beir).checksum == before
    (beir / "corpus.jsonl").write_bytes(plain.replace(b"roofs", b"beams"))
    assert load_beir(beir).checksum != before


def test_judgements_in_a_folder_without_header_are_read(beir):
    (beir / "qrels.tsv").unlink()
    (beir / "qrels").mkdir()
    (beir / "qrels" / "test.tsv").write_text("q1\td1\t1\n")
    assert load_beir(beir).qrels == {"q1": {"d1": 1}}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("qrels.tsv", "q1 0 d1 1\n", "line 1"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\td1\thigh\n", "line 2"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n", "judges no document"),
        ("queries.jsonl", "{broken\n", "line 1: not JSON"),
    ],
)
def test_malformed_sets_are_refused(beir, name, content, message):
    (beir / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load_beir(beir)


def test_a_missing_file_is_named(beir):
    (beir / "queries.jsonl").unlink()
    with pytest.raises(InputError, match=r"no queries\.jsonl"):
        load_beir(beir)


def test_pairs_become_queries_and_judgements(tmp_path):
    write_lines(tmp_path / "corpus.jsonl.gz", [{"_id": key, "text": text} for key, text in CORPUS.items()])
    pairs = [
        {"query_id": "q1", "query": "swallows", "doc_id": "d1"},
        {"query_id": "q1", "query": "swallows", "doc_id": "d5"},
        {"query_id": "q2", "query": "gone", "doc_id": "d9"},
    ]
    write_lines(tmp_path / "pairs.jsonl.gz", pairs)
    judged = load_pairs(tmp_path)
    assert judged.qrels == {"q1": {"d1": 1, "d5": 1}}
    assert judged.queries == {"q1": "swallows"}


def test_a_document_is_as_good_as_its_best_sentence():
    assert best_sentence([("a", 0.9), ("b", 0.5), ("a", 0.2), ("b", -1.0)]) == {"a": 0.9, "b": 0.5}


def test_a_sample_is_the_same_for_a_seed_and_keeps_queries_and_judgements_together(beir):
    judged = load_beir(beir)
    drawn = sample(judged, 2, seed=1)
    assert set(drawn.queries) == set(drawn.qrels)
    assert len(drawn.queries) == 2
    assert drawn == sample(judged, 2, seed=1)
    assert sample(judged, 99, seed=1) is judged


def test_the_interval_holds_the_mean_and_narrows_with_queries():
    source = random.Random(3)
    few = [source.random() for _ in range(20)]
    low, high = bootstrap_interval(few, seed=5)
    assert low < sum(few) / 20 < high
    wide = high - low
    low, high = bootstrap_interval(few * 25, seed=5)
    assert high - low == pytest.approx(wide / 5, rel=0.15)  # the square root of 25 times the queries
    assert bootstrap_interval([0.25] * 10, seed=5) == (0.25, 0.25)


def test_the_randomisation_test_against_an_exact_count():
    # Differences 1, 1, 1, 1: of the 16 ways to exchange, 2 are as extreme.
    assert randomisation_test([1, 1, 1, 1], [0, 0, 0, 0], seed=4) == pytest.approx(2 / 16, abs=0.015)
    assert randomisation_test([0.5, 0.2], [0.5, 0.2], seed=4) == 1.0
    assert randomisation_test([1.0] * 40, [0.0] * 40, seed=4) == pytest.approx(1 / 10_001)
    with pytest.raises(ValueError, match="paired"):
        randomisation_test([1.0], [1.0, 2.0], seed=4)


@pytest.mark.parametrize("unit", ["sentence", "document"])
def test_a_judged_set_from_end_to_end(beir, tmp_path, unit):
    out = tmp_path / "out"
    arguments = ["--data", str(beir), "--unit", unit, "--compare-bm25s", "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    result = json.loads((out / f"quality-tiny-{unit}.json").read_text())
    assert result["dataset"] == {
        "name": "tiny", "checksum": load_beir(beir).checksum, "documents": 5, "queries": 3,
    }  # fmt: skip
    assert result["index"]["documents"] == 5
    assert result["index"]["sentences"] == (9 if unit == "sentence" else 5)
    hybrid, sparse = result["modes"]["hybrid"], result["modes"]["sparse"]
    # Each question has a word, or two characters, in common with its own document alone.
    assert sparse["per_query"]["MRR@10"] == {"q1": 1.0, "q2": 1.0, "q3": 1.0}
    assert hybrid["means"]["MRR@10"] == 1.0
    # The Chinese question has no dense side: its document cannot be found that way.
    assert result["modes"]["dense"]["per_query"]["NDCG@10"]["q3"] == 0.0
    assert result["modes"]["dense"]["unanswered"] == 1
    assert result["bm25s"]["ours"] == pytest.approx(result["bm25s"]["bm25s"], abs=1e-6)
    assert f"| hybrid | {hybrid['means']['MAP']:.3f}" in done.stdout


def test_sets_in_one_index_are_judged_together_and_apart(beir, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    write_lines(other / "corpus.jsonl", [{"_id": "d1", "text": "Tides follow the moon."}])
    write_lines(other / "pairs.jsonl", [{"query_id": "q1", "query": "what do tides follow", "doc_id": "d1"}])
    out = tmp_path / "results"
    arguments = ["--data", str(beir), "--pairs", str(other), "--mixed", "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    result = json.loads((out / "quality-tiny+other-sentence.json").read_text())
    assert result["dataset"]["documents"] == 6
    assert set(result["modes"]["hybrid"]["per_query"]["NDCG@10"]) == {
        "tiny/q1",
        "tiny/q2",
        "tiny/q3",
        "other/q1",
    }
    assert set(result["sets"]) == {"tiny", "other"}
    assert result["sets"]["other"]["means"]["hybrid"] == 1.0
    assert "questions of other: dense 1.000" in done.output


def test_two_sets_of_one_name_are_not_put_together(beir, tmp_path):
    judged = load_beir(beir)
    with pytest.raises(InputError, match="names of their own"):
        together([judged, judged], tmp_path / "corpus.jsonl")


def test_without_a_folder_it_refuses():
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 2
    assert "--data" in done.stderr
