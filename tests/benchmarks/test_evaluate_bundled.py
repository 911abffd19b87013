"""The bundled test set is what its README says."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.beir import load_beir, passage_texts, query_metadata
from benchmarks.evaluate.first_stage import MemoryIndex
from benchmarks.evaluate.sets import BUNDLED, BUNDLED_RELEVANT
from indexing.encoders.analysis import Analyzer
from indexing.languages import HAN, script_shares
from indexing.settings import load_settings
from retrieval.metrics import evaluate


@pytest.fixture(scope="module")
def judged() -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for line in (BUNDLED / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query_id, doc_id, grade = line.split("\t")
        assert doc_id not in found.setdefault(query_id, {}), line
        found[query_id][doc_id] = int(grade)
    return found


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return passage_texts(BUNDLED)


def test_it_is_as_large_as_promised(judged, texts):
    facts = query_metadata(BUNDLED)
    assert Counter(one["lang"] for one in facts.values()) == {"en": 56, "zh": 35}
    assert Counter(doc_id[:2] for doc_id in texts) == {"en": 190, "zh": 129}
    assert sum(map(len, judged.values())) == 1852
    readme = (BUNDLED / "README.md").read_text(encoding="utf-8")
    assert "91 questions (56 English, 35 Chinese) over 319 passages (190 English, 129 Chinese)" in readme
    assert "1,852 graded pairs" in readme
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 400_000


def test_every_judgement_names_a_query_and_a_passage(judged, texts):
    assert set(judged) == set(query_metadata(BUNDLED)) == set(load_beir(BUNDLED).queries)
    assert {doc_id for grades in judged.values() for doc_id in grades} <= set(texts)


def test_every_query_has_an_answer_and_distractors(judged):
    for query_id, grades in judged.items():
        assert 3 in grades.values(), query_id
        assert list(grades.values()).count(0) >= 2, query_id
        assert len(grades) >= 5, query_id
        assert set(grades.values()) <= {0, 1, 2, 3}, query_id


def test_no_two_passages_say_the_same(texts):
    bare = Counter(re.sub(r"\W+", "", text).lower() for text in texts.values())
    assert max(bare.values()) == 1
    analyzer = Analyzer(stem=True)
    terms = {doc_id: set(analyzer.terms(text)) for doc_id, text in texts.items()}
    ids = sorted(terms)
    for place, one in enumerate(ids):
        for other in ids[place + 1 :]:
            union = len(terms[one] | terms[other])
            assert len(terms[one] & terms[other]) < 0.6 * union, (one, other)


def test_passages_and_queries_are_in_the_language_they_say(texts):
    for line in (BUNDLED / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert (script_shares(row["text"]).get(HAN, 0) > 0.5) is (row["metadata"]["lang"] == "zh"), row
    for doc_id, text in texts.items():
        assert (script_shares(text).get(HAN, 0) > 0.5) is doc_id.startswith("zh"), doc_id


def test_the_first_results_of_bm25_are_judged_and_not_yet_right(judged, texts):
    index = MemoryIndex(texts, load_settings(home=Path("unused")), "bm25")
    queries = load_beir(BUNDLED).queries
    found = {query_id: index.search(query, 50) for query_id, query in queries.items()}
    for query_id, ranked in found.items():
        assert set(ranked[:10]) <= set(judged[query_id]), query_id
    run = {one: {doc: -float(place) for place, doc in enumerate(ranked)} for one, ranked in found.items()}
    mean = evaluate(run, judged, ["NDCG@10"], relevant_from=BUNDLED_RELEVANT).means["NDCG@10"]
    assert 0.3 < mean < 0.75
