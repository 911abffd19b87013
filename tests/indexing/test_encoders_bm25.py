"""BM25: the analyser, the formula by hand, bm25s as the other witness."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from indexing.encoders.analysis import STOP_WORDS, Analyzer, words_of
from indexing.encoders.bm25 import Bm25Encoder, Vocabulary, term_index
from indexing.encoders.protocols import SparseEncoder
from indexing.encoders.question import without_question_words
from indexing.errors import EncoderError

CORPUS = [
    "The quick brown fox jumps over the lazy dog.",
    "A fox is a small omnivorous mammal; foxes hunt at night.",
    "Dogs and foxes are both canids, and dogs were tamed first.",
    "BM25 ranks documents by term frequency and document length.",
    "Term frequency saturates: the tenth mention counts less than the first mention.",
    "机器学习是人工智能的一个分支。",
    "深度学习 (deep learning) 是机器学习的一种方法。",
    "Inverse document frequency rewards rare terms.",
]
QUERIES = [
    "fox",
    "which dogs hunt foxes",
    "document frequency of terms",
    "机器学习",
    "deep 学习",
    "fox fox dog",
]


def encoder(corpus: list[str] = CORPUS, **options: float | bool) -> Bm25Encoder:
    plain = Bm25Encoder(**options)
    return plain.with_average_length(sum(map(plain.document_length, corpus)) / len(corpus))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The runners were running", ["runner", "were", "run"]),
        ("Ｆｕｌｌ ｗｉｄｔｈ ２０２４", ["full", "width", "2024"]),
        ("机器学习", ["机器", "器学", "学习"]),
        ("猫", ["猫"]),
        ("用Python3写代码", ["用", "python3", "写代", "代码"]),
        ("これはテストです", ["これ", "れは", "はテ", "テス", "スト", "トで", "です"]),
        ("ﾃｽﾄ", ["テス", "スト"]),
        ("한국어 검색", ["한국", "국어", "검색"]),
        ("हिन्दी", ["हिन्दी"]),
        ("naïve café", ["naïv", "café"]),
        ("❤️ 42 — …", ["42"]),
        ("to be or not to be", []),
        ("", []),
    ],
)
def test_analyser_by_example(text: str, terms: list[str]) -> None:
    assert Analyzer(stem=True).terms(text) == terms


def test_stemming_is_a_setting() -> None:
    assert Analyzer(stem=False).terms("Running dogs") == ["running", "dogs"]
    assert Bm25Encoder(stem=False).fingerprint.digest != Bm25Encoder(stem=True).fingerprint.digest


@given(st.text(max_size=60))
def test_every_text_gives_a_valid_vector(text: str) -> None:
    bm25 = Bm25Encoder(average_length=5.0, question_words=True)
    document, query = bm25.encode_documents([text])[0], bm25.encode_queries([text])[0]
    assert document.indices == query.indices
    assert all(low < high for low, high in zip(document.indices, document.indices[1:], strict=False))
    assert all(0 <= index < 2**32 for index in document.indices)
    assert all(math.isfinite(value) and 0 < value < 2.2 for value in document.values)
    assert sum(query.values) == bm25.document_length(text)


@given(st.text(max_size=60))
@example("What is it about 什么")
def test_a_question_gives_the_vector_of_what_it_states(text: str) -> None:
    bm25 = Bm25Encoder(average_length=5.0)
    document, query = bm25.encode_documents([text])[0], bm25.encode_queries([text])[0]
    assert set(query.indices) <= set(document.indices)
    assert bool(query.indices) == bool(document.indices)
    assert sum(query.values) == bm25.document_length(without_question_words(text))


@given(st.text(alphabet="abc XYZ_09", max_size=40))
def test_ascii_shortcut_equals_the_general_path(text: str) -> None:
    # One non-ASCII word at the end sends the same text down the other path.
    assert words_of(text) == words_of(text + " é")[:-1]


def test_document_values_by_hand() -> None:
    bm25 = Bm25Encoder(k1=1.5, b=0.5, stem=False, average_length=4.0)
    (vector,) = bm25.encode_documents(["red red blue green yellow black"])
    values = dict(zip(vector.indices, vector.values, strict=True))
    norm = 1.5 * (1 - 0.5 + 0.5 * 6 / 4)
    assert values[term_index("red")] == pytest.approx(2 * 2.5 / (2 + norm))
    assert values[term_index("blue")] == pytest.approx(1 * 2.5 / (1 + norm))
    assert bm25.document_length("red red blue green yellow black") == 6


def test_scores_equal_bm25s_up_to_its_left_out_constant() -> None:
    import bm25s

    bm25, analyzer = encoder(), Analyzer(stem=True)
    documents = [analyzer.terms(text) for text in CORPUS]
    peer = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    peer.index(documents, show_progress=False)
    document_count = Counter(term for terms in documents for term in set(terms))
    idf = {
        term_index(term): math.log((len(CORPUS) - n + 0.5) / (n + 0.5) + 1)
        for term, n in document_count.items()
    }
    for text, query in zip(QUERIES, bm25.encode_queries(QUERIES), strict=True):
        weights = dict(zip(query.indices, query.values, strict=True))
        ours = [
            sum(
                weights.get(i, 0) * value * idf[i]
                for i, value in zip(vector.indices, vector.values, strict=True)
            )
            for vector in bm25.encode_documents(CORPUS)
        ]
        theirs = peer.get_scores(analyzer.terms(without_question_words(text)))
        np.testing.assert_allclose(np.array(ours) / 2.2, theirs, atol=1e-4)
        assert max(ours) > 0


def test_the_engine_adds_the_same_idf() -> None:
    """Qdrant's IDF modifier (local mode) over our vectors gives bm25s's scores."""
    import bm25s
    from qdrant_client import QdrantClient, models

    bm25, analyzer = encoder(), Analyzer(stem=True)
    client = QdrantClient(":memory:")
    sparse = {"sparse": models.SparseVectorParams(modifier=models.Modifier.IDF)}
    client.create_collection("c", vectors_config={}, sparse_vectors_config=sparse)
    points = [
        models.PointStruct(
            id=at,
            vector={"sparse": models.SparseVector(indices=list(v.indices), values=list(v.values))},
        )
        for at, v in enumerate(bm25.encode_documents(CORPUS))
    ]
    client.upsert("c", points)
    peer = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    peer.index([analyzer.terms(text) for text in CORPUS], show_progress=False)
    for text, query in zip(QUERIES, bm25.encode_queries(QUERIES), strict=True):
        asked = models.SparseVector(indices=list(query.indices), values=list(query.values))
        found = client.query_points("c", query=asked, using="sparse", limit=len(CORPUS)).points
        theirs = peer.get_scores(analyzer.terms(without_question_words(text)))
        assert {hit.id for hit in found} == {at for at, score in enumerate(theirs) if score > 0}
        for hit in found:
            assert hit.score / 2.2 == pytest.approx(theirs[hit.id], abs=1e-4)
    client.close()


@pytest.mark.parametrize(
    ("question", "terms"),
    [
        ("What does BM25 stand for?", ["bm25", "stand"]),
        ("what's the capital of France", ["capit", "franc"]),
        ("Why doesn’t it rain", ["rain"]),
        ("when can a will be contested", ["can", "contest"]),
        ("WHO guidelines on malaria", ["who", "guidelin", "malaria"]),
        ("what is that", ["what"]),
        ("whatever happens somehow", ["whatev", "happen", "somehow"]),
        ("什么时候建成长城？", ["建成", "成长", "长城"]),
        ("任何时候", ["任何", "何时", "时候"]),
        ("BM25怎么算吗？", ["bm25", "算"]),
        ("吗啡的用途", ["吗啡", "啡的", "的用", "用途"]),
        ("什么", ["什么"]),
        ("長城為什麼這麼長", ["長城", "這麼", "麼長"]),
    ],
)
def test_a_query_leaves_out_the_words_that_ask(question: str, terms: list[str]) -> None:
    (query,) = Bm25Encoder().encode_queries([question])
    assert set(query.indices) == {term_index(term) for term in terms}
    (document,) = encoder().encode_documents([question])
    (kept,) = Bm25Encoder(question_words=True).encode_queries([question])
    assert kept.indices == document.indices, "documents keep every term"


def test_batch_and_order_change_nothing() -> None:
    bm25 = encoder()
    together = bm25.encode_documents(CORPUS)
    assert [bm25.encode_documents([text])[0] for text in CORPUS] == together
    assert bm25.encode_documents(CORPUS[::-1])[::-1] == together
    assert bm25.encode_documents([]) == []
    assert bm25.encode_queries([]) == []


def test_documents_need_an_average_length_and_queries_do_not() -> None:
    plain = Bm25Encoder()
    assert isinstance(plain, SparseEncoder)
    assert len(plain.encode_queries(["fox"])[0]) == 1
    with pytest.raises(EncoderError, match="average length"):
        plain.encode_documents(["fox"])
    with pytest.raises(EncoderError, match="above 0"):
        Bm25Encoder(average_length=0.0)


def test_fingerprint_covers_what_changes_a_vector() -> None:
    base = Bm25Encoder(average_length=5)
    assert base.fingerprint.digest == base.with_average_length(9).fingerprint.digest
    assert base.fingerprint.digest == Bm25Encoder(question_words=True).fingerprint.digest
    others = [Bm25Encoder(k1=1.3), Bm25Encoder(b=0.7), Bm25Encoder(stem=False), base]
    assert len({other.fingerprint.digest for other in others}) == 4


def test_terms_are_remembered_and_the_memory_is_bounded() -> None:
    bm25 = Bm25Encoder(vocabulary=Vocabulary(Analyzer(stem=True), limit=3))
    (vector,) = bm25.encode_queries(["Foxes"])
    assert bm25.term(vector.indices[0]) == "foxes"
    assert bm25.term(12345) is None
    bm25.encode_queries(["one two three four five"])
    assert bm25.term(vector.indices[0]) is None
    assert bm25.encode_queries(["Foxes"]) == [vector]


def test_dimensions_are_the_same_in_every_process() -> None:
    code = (
        "import json; from indexing.encoders.bm25 import Bm25Encoder; "
        f"print(json.dumps([v.indices for v in Bm25Encoder().encode_queries({QUERIES!r})]))"
    )
    here = [list(vector.indices) for vector in Bm25Encoder().encode_queries(QUERIES)]
    for seed in ("0", "1"):
        out = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert json.loads(out.stdout) == here


def test_no_two_words_of_a_real_vocabulary_share_a_dimension() -> None:
    from pydoc_data.topics import topics

    terms = {term for text in topics.values() for term in Analyzer(stem=True).terms(text)}
    assert len(terms) > 2000
    assert len({term_index(term) for term in terms}) == len(terms)


def test_there_are_33_stop_words() -> None:
    assert len(STOP_WORDS) == 33
